#!/usr/bin/env bash
# Does a loss that makes attention sparse help?   docs/results/sparsity.sh [--quick] [--texts DIR] [--out DIR]
#   --quick      two arms of the default model, few steps, one seed, little text: a look, not a result
#   --texts DIR  train_books_1.txt, train_books_2.txt, valid_books.txt, test_books.txt, wikitext2_test_raw.txt
#                (../shared/data/text)
#   --out DIR    where arms, runs and the tables go (runs/sparsity, or runs/sparsity-quick)
# Arms differ in their loss alone: the same steps over the same rows from the same weights. Every arm is read as it
# is, with only the k largest keys of each row, and in pieces. An interrupted experiment goes on where it stopped.
set -euo pipefail
experiment=sparsity
needed="train_books_1 train_books_2 valid_books test_books wikitext2_test_raw"
model=models/SmolLM2-135M-Instruct dtype=""
source "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"
set_up

programs=build/release/examples

# An arm is a name and what it adds to the command. lambda = 0 measures the penalty and ignores it.
arms=("control --sparsity tail --keys 16 --weight 0"
      "tail-0.1 --sparsity tail --keys 16 --weight 0.1"
      "tail-0.3 --sparsity tail --keys 16 --weight 0.3"
      "tail-1 --sparsity tail --keys 16 --weight 1"
      "entropy-0.1 --sparsity entropy --keys 16 --weight 0.1")
seeds="1 2 3" keep=4,8,16,32,64,128 held_out="test_books wikitext2_test_raw"
tune="--steps 300 --batch 1 --length 512 --lr 5e-5 --valid-every 100 --valid-rows 8"
scratch="--steps 3000 --batch 4 --length 512 --lr 6e-4 --decay 0.1 --save-every 250 --valid-every 500"
length=1024 scratch_length=512 segments=8  # of what is read; half of a segment is scored
rows_of="--segments 4 --rows 31,95,159,223"  # whose probabilities are kept
if $quick; then
  arms=("${arms[0]}" "${arms[3]}")
  seeds=1 keep=16 held_out=test_books
  tune="--steps 20 --batch 1 --length 256 --lr 1e-4 --valid-rows 8"
  length=512 segments=3
  rows_of="--segments 1 --rows 63,191"
fi

train() {  # FAMILY SEED ARM... -- what all arms of the family share
  local family=$1 seed=$2 name=$3 folder=$out/$1/$2/$3; shift 3
  [ -e "$folder/model.safetensors" ] || {
    say "$family, seed $seed, $name: training"
    "$programs/motet-finetune" "$@" --text "$texts/train_books_1.txt" "$texts/train_books_2.txt" --seed "$seed" \
      --valid "$texts/valid_books.txt" --out "$folder" --resume > /dev/null
  }
  rm -rf "$folder"/checkpoint-*  # each is three times the model's size
}
measure() {  # FAMILY/... MODEL
  local long=$length
  [ "${1%%/*}" = gpt2 ] && long=$scratch_length  # as it was trained: it has learned no further positions
  local read_as="--length $long --scored $((long / 2)) --pieces 1,8"
  for text in $held_out; do
    say "$1: reading $text"
    "$programs/motet-compare" --model "$2" --text "$texts/$text.txt" $read_as --segments $segments --keep-keys $keep \
      --save-stats --out "$out/$1/$text" --resume > /dev/null
  done
  say "$1: the probabilities of some rows"
  "$programs/motet-compare" --model "$2" --text "$texts/test_books.txt" $read_as $rows_of --save-stats \
    --out "$out/$1/rows" --resume > /dev/null
}

tabulate() { "$MOTET_PYTHON" "$here/sparsity_tables.py" "$out" > "$out/sparsity.md"; }

tune_all() {  # SEED
  [ -e "$out/smollm2/$1/untrained.json" ] || measure smollm2/untrained $model
  for arm in "${arms[@]}"; do
    read -r name options <<< "$arm"
    [ ! -e "$out/smollm2/$1/$name.json" ] || continue  # what the tables need of it
    train smollm2 "$1" "$name" --model $model $tune $options
    measure "smollm2/$1/$name" "$out/smollm2/$1/$name"
  done
  tabulate
}
train_all() {  # from scratch
  [ -e "$out/tokenizer/tokenizer.json" ] ||
    "$MOTET_PYTHON" "$here/sparsity_tokenizer.py" "$out/tokenizer" "$texts"/train_books_*.txt
  for arm in "${arms[@]}"; do
    read -r name options <<< "$arm"
    [ ! -e "$out/gpt2/1/$name.json" ] || continue
    train gpt2 1 "$name" --init "$here/sparsity_gpt2.json" --tokenizer "$out/tokenizer" $scratch $options
    measure "gpt2/1/$name" "$out/gpt2/1/$name"
  done
  tabulate
}
read -r first others <<< "$seeds"
tune_all "$first"
$quick || train_all
for seed in $others; do
  tune_all "$seed"
done
cat "$out/sparsity.md"
say "tables: $out/sparsity.md"

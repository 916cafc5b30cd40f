#!/usr/bin/env bash
# What a reading is worth in language modelling, learned ones among them.
#   docs/results/readings.sh [--quick] [--model DIR] [--texts DIR] [--only NAME] [--out DIR]
#   --quick      1,024 tokens, P = 8, two segments, twelve steps of a fit: a look, not a result
#   --model DIR  models/SmolLM2-135M-Instruct
#   --texts DIR  valid_books.txt, train_books_1.txt, wikitext2_valid.txt to fit on; test_books.txt, wikitext2_test.txt to read
#                (../shared/data/text)
#   --only NAME  this fit or run alone, temper its grid; may be repeated
#   --out DIR    where fits, runs and the tables go (runs/readings, or runs/readings-quick)
# Readings are fitted to rows of 1,024 tokens, 256 of them predicted, at P = 8, and so are, by a grid, temper's two numbers; read are
# 24 segments of 4,096 tokens of each test text, 256 scored. A fit is kept as DIR/NAME.safetensors, and of a run what tables are made
# of as DIR/TEXT.NAME.jsonl.gz, of the grid in DIR/grid: what is kept is not done again. An interrupted experiment goes on where it
# stopped.
set -euo pipefail
experiment=readings
needed="valid_books train_books_1 wikitext2_valid test_books wikitext2_test"
model=models/SmolLM2-135M-Instruct only=" " rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --model | --only)
      [ $# -gt 1 ] || { echo "readings: $1 needs a value" >&2; exit 2; }
      [ "$1" = --model ] && model=$(realpath "$2") || only+="$2 "
      shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
set -- "${rest[@]}"
source "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

programs=build/release/examples
wanted() { [ "$only" = " " ] || [[ "$only" = *" $1 "* ]]; }

# A fit is a name, its texts, and what it adds to the command.
fits=("mixture-own valid_books,wikitext2_valid"
      "mixture-full valid_books,wikitext2_valid --teach full"
      "books-own train_books_1"
      "books-full train_books_1 --teach full"
      "mixture-own-layers valid_books,wikitext2_valid --numbers layers"
      "mixture-own-model valid_books,wikitext2_valid --numbers model"
      "mixture-own-null valid_books,wikitext2_valid --null-set"
      "mixture-own-seed1 valid_books,wikitext2_valid --seed 1"
      "mixture-own-seed2 valid_books,wikitext2_valid --seed 2")
tenths="0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"
steps=240 length=4096 segments=24 pieces=1,8,32
$quick && fits=("${fits[0]}" "${fits[1]}") steps=12 length=1024 segments=2 pieces=1,8 tenths="0.5 0.9"

fit() {  # NAME TEXTS OPTION...
  local name=$1 texts_of=$2 files=(); shift 2
  [ ! -e "$out/$name.safetensors" ] && wanted "$name" || return 0
  say "fitting $name"
  for text in ${texts_of//,/ }; do files+=(--text "$texts/$text.txt"); done
  "$programs/motet-finetune" --model "$model" --tune reading "${files[@]}" --length 1024 --scored 256 --pieces 8 --steps $steps \
    "$@" --out "$out/fits/$name" --resume > /dev/null
  cp "$out/fits/$name/reading.safetensors" "$out/$name.safetensors"
}
read_one() {  # TEXT KEPT OPTION...
  local text=$1 kept=$2 run; shift 2
  [ ! -e "$kept" ] || return 0
  run=$(basename "$kept" .jsonl.gz)
  say "reading ${run/./: }"
  "$programs/motet-compare" --model "$model" --text "$texts/$text.txt" --length $length --scored 256 --segments $segments \
    --pieces $pieces "$@" --out "$out/runs/$run" --resume > /dev/null
  "$MOTET_PYTHON" "$here/readings_tables.py" --keep "$kept" "$out/runs/$run/run.json"
}
read_text() {  # NAME OPTION...
  local name=$1; shift
  wanted "$name" || return 0
  for text in test_books wikitext2_test; do
    read_one $text "$out/$text.$name.jsonl.gz" "$@"
    tables
  done
}
search_temper() {  # the pair that reads the texts of a mixture best
  local every="" t s
  for t in $tenths; do for s in $tenths; do every+=,temper:$t:$s; done; done
  for text in valid_books wikitext2_valid; do
    length=1024 segments=$((segments < 8 ? segments : 8)) pieces=1,8 \
      read_one $text "$out/grid/$text.temper.jsonl.gz" --prefix "" --readings "${every#,}"
  done
  "$MOTET_PYTHON" "$here/readings_tables.py" --temper "$out"/grid/*.temper.jsonl.gz > "$out/grid/temper.md"
}
tables() {
  compgen -G "$out/*.jsonl.gz" > /dev/null || return 0
  "$MOTET_PYTHON" "$here/readings_tables.py" "$out"/*.jsonl.gz > "$out/tables.md"
}
learned() {  # [seed]: of the fits that are kept, those of seed 0, or the first one and its like of other seeds
  local all="" name of
  for one in "${fits[@]}"; do
    name=${one%% *} of=""
    [[ $name != *-seed* ]] || of=seed
    [ "$of" = "${1:-}" ] || [ -n "${1:-}" -a "$one" = "${fits[0]}" ] || continue
    [ ! -e "$out/$name.safetensors" ] || all+=",learned:$out/$name.safetensors"
  done
  echo "${all#,}"
}

mkdir -p "$out/fits" "$out/runs" "$out/grid"
if wanted temper || wanted fixed || wanted prefix; then
  search_temper
  temper=$(sed -n 's/^Best: `\([^`]*\)`.*/\1/p' "$out/grid/temper.md")
fi
fixed=select,discount:1,sharpen:4,${temper:-temper},soft,weigh:2:0.3
for one in "${fits[@]}"; do
  # shellcheck disable=SC2086  # its words
  fit $one
done
read_text fixed --prefix "" --recall \
  --readings $fixed,null:0,scale:ssmax,scale:infoscale,scale:entropy,guess:2:mean,guess:2:diagonal,guess:2:full,guess:2:box
read_text controls --prefix "" --recall --readings select,guess:2:last,guess:2:random
[ -z "$(learned)" ] || read_text learned --prefix "" --readings "weigh:1.5:0.6,$(learned)"
$quick || [ -z "$(learned seed)" ] || read_text seeds --prefix "" --readings "$(learned seed)"
pieces=1,8 read_text ensembles --prefix "" --readings select --ensembles nbce,mean
read_text prefix --readings $fixed
read_text choices --prefix "" --recall --readings \
  select:1,guess:1:mean,guess:1:diagonal,guess:1:full,guess:1:box,select:4,guess:4:mean,guess:4:diagonal,guess:4:full,guess:4:box
tables
[ ! -e "$out/tables.md" ] || cat "$out/tables.md"
say "tables: $out/tables.md; a page of each run: $out/runs/*/index.html"

#!/usr/bin/env bash
# Which heads need far keys, and what leaving those out costs.   docs/results/heads.sh [--quick] [--texts DIR] [--out DIR]
#   --quick      2,048 tokens, one segment a text, fewer tau, four recall texts: a look, not a result
#   --texts DIR  test_books.txt, wikitext2_test_raw.txt, valid_books.txt (../shared/data/text)
#   --out DIR    where runs, pages and the tables go (runs/heads, or runs/heads-quick)
# Loss of the last 1,024 of 4,096 tokens (four segments a text) and of 8,192 (one segment), for every method over tau;
# between them, the digits of a number that lies somewhere in 4,096 tokens. An interrupted experiment goes on where it
# stopped.
set -euo pipefail
experiment=heads
needed="test_books wikitext2_test_raw valid_books"
model=models/SmolLM2-135M-Instruct dtype=""
source "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"
set_up

lengths=(4096 8192) segments=(4 1) scored=1024 tau=0.6,0.8,0.9,0.95,0.99 recall_length=4096 recall_texts=24
if $quick; then
  lengths=(2048) segments=(1) scored=512 tau=0.6,0.9,0.99 recall_length=2048 recall_texts=4
fi
run() {  # NAME TEXT LENGTH SCORED SEGMENTS
  say "$1"
  build/release/examples/motet-heads --model $model --text "$2" --length "$3" --scored "$4" --segments "$5" --tau $tau \
    --save-stats --out "$out/$1" --resume > /dev/null
}

read_texts() {  # LENGTH SEGMENTS
  for text in test_books wikitext2_test_raw; do
    run "$text-$1" "$texts/$text.txt" "$1" $scored "$2"
  done
}

read_texts "${lengths[0]}" "${segments[0]}"
[ -e "$out/recall.jsonl" ] || {
  "$MOTET_PYTHON" "$here/recall_task.py" $model "$texts/valid_books.txt" $recall_length $recall_texts > "$out/recall.tmp"
  mv "$out/recall.tmp" "$out/recall.jsonl"
}
run "recall-$recall_length" "$out/recall.jsonl" $recall_length 32 $recall_texts  # the question, and seven digits
for ((i = 1; i < ${#lengths[@]}; ++i)); do
  read_texts "${lengths[i]}" "${segments[i]}"
done
"$MOTET_PYTHON" "$here/heads_tables.py" "$out" > "$out/heads.md"
cat "$out/heads.md"
say "tables: $out/heads.md"

#!/usr/bin/env bash
# Which heads need far keys, and what leaving those out costs.   docs/results/heads.sh [--quick] [--texts DIR] [--out DIR]
#   --quick      2,048 tokens, one segment a text, fewer tau, four recall texts: a look, not a result
#   --texts DIR  test_books.txt, wikitext2_test_raw.txt, valid_books.txt (../shared/data/text)
#   --out DIR    where runs, pages and the tables go (runs/heads)
# Loss of the last quarter of 4,096 and of the last 1,024 of 8,192 tokens, for every method over tau; then the digits of
# a number that lies somewhere in 4,096 tokens. An interrupted experiment goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
quick=false texts=$root/../shared/data/text out=$root/runs/heads
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=true; shift ;;
    --texts) [ $# -gt 1 ] || { echo "heads.sh: --texts needs a directory" >&2; exit 2; }
             texts=$2; shift 2 ;;
    --out) [ $# -gt 1 ] || { echo "heads.sh: --out needs a directory" >&2; exit 2; }
           out=$2; shift 2 ;;
    *) echo "heads.sh: unknown argument '$1'; --quick, --texts DIR and --out DIR are known" >&2; exit 2 ;;
  esac
done
say() { echo "heads: $*" >&2; }
for name in test_books wikitext2_test_raw valid_books; do
  [ -e "$texts/$name.txt" ] || { say "$texts/$name.txt is missing; --texts DIR says where the texts are"; exit 1; }
done
texts=$(cd "$texts" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
environment=$(cmake/setup.sh --tests --model)
eval "$environment"
say "building"
cmake --preset release > "$out/build.log" 2>&1 && cmake --build --preset release >> "$out/build.log" 2>&1 || {
  tail -n 40 "$out/build.log" >&2
  say "the build failed; all of it is in $out/build.log"
  exit 1
}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

model=models/SmolLM2-135M-Instruct
lengths="4096 8192" scored=1024 segments=4 tau=0.6,0.8,0.9,0.95,0.99 recall_length=4096 recall_texts=24
if $quick; then
  lengths=2048 scored=512 segments=1 tau=0.6,0.9,0.99 recall_length=2048 recall_texts=4
fi
run() {  # NAME TEXT LENGTH SCORED SEGMENTS
  say "$1"
  build/release/examples/motet-heads --model $model --text "$2" --length "$3" --scored "$4" --segments "$5" --tau $tau \
    --save-stats --out "$out/$1" --resume > /dev/null
}

for length in $lengths; do
  for text in test_books wikitext2_test_raw; do
    run "$text-$length" "$texts/$text.txt" "$length" $scored $segments
  done
done
[ -e "$out/recall.jsonl" ] || {
  "$MOTET_PYTHON" "$here/recall_task.py" $model "$texts/valid_books.txt" $recall_length $recall_texts > "$out/recall.tmp"
  mv "$out/recall.tmp" "$out/recall.jsonl"
}
run "recall-$recall_length" "$out/recall.jsonl" $recall_length 32 $recall_texts  # the question, and seven digits
"$MOTET_PYTHON" "$here/heads_tables.py" "$out" > "$out/heads.md"
cat "$out/heads.md"
say "tables: $out/heads.md"

#!/usr/bin/env bash
# Adaptive heads against an oracle, static and random ones: loss over the share of local decisions (docs/heads.md).
#
#   docs/results/heads.sh [--quick] [--model DIR] [--out DIR] [--calibrate TEXT] TEXT...
#
# Every text at 4,096 and 8,192 tokens, the last 1,024 of each segment scored, 4 segments of each length, tau from 0.6 to 0.99.
# --quick: one segment of 2,048 tokens, 512 scored, of the first text alone. Static heads are calibrated on examples/data/alice.txt
# unless another text is given. What was interrupted goes on where it stopped. Each run has a page of its own in --out.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
model=$root/models/SmolLM2-135M-Instruct
out=$root/runs/heads-results
quick=false texts=() calibrate=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=true ;;
    --model) model=$2; shift ;;
    --out) out=$2; shift ;;
    --calibrate) calibrate=(--calibrate "$2"); shift ;;
    -*) echo "heads.sh: unknown option '$1'" >&2; exit 2 ;;
    *) texts+=("$1") ;;
  esac
  shift
done
[ ${#texts[@]} -gt 0 ] || { echo "heads.sh: no text is given: docs/results/heads.sh [--quick] TEXT..." >&2; exit 2; }
lengths=(4096 8192) scored=1024 segments=4
if $quick; then
  lengths=(2048) scored=512 segments=1 texts=("${texts[0]}")
fi
for text in "${texts[@]}"; do
  for length in "${lengths[@]}"; do
    "$root/build/release/examples/motet-heads" --model "$model" --text "$text" --length "$length" --scored "$scored" \
      --segments "$segments" --tau 0.6,0.8,0.9,0.95,0.99 "${calibrate[@]}" --out "$out/$(basename "$text" .txt)-$length" --resume
  done
done

#!/usr/bin/env bash
# Which way of reading in pieces costs tasks least.   docs/results/tasks.sh [--quick] [--model DIR] [--data DIR] [--out DIR]
#   --quick      768 tokens, P = 8, six items of fewer tasks: a look, not a result
#   --model DIR  models/SmolLM2-135M-Instruct
#   --data DIR   classification/ and qa/ (../shared/data); tasks whose file is missing are left out by name
#   --out DIR    where the run, its page and the tables go (runs/tasks)
# Each task with 100 items for likelihoods, half of them with outputs; P = 1, 4, 16, every reading, without and with the
# prefix. An interrupted experiment goes on where it stopped, item by item, some of every task.
set -euo pipefail
experiment=tasks
needed=""
model=models/SmolLM2-135M-Instruct data="" rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --model | --data) [ $# -gt 1 ] || { echo "tasks: $1 needs a directory" >&2; exit 2; }
                      [ "$1" = --model ] && model=$(realpath "$2") || data=$(realpath "$2")
                      shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
set -- "${rest[@]}"
source "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

data=${data:-$root/../shared/data}
items=100 outputs=50 length=2048 pieces=1,4,16
$quick && items=6 outputs=3 length=768 pieces=1,8
tasks=kv:pairs=10,kv:pairs=30,niah:depth=0,niah:depth=50,niah:depth=100,niah:hay=needles,vt
$quick && tasks=kv:pairs=10,niah:depth=50,vt
add() {  # FILE TASK
  if [ -e "$data/$1" ]; then tasks=$2,$tasks; else say "left out: ${2%%:*} of $1, which is not in $data"; fi
}
add qa/nq_20docs.jsonl "qa:$data/qa/nq_20docs.jsonl:passages=$($quick && echo 4 || echo 12)"
add classification/banking77_test.jsonl \
  "icl:$data/classification/banking77_test.jsonl:demos=$data/classification/banking77_train.jsonl:labels=20"
add classification/trec_test.jsonl \
  "icl:$data/classification/trec_test.jsonl:demos=$data/classification/trec_train.jsonl"
say "$tasks"
build/release/examples/motet-eval --model "$model" --tasks "$tasks" --items $items --outputs $outputs --length $length \
  --pieces $pieces --readings select,discount:1,sharpen:4,temper,soft --out "$out/run" --resume > "$out/table.txt"
"$MOTET_PYTHON" "$here/tasks_tables.py" "$out/run/run.json" > "$out/tables.md"
cat "$out/tables.md"
say "tables: $out/tables.md; page: $out/run/index.html"

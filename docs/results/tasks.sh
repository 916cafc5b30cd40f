#!/usr/bin/env bash
# Which way of reading in pieces costs tasks least.   docs/results/tasks.sh [--quick] [--model DIR] [--data DIR] [--dtype NAME] [--only TASK] [--out DIR]
#   --quick      768 tokens, P = 8, six items of fewer tasks: a look, not a result
#   --model DIR  models/SmolLM2-135M-Instruct
#   --data DIR   classification/ and qa/ (../shared/data); tasks whose file is missing are left out by name
#   --out DIR    where the run, its page and the tables go (runs/tasks, or runs/tasks-quick)
#   --dtype NAME bfloat16, as in the paper
#   --only TASK  this task alone, by the name of its folder; may be repeated
# Each task with 100 items for likelihoods, half of them with outputs; P = 1, 4, 16, every reading, without and with the
# prefix. Tasks run one after the other, each to DIR/TASK; what tables are made of is kept in DIR/TASK.jsonl.gz, and a task
# that has such a file is done. An interrupted experiment goes on where it stopped, at the item.
set -euo pipefail
experiment=tasks
needed=""
model=models/SmolLM2-135M-Instruct data="" dtype=bfloat16 only=" " rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --model | --data | --dtype | --only)
      [ $# -gt 1 ] || { echo "tasks: $1 needs a value" >&2; exit 2; }
      case $1 in
        --model) model=$(realpath "$2") ;;
        --data) data=$(realpath "$2") ;;
        --dtype) dtype=$2 ;;
        --only) only+="$2 " ;;
      esac
      shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
set -- "${rest[@]}"
source "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

data=${data:-$root/../shared/data}
items=100 outputs=50 length=2048 pieces=1,4,16
$quick && items=6 outputs=3 length=768 pieces=1,8
tasks=()
add() {  # FILE TASK, or TASK
  if [ $# -eq 1 ]; then tasks+=("$1")
  elif [ -e "$data/$1" ]; then tasks+=("$2")
  else say "left out: ${2%%:*} of $1, which is not in $data"
  fi
}
labelled=$data/classification
add classification/trec_test.jsonl "icl:$labelled/trec_test.jsonl:demos=$labelled/trec_train.jsonl"
add kv:pairs=10
add niah:depth=50
add qa/nq_20docs.jsonl "qa:$data/qa/nq_20docs.jsonl:passages=$($quick && echo 4 || echo 12)"
add vt
$quick || {
  add niah:hay=needles
  add classification/banking77_test.jsonl \
    "icl:$labelled/banking77_test.jsonl:demos=$labelled/banking77_train.jsonl:labels=20"
  add kv:pairs=30
  add niah:depth=0
  add niah:depth=100
}
name_of() { echo "$1" | sed -E 's|[^:=]*/([^/]*)[.]jsonl|\1|g; s|[:=]|-|g'; }
names=()
for task in "${tasks[@]}"; do names+=("$(name_of "$task")"); done
only_of "${names[@]}"
set_up
tables() {
  "$MOTET_PYTHON" "$here/tasks_tables.py" "$out"/*.jsonl.gz > "$out/tables.md"
  "$MOTET_PYTHON" "$here/tasks_picture.py" "$out/tasks.svg" "$out"/*.jsonl.gz
}
for task in "${tasks[@]}"; do
  name=$(name_of "$task")
  [ ! -e "$out/$name.jsonl.gz" ] || continue
  [ "$only" = " " ] || [[ "$only" = *" $name "* ]] || continue
  say "$name"
  mkdir -p "$out/$name"
  build/release/examples/motet-eval --model "$model" --tasks "$task" --items $items --outputs $outputs --length $length \
    --pieces $pieces --readings select,discount:1,sharpen:4,temper,soft --dtype "$dtype" --out "$out/$name" --resume \
    > "$out/$name/table.txt"
  "$MOTET_PYTHON" "$here/tasks_tables.py" --keep "$out/$name.jsonl.gz" "$out/$name/run.json"
  tables
done
tables
cat "$out/tables.md"
say "tables: $out/tables.md; their picture: $out/tasks.svg; a page of each task: $out/TASK/index.html"

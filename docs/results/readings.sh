#!/usr/bin/env bash
# What a reading is worth in language modelling, learned ones among them.
#   docs/results/readings.sh [--quick] [--model DIR] [--texts DIR] [--pieces LIST] [--only NAME] [--out DIR]
#   --quick      1,024 tokens, P = 8, two segments, twelve steps of a fit: a look, not a result
#   --model DIR  models/SmolLM2-135M-Instruct
#   --texts DIR  valid_books.txt, train_books_1.txt, wikitext2_valid.txt to fit on; test_books.txt, wikitext2_test.txt to read
#                (../shared/data/text)
#   --pieces P,Q,...  1,8,32, of a look 1,8; with 1, full reading, which all are compared with (ensembles have 1,8 in any case)
#   --only NAME  this fit or run alone, temper its grid; may be repeated
#   --out DIR    where fits, runs and the tables go (runs/readings, or runs/readings-quick)
# Readings are fitted to rows of 1,024 tokens, 256 of them predicted, at P = 8, and so are, by a grid, temper's two numbers; read are
# 24 segments of 4,096 tokens of each test text, 256 scored. A fit is kept as DIR/NAME.safetensors, and of a run what tables are made
# of as DIR/TEXT.NAME.jsonl.gz, of the grid in DIR/grid. A fit that is kept is not done again, nor is a run that is whole and has every
# reading, P and segment that it is to have. An interrupted experiment goes on where it stopped.
set -euo pipefail
experiment=readings
needed="valid_books train_books_1 wikitext2_valid test_books wikitext2_test"
model=models/SmolLM2-135M-Instruct dtype="" only=" " pieces="" rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --model | --only | --pieces)
      [ $# -gt 1 ] || { echo "readings: $1 needs a value" >&2; exit 2; }
      case $1 in --model) model=$(realpath "$2") ;; --only) only+="$2 " ;; --pieces) pieces=$2 ;; esac
      shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
set -- "${rest[@]}"
[ -z "$pieces" ] || [[ ,$pieces, = *,1,* ]] || { echo "readings: --pieces $pieces lacks 1, full reading" >&2; exit 2; }
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
steps=240 length=4096 segments=24 degrees=1,8,32
$quick && fits=("${fits[0]}" "${fits[1]}") steps=12 length=1024 segments=2 degrees=1,8 tenths="0.5 0.9"
pieces=${pieces:-$degrees}
# shellcheck disable=SC2046  # words
only_of "${fits[@]%% *}" temper fixed controls learned $($quick || echo seeds) ensembles prefix choices
set_up

fit() {  # NAME TEXTS OPTION...
  local name=$1 texts_of=$2 files=(); shift 2
  [ ! -e "$out/$name.safetensors" ] && wanted "$name" || return 0
  say "fitting $name"
  for text in ${texts_of//,/ }; do files+=(--text "$texts/$text.txt"); done
  "$programs/motet-finetune" --model "$model" --tune reading "${files[@]}" --length 1024 --scored 256 --pieces 8 --steps $steps \
    "$@" --out "$out/fits/$name" --resume > /dev/null
  cp "$out/fits/$name/reading.safetensors" "$out/$name.part"
  mv "$out/$name.part" "$out/$name.safetensors"
}
read_one() {  # TEXT KEPT READINGS OPTION...
  local text=$1 kept=$2 readings=$3 run; shift 3
  ! "$MOTET_PYTHON" "$here/readings_tables.py" --has "$kept" "$readings" $pieces $segments || return 0
  run=$(basename "$kept" .jsonl.gz)
  say "reading ${run/./: }"
  "$programs/motet-compare" --model "$model" --text "$texts/$text.txt" --length $length --scored 256 --segments $segments \
    --pieces $pieces --readings "$readings" "$@" --out "$out/runs/$run" --resume > /dev/null || {
    say "where the run there has another configuration, remove $out/runs/$run, and it is read anew"
    exit 1
  }
  "$MOTET_PYTHON" "$here/readings_tables.py" --keep "$kept" "$out/runs/$run/run.json"
}
read_text() {  # NAME READINGS OPTION..., kept in $into or $out
  local name=$1 at=${into:-$out}; shift
  wanted "$name" || return 0
  mkdir -p "$at"
  for text in test_books wikitext2_test; do
    read_one $text "$at/$text.$name.jsonl.gz" "$@"
    tables "$at"
  done
}
search_temper() {  # the pair that reads the texts of a mixture best
  local every="" t s
  for t in $tenths; do for s in $tenths; do every+=,temper:$t:$s; done; done
  for text in valid_books wikitext2_valid; do
    length=1024 segments=$((segments < 8 ? segments : 8)) pieces=1,8 \
      read_one $text "$out/grid/$text.temper.jsonl.gz" "${every#,}" --prefix ""
  done
  "$MOTET_PYTHON" "$here/readings_tables.py" --temper "$out"/grid/*.temper.jsonl.gz > "$out/grid/temper.md"
}
tables() {  # of a folder
  compgen -G "$1/*.jsonl.gz" > /dev/null || return 0
  "$MOTET_PYTHON" "$here/readings_tables.py" "$1"/*.jsonl.gz > "$1/tables.md"
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
  temper=${temper/%temper:0.9:0.9/temper}  # the default, under the name that kept runs have it by
fi
fixed=select,discount:1,sharpen:4,${temper:-temper},soft,weigh:2:0.3
for one in "${fits[@]}"; do
  # shellcheck disable=SC2086  # its words
  fit $one
done
read_text fixed $fixed,null:0,scale:ssmax,scale:infoscale,scale:entropy,guess:2:mean,guess:2:diagonal,guess:2:full,guess:2:box \
  --prefix "" --recall
read_text controls select,guess:2:last,guess:2:random --prefix "" --recall
[ -z "$(learned)" ] || read_text learned "weigh:1.5:0.6,$(learned)" --prefix ""
# Fits that differ in their seed are one reading: they have tables of their own, corrected among themselves.
$quick || [ -z "$(learned seed)" ] || into=$out/seeds read_text seeds "sharpen:4,weigh:2:0.3,$(learned seed)" --prefix ""
pieces=1,8 read_text ensembles select --prefix "" --ensembles nbce,mean
read_text prefix $fixed
read_text choices \
  select:1,guess:1:mean,guess:1:diagonal,guess:1:full,guess:1:box,select:4,guess:4:mean,guess:4:diagonal,guess:4:full,guess:4:box \
  --prefix "" --recall
tables "$out"
[ ! -e "$out/tables.md" ] || cat "$out/tables.md"
say "tables: $out/tables.md; a page of each run: $out/runs/*/index.html"

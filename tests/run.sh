#!/usr/bin/env bash
# Sets up, builds and runs every test of the day.   tests/run.sh [--model DIR] [--nightly | --sanitize]
#   --model DIR  adds the tests on the real default model
#   --nightly    adds those that are long and exhaustive
#   --sanitize   runs the fast tests under AddressSanitizer and UndefinedBehaviorSanitizer instead
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=dev model=
while [ $# -gt 0 ]; do
  case $1 in
    --model) [ $# -gt 1 ] || { echo "run.sh: --model needs a directory" >&2; exit 2; }
             model=$(cd "$2" && pwd); shift 2 ;;
    --nightly) preset=nightly; shift ;;
    --sanitize) preset=sanitize; shift ;;
    *) echo "run.sh: unknown argument '$1'; --model DIR, --nightly and --sanitize are known" >&2; exit 2 ;;
  esac
done
cd "$root"
environment=$(cmake/setup.sh --tests $([ $preset = nightly ] && echo --nightly))
eval "$environment"
cmake --preset "$preset" -DMOTET_TEST_MODEL="$model" -DMOTET_TEST_PYTHON="$MOTET_PYTHON" > /dev/null
cmake --build --preset "$preset"
ctest --preset "$preset"

#!/usr/bin/env bash
# From nothing to the main job: sets up, builds, fetches the default model, and compares the modes on a text.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
environment=$(cmake/setup.sh --model)
eval "$environment"
echo "quickstart: building" >&2
mkdir -p build
cmake --preset release > build/release.log 2>&1 && cmake --build --preset release >> build/release.log 2>&1 || {
  tail -n 40 build/release.log >&2
  echo "quickstart: the build failed; all of it is in build/release.log" >&2
  exit 1
}
model=models/SmolLM2-135M-Instruct
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}  # threads that spin make each other wait on a busy machine
build/release/examples/motet-compare --model $model --text examples/data/alice.txt \
  --length 2048 --scored 512 --segments 1 --out runs/quickstart --overwrite
cat <<END

A text of your own:
  build/release/examples/motet-compare --model $model --text YOUR.txt --out runs/mine
END

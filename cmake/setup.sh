#!/usr/bin/env bash
# Makes what building motet needs, where it is missing; does nothing where it is there, and then needs no network.
#
#   eval "$(cmake/setup.sh [--tests] [--nightly] [--model])"
#
# --tests: also what the tests need; --nightly: and the nightly ones; --model: also the default model, in models/SmolLM2-135M-Instruct.
# Says on stderr what it does; prints the environment to build in (PATH, CMAKE_PREFIX_PATH, MOTET_PYTHON) on stdout.
# A LibTorch of one's own is taken from Torch_DIR or CMAKE_PREFIX_PATH, a compiler from CXX.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
torch_version=2.13.0
torch_cpu_index=https://download.pytorch.org/whl/cpu
venv=$root/.venv
cxx=${CXX:-c++}
tests=false nightly=false model=false
for argument in "$@"; do
  case $argument in
    --tests) tests=true ;;
    --nightly) tests=true nightly=true ;;
    --model) model=true ;;
    *) echo "setup: unknown argument '$argument'; --tests, --nightly and --model are known" >&2; exit 2 ;;
  esac
done

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }  # version $1 >= $2

case "$(uname -s) $(uname -m)" in
  "Linux x86_64") ;;
  *) say "motet is tested on Linux x86-64 only; this is $(uname -s) $(uname -m)" ;;
esac

# System packages: a compiler, and the small libraries that distributions carry.
missing=()
has_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] || \
  { command -v $cxx > /dev/null && echo "#include <$1>" | $cxx -std=c++20 -fsyntax-only -x c++ - 2> /dev/null; }; }
has_module() { command -v pkg-config > /dev/null && pkg-config --exists "$1" 2> /dev/null; }
find_missing() {
  missing=()
  command -v c++ > /dev/null || [ -n "${CXX:-}" ] || missing+=(g++)
  command -v git > /dev/null || missing+=(git)
  command -v pkg-config > /dev/null || missing+=(pkg-config)
  command -v python3 > /dev/null && python3 -c 'import venv, ensurepip' 2> /dev/null || missing+=(python3-venv)
  has_header eigen3/Eigen/Core || has_header Eigen/Core || missing+=(libeigen3-dev)
  has_header fmt/format.h || missing+=(libfmt-dev)
  has_header nlohmann/json.hpp || missing+=(nlohmann-json3-dev)
  has_header CLI/CLI.hpp || missing+=(libcli11-dev)
  has_header openssl/evp.h || missing+=(libssl-dev)
  has_module "libpcre2-8 >= 10.40" || missing+=(libpcre2-dev)
  has_module libutf8proc || missing+=(libutf8proc-dev)
  has_module "libhwy >= 1.0.3" || missing+=(libhwy-dev)
  has_module "librsvg-2.0 >= 2.50" || missing+=(librsvg2-dev)
  if $tests; then
    has_header gtest/gtest.h || missing+=(libgtest-dev)
    has_header benchmark/benchmark.h || missing+=(libbenchmark-dev)
    command -v doxygen > /dev/null || missing+=(doxygen)
    command -v make > /dev/null || missing+=(make)  # a test of the package uses it
  fi
}
find_missing
if [ ${#missing[@]} -gt 0 ]; then
  line="apt-get install -y ${missing[*]}"
  run_as=none
  if command -v apt-get > /dev/null; then
    if [ "$(id -u)" = 0 ]; then run_as=; elif sudo -n true 2> /dev/null; then run_as=sudo; fi
  fi
  if [ "$run_as" = none ]; then
    command -v apt-get > /dev/null || die "these packages are missing (Debian's names), install them: ${missing[*]}"
    die "these packages are missing; type: sudo $line"
  fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  told=$({ $run_as apt-get update -qq && $run_as $line -qq; } 2>&1) ||
    die "that failed; type: sudo $line"$'\n'"$told"
  find_missing
  [ ${#missing[@]} -eq 0 ] || die "still missing or too old after that: ${missing[*]}"
fi
echo 'auto f = [](auto... x) requires(sizeof...(x) > 0) { return (x + ...); }; int main() { return f(0); }' |
  $cxx -std=c++20 -fsyntax-only -x c++ - 2> /dev/null ||
  die "$({ $cxx --version || echo "$cxx, which is not there,"; } 2> /dev/null | head -n 1) has no C++20; install g++ 11 or newer, and set CXX to it"

# A private Python: CMake and Ninja where the system's are too old, LibTorch, and what the scripts need.
python=$venv/bin/python
if [ ! -x "$python" ]; then
  say "making a private Python environment in .venv"
  python3 -m venv "$venv" >&2
fi
installed() { compgen -G "$venv/lib/python3*/site-packages/$1-[0-9]*.dist-info" > /dev/null; }
pip_install() { say "installing $*"; "$python" -m pip install --quiet --disable-pip-version-check "$@" >&2; }
installs_cuda() {  # whether plain pip would bring a CUDA build
  "$python" -m pip install --disable-pip-version-check --dry-run "torch==$torch_version" 2> /dev/null |
    grep -E '^Would install' | grep -qE 'nvidia-|cuda-|triton-'
}

version_of() { "$1" --version 2> /dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true; }
system_path=${PATH//"$venv/bin:"/}
cmake_version=$(PATH=$system_path version_of cmake)
at_least "${cmake_version:-0}" 3.25 || installed cmake || pip_install "cmake>=3.25"
[ -n "$(PATH=$system_path version_of ninja)" ] || installed ninja || pip_install ninja

own_torch() {
  [ -n "${Torch_DIR:-}" ] && [ -e "$Torch_DIR/TorchConfig.cmake" ] && return 0
  local prefixes prefix
  IFS=':;' read -ra prefixes <<< "${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    for place in . share/cmake Torch share/cmake/Torch; do
      [ -e "$prefix/$place/TorchConfig.cmake" ] && return 0
      [ -e "$prefix/$place/Torch/TorchConfig.cmake" ] && return 0
    done
  done
  return 1
}
if ! own_torch; then
  [ -z "${Torch_DIR:-}" ] || die "Torch_DIR is $Torch_DIR, which has no TorchConfig.cmake; correct or unset it"
  if ! installed torch; then
    index=()
    # pip before 22.2 has no --dry-run
    at_least "$("$python" -m pip --version | cut -d ' ' -f 2)" 22.2 || pip_install --upgrade pip
    if installs_cuda; then
      say "plain pip would bring a CUDA build of several gigabytes: taking the CPU build from PyTorch's index"
      index=(--index-url "$torch_cpu_index")
    fi
    pip_install "torch==$torch_version" "${index[@]}" ||
      die "LibTorch $torch_version could not be installed; set Torch_DIR to one of your own"
  fi
  torch=$(compgen -G "$venv/lib/python3*/site-packages/torch/share/cmake" | head -n 1)
  [ -n "$torch" ] || die "the torch package in .venv has no CMake files; remove .venv and try again"
  export CMAKE_PREFIX_PATH=$torch${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
fi
if $tests; then
  packages=(tokenizers numpy safetensors "transformers>=5" gguf matplotlib nbclient ipykernel clang-format==14.0.6)
  $nightly && packages+=("lm-eval>=0.4.13")
  for package in "${packages[@]}"; do
    name=${package%%[<>=]*}
    installed "${name//-/_}" || pip_install "$package"
  done
fi
if $model && [ ! -e "$root/models/SmolLM2-135M-Instruct/model.safetensors" ]; then
  installed gguf || pip_install gguf
  "$python" "$root/cmake/fetch_model.py" >&2 || die "the default model could not be made"
fi

path=$system_path
if ! at_least "${cmake_version:-0}" 3.25 || [ -z "$(PATH=$system_path version_of ninja)" ]; then
  path=$venv/bin:$path
fi
printf 'export PATH=%q CMAKE_PREFIX_PATH=%q MOTET_PYTHON=%q\n' "$path" "${CMAKE_PREFIX_PATH:-}" "$python"

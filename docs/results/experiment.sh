# What the experiments begin with. Sourced with the command line, after `experiment`, a name, and `needed`, the names of
# its texts, are set. Leaves: quick, texts, out, root, here, say, MOTET_PYTHON; the programs built, in root.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { echo "$experiment: $*" >&2; }
quick=false texts=$root/../shared/data/text out=
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=true; shift ;;
    --texts | --out) [ $# -gt 1 ] || { say "$1 needs a directory"; exit 2; }
                     [ "$1" = --texts ] && texts=$2 || out=$2
                     shift 2 ;;
    *) say "unknown argument '$1'; --quick, --texts DIR and --out DIR are known"; exit 2 ;;
  esac
done
out=${out:-$root/runs/$experiment$($quick && echo -quick || true)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
# What is kept is not done again, so a folder holds looks or results, never both; that of looks has the file `quick`.
if $quick && [ ! -e "$out/quick" ] && [ -n "$(ls -A "$out")" ]; then
  say "$out holds something other than a --quick run; name an empty folder with --out"
  exit 2
elif ! $quick && [ -e "$out/quick" ]; then
  say "$out holds a --quick run, whose figures would be taken for results; name another folder with --out, or delete it"
  exit 2
fi
for name in $needed; do
  [ -e "$texts/$name.txt" ] || { say "$texts/$name.txt is missing; --texts DIR says where the texts are"; exit 1; }
done
[ -z "$needed" ] || texts=$(cd "$texts" && pwd)
! $quick || touch "$out/quick"
cd "$root"
environment=$(cmake/setup.sh --tests --model)
eval "$environment"
say "building"
cmake --preset release > "$out/build.log" 2>&1 && cmake --build --preset release >> "$out/build.log" 2>&1 || {
  tail -n 40 "$out/build.log" >&2
  say "the build failed; all of it is in $out/build.log"
  exit 1
}
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-60000}  # threads that wait spin for a moment only

# What the experiments begin with. Sourced with the command line, after `experiment`, a name, `needed`, the names of its texts,
# `model`, a directory (relative to the root of motet, or absolute), and `dtype`, where it can be chosen, are set.
# Leaves: quick, texts, out, root, here, say; in root. `set_up` sets up and builds, and leaves MOTET_PYTHON.
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
cd "$root"
# Nor does it hold two models: its file `of` says of which one it is. A folder without it, of an earlier version, gets it.
of_model() {
  [ -e "$model/config.json" ] || { say "$model/config.json is missing; --model DIR says where the model is"; exit 1; }
  local of was
  of="$(basename "$model"), config.json $(sha256sum < "$model/config.json" | cut -d ' ' -f 1)${dtype:+, $dtype}"
  [ -e "$out/of" ] || { echo "$of" > "$out/of"; return; }
  was=$(cat "$out/of")
  [ "$was" = "$of" ] || {
    say "$out holds results of another model or dtype ($was; now: $of), which would be taken for this one's; name another folder with --out"
    exit 2
  }
}
[ ! -e "$out/of" ] || [ ! -e "$model/config.json" ] || of_model  # the default model is there after set_up at the latest
only_of() {  # the names that --only can have; $only holds those that it has
  local name known=" $* "
  for name in $only; do
    [[ $known = *" $name "* ]] || { say "--only $name is not known; there are: $*"; exit 2; }
  done
}
set_up() {
  ! $quick || touch "$out/quick"
  local environment
  environment=$(cmake/setup.sh --tests --model)
  eval "$environment"
  of_model
  say "building"
  cmake --preset release > "$out/build.log" 2>&1 && cmake --build --preset release >> "$out/build.log" 2>&1 || {
    tail -n 40 "$out/build.log" >&2
    say "the build failed; all of it is in $out/build.log"
    exit 1
  }
}
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-60000}  # threads that wait spin for a moment only

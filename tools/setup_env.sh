#!/usr/bin/env bash
# Makes the environment .venv of this checkout or brings it up to date: the versions of
# tools/pins.txt on Python 3.11 to 3.14, on 3.10 what fits setup.py.
#
#   bash tools/setup_env.sh [--active] [--print-python]
#
#   --active        install into the active Python instead (conda, container), and only
#                   what is missing or does not fit. Later calls then use it, too.
#   --print-python  print the path of the environment's Python
#
# PYTHON=/path/to/python3.13 makes .venv with that Python. Without CUDA: docs/install.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
env=$root/.venv pins=$root/tools/pins.txt extras='[dev,runtimes]' active='' print=''
fail() { printf 'setup_env.sh: %s\n' "$*" >&2; exit 1; }
ask() { # ask <Python> <expression>: fails where that is no Python from 3.10 on
  "$1" -c "import importlib.metadata as m, sys
assert sys.version_info >= (3, 10); print($2)" 2>/dev/null
}
install() { # uv is faster but ignores pip's settings, such as another index
  if type uv >/dev/null 2>&1 && uv pip install --python "$python" "$@" >&2; then return; fi
  "$python" -m pip install "$@" >&2 || fail 'pip failed (above). Run this again to go on.'
}
for argument; do case $argument in
  --active) active=yes ;;
  --print-python) print=yes ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;;
  *) fail "unknown argument $argument (see bash tools/setup_env.sh --help)" ;;
esac; done

here=$(ask python3 sys.prefix || true) minor='sys.version_info[1]'
if [[ $active || $(head -n 1 "$here/.ldcrn_mm" 2>/dev/null) == "$root" ]]; then
  env=${here:?no Python from 3.10 on is active} extras=''
fi
python=$env/bin/python3
version=$(ask "$python" "$minor" || true)
if [[ $extras && $version != "$(ask "${PYTHON:-$python}" "$minor" || echo none)" ]]; then
  bases=(python3.{11..14} python3.10 python3)
  if [[ ${PYTHON:-} ]]; then bases=("$PYTHON"); fi
  for base in "${bases[@]}"; do version=$(ask "$base" "$minor") && break; done
  [[ $version ]] || fail 'no Python from 3.10 on. PYTHON=/path/to/python3 names one.'
  "$base" -m venv --clear "$env" >&2 || fail 'no environment could be made (see above).'
fi
state=$(printf '%s\n' "$root" "$version" "$(cat "$pins" "$0" "$root/setup.py" | cksum)")
if [[ $(cat "$env/.ldcrn_mm" 2>/dev/null) != "$state" ]]; then
  (($(df -Pk "$env" | awk 'END { print $4 }') > 10485760)) ||
    echo "Less than 10 GB of disk are free, which CUDA's PyTorch needs." >&2
  fit=(--constraint "$pins")
  [[ $extras && $version =~ ^1[1-4]$ ]] || # as it is
    fit=("torch$(ask "$python" '"==" + m.version("torch")' || true)")
  install 'setuptools>=70.1,<82' # a build in this environment sees which mmcv it has
  install --no-build-isolation "${fit[@]}" --editable "$root$extras"
  install --no-deps "$(grep '^mmpose==' "$pins")"
  (cd / && "$python" -W ignore -c 'import ldcrn_mm, mmpose.apis' >&2) ||
    fail 'the import fails (see above). For OpenCV: apt-get install libgl1 libglib2.0-0.'
  echo "$state" >"$env/.ldcrn_mm"
fi
if [[ $print ]]; then echo "$python"; fi

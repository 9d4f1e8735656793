#!/usr/bin/env bash
# Makes the environment .venv of this checkout or brings it up to date: the versions of
# tools/pins.txt (on Python 3.11 to 3.14, else what fits setup.py) and this checkout,
# editable.
#
#   bash tools/setup_env.sh [--active] [--print-python]
#
#   --active        install into the active Python instead (virtual environment, conda,
#                   container), only what is missing or does not fit setup.py. Its torch
#                   stays. Later calls use that Python while it is active.
#   --print-python  print the path of the environment's Python
#
# PYTHON=/path/to/python3.13 makes .venv with that Python, 3.10 or newer.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
pins=$root/tools/pins.txt
fail() { printf 'setup_env.sh: %s\n' "$*" >&2; exit 1; }
ask() { # ask <Python> <expression>: fails where that is no Python from 3.10 on
  "$1" -c "import importlib.metadata as m, sys, venv
assert sys.version_info >= (3, 10); print($2)" 2>/dev/null
}
install() { # uv is faster but ignores pip's settings, such as another index
  if type uv >/dev/null 2>&1 && uv pip install --python "$python" "$@" >&2; then return; fi
  "$python" -m pip install "$@" >&2 || fail 'pip failed (above). Run this again to go on.'
}
state() { # what a finished set-up leaves behind
  printf '%s\n' "$root" "$(cat "$pins" "$0" "$root/setup.py" | cksum)" "$version"
}

active='' print_python='' env=$root/.venv minor='sys.version_info[1]'
candidates=(python3.{11,12,13,14,10} python3)
for argument; do
  case $argument in
    --active) active=yes ;;
    --print-python) print_python=yes ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;;
    *) fail "unknown argument $argument (see bash tools/setup_env.sh --help)" ;;
  esac
done

here=$(ask python sys.prefix || ask python3 sys.prefix || true)
if [[ $active || $(head -n 1 "$here/.ldcrn_mm" 2>/dev/null) == "$root" ]]; then
  env=${here:?no Python from 3.10 on is active}
fi
python=$env/bin/python3 version=$(ask "$env/bin/python3" "$minor" || true)
if [[ $env == "$root/.venv" ]] && { # missing, of another Python than asked for, or moved
  [[ -z $version || $(ask "${PYTHON:-$python}" "$minor") != "$version" ]] ||
    ! grep -qsF "$env" "$env/bin/activate"
}; then
  if [[ ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
  for base in "${candidates[@]}"; do
    if version=$(ask "$base" "$minor"); then break; fi
  done
  [[ $version ]] || fail 'no Python from 3.10 on. PYTHON=/path/to/python3 names one.'
  "$base" -m venv --clear "$env" >&2 || fail 'no environment could be made (see above).'
fi

if [[ $(cat "$env/.ldcrn_mm" 2>/dev/null) != "$(state)" ]]; then
  free=$(df -Pk "$env" | awk 'NR == 2 { print int($4 / 1048576) }')
  if ((free < 10)); then
    echo "Only $free GB of disk are free. PyTorch with CUDA needs 10 while it installs." >&2
  fi
  if [[ $env == "$root/.venv" && $version -gt 10 && $version -lt 15 ]]; then
    mapfile -t lock < <(grep -vE '^(#|mmpose==|$)' "$pins")
    install "${lock[@]}"
    install --no-deps --no-build-isolation "$(grep '^mmpose==' "$pins")" --editable "$root"
  else
    torch=$(ask "$python" '"torch==" + m.version("torch")' || true)
    if [[ $env == "$root/.venv" ]]; then extras='[dev,runtimes]'; else extras=''; fi
    install 'setuptools>=70.1,<82' # a build in this environment sees which mmcv it has
    install --no-build-isolation ${torch:+"$torch"} --editable "$root$extras"
    install --no-deps 'mmpose>=1.3,<2'
  fi
  (cd / && "$python" -W ignore -c 'import ldcrn_mm, mmpose.apis' >&2) ||
    fail 'all is installed, but the import fails (see above). What the system lacks for' \
      'OpenCV: apt-get install libgl1 libglib2.0-0.'
  state >"$env/.ldcrn_mm"
fi
if [[ $print_python ]]; then echo "$python"; fi

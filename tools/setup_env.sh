#!/usr/bin/env bash
# Makes the Python environment of this project, or repairs it: the packages of
# tools/pins.txt and this checkout, editable. Where all is right it only says so.
#
#   bash tools/setup_env.sh [--active] [--with-mmcv-ops] [--print-python]
#
#   --active         into the active virtual or conda environment, and not into
#                    .venv; later calls from this checkout find it by themselves
#                    as long as it is active
#   --with-mmcv-ops  with mmcv's own ops compiled (a C++ compiler, and about 12
#                    minutes on 2 cores); without it mmcv-lite serves
#   --print-python   prints the path of the environment's Python, for scripts
#
# PYTHON=/path/to/python3.12 says which Python makes .venv; without it the first
# 3.11 or 3.12 on PATH that works does.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
script=$root/tools/setup_env.sh
pins=$root/tools/pins.txt

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

fail() {
  printf '\nsetup_env.sh: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 1
}

# --- which environment -------------------------------------------------------

serves() { # is this command a Python of a version that serves?
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
    >/dev/null 2>&1
}

find_python() { # sets $base, the Python that makes .venv
  local name candidate
  local candidates=()
  if [[ -n ${PYTHON:-} ]]; then
    serves "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or 3.12 that runs: $(
      "$PYTHON" --version 2>&1 | head -n 1
    )" "Name one that is, or leave PYTHON unset to have one looked for."
    candidates=("$PYTHON")
  else
    for name in python3.11 python3.12 python3 python; do
      while IFS= read -r candidate; do # a shim may be there and not run: try all
        if serves "$candidate"; then candidates+=("$candidate"); fi
      done < <(type -aP "$name")
    done
  fi
  ((${#candidates[@]})) || fail 'no Python 3.11 or 3.12 on PATH.' \
    "Install one (Debian, Ubuntu: apt-get install python3.11-venv python3.11-dev)," \
    'or name one that is elsewhere:' \
    "  PYTHON=/path/to/python3.11 bash $script"
  for base in "${candidates[@]}"; do
    if "$base" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
  done
  name=$(minor "${candidates[0]}")
  fail "${candidates[0]} cannot make virtual environments: no venv or ensurepip." \
    "Debian, Ubuntu: apt-get install $name-venv $name-dev" \
    'Or name another Python: PYTHON=/path/to/python3.11'
}

minor() { "$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'; }

is_sound_venv() { # $env runs, is of the version PYTHON asks for, and was made here
  serves "$env/bin/python" || return
  if [[ -n ${PYTHON:-} ]]; then
    [[ $(minor "$PYTHON" 2>&1) == "$(minor "$env/bin/python")" ]] || return
  fi
  # shellcheck disable=SC2016  # the inner shell expands it
  bash -c '. "$1/bin/activate" && [[ $VIRTUAL_ENV -ef $1 ]]' _ "$env" 2>/dev/null
}

make_venv() {
  find_python
  if [[ -e $env/bin ]]; then
    say "$env does not work, was moved or is of another Python: making it anew"
  fi
  find "$env" -mindepth 1 -maxdepth 1 ! -name "${lock##*/}" -exec rm -rf {} +
  say "making .venv with $base ($("$base" --version))"
  "$base" -m venv "$env" >&2 || fail "$base -m venv $env failed: see above."
}

# --- what it lacks -----------------------------------------------------------

stamp_text() { # what a finished set-up leaves behind
  printf '%s\n' "$root"
  cat "$pins" "$script"
}

pinned() { sed -n "s/^$1==//p" "$pins"; }

differences() { # a line "name: what is there" for each thing not as it should be
  "$python" - "$pins" "$root" "$with_ops" <<'PY'
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

pins, root, with_ops = Path(sys.argv[1]), Path(sys.argv[2]), bool(sys.argv[3])


def version(name):
    try:  # without the local part, such as +cpu of torch
        return distribution(name).version.split('+')[0]
    except PackageNotFoundError:
        return 'missing'


wanted = dict(
    line.strip().split('==') for line in pins.read_text().splitlines() if '==' in line
)
mmcv = wanted.pop('mmcv-lite')
full, lite = version('mmcv'), version('mmcv-lite')
compiled = full != 'missing' and any(
    file.match('mmcv/_ext.*') for file in distribution('mmcv').files or []
)
# Both bring the module mmcv: one of them has to be there, and only one.
absent = (full, lite) == ('missing', 'missing')
clash = not absent and sorted([full, lite]) != sorted([mmcv, 'missing'])
if absent:
    print('mmcv-lite: missing')
if clash:
    print(f'mmcv-clash: mmcv-lite {lite}, mmcv {full}')
if compiled and version('torch') != wanted['torch']:
    print('mmcv: ops compiled for another torch')
elif with_ops and (clash or not compiled):
    print('mmcv: ops not compiled')

for name, pin in wanted.items():
    if version(name) != pin:
        print(f'{name}: {version(name)}')

try:
    origin = distribution('mmpose-ldcrn').read_text('direct_url.json') or '{}'
    path = unquote(urlparse(json.loads(origin).get('url', '')).path)
except PackageNotFoundError:
    path = ''
if not path or Path(path).resolve() != root:
    print(f'mmpose-ldcrn: {path or "missing"}')
PY
}

lacks() { [[ $'\n'$lacking == *$'\n'"$1: "* ]]; }

# --- checks before anything is downloaded ------------------------------------

check_compiler() {
  local cc include
  # What setuptools will call: $CC, or the compiler that built this Python.
  cc=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC"))')}
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  # shellcheck disable=SC2086  # $CC may carry options
  echo '#include <stdlib.h>' | $cc -fsyntax-only -x c - 2>/dev/null ||
    fail "xtcocotools is built from source, and the C compiler '$cc' does not work." \
      'Debian, Ubuntu: apt-get install gcc libc6-dev' \
      'Where a compiler has another name: CC=/path/to/it'
  [[ -f $include/Python.h ]] ||
    fail "xtcocotools is built from source, and $include/Python.h is missing." \
      "Debian, Ubuntu: apt-get install $(minor "$python")-dev"
}

check_cxx_compiler() {
  local cxx=${CXX:-c++}
  # shellcheck disable=SC2086
  echo '#include <span>' | $cxx -std=c++20 -fsyntax-only -x c++ - 2>/dev/null ||
    fail "mmcv's ops need a compiler for C++20, and '$cxx' is none that works." \
      'Debian, Ubuntu: apt-get install g++ (version 10 or newer)' \
      'Where a compiler has another name: CXX=/path/to/it'
}

check_libraries() { # OpenCV's wheel takes these from the system
  local missing
  missing=$("$python" - <<'PY'
import ctypes

for name in ('libGL.so.1', 'libglib-2.0.so.0', 'libgthread-2.0.so.0', 'libxcb.so.1'):
    try:
        ctypes.CDLL(name)
    except OSError:
        print(name, end=' ')
PY
  )
  [[ -z $missing ]] ||
    fail "OpenCV needs libraries of the system that are missing: $missing" \
      'Debian, Ubuntu: apt-get install libgl1 libglib2.0-0 libxcb1'
}

check_disk() { # check_disk <folder> <MB that go there> ...
  local mount has
  local -A needs=() folders=()
  while (($#)); do
    mount=$(df -P "$1" | awk 'NR == 2 { print $6 }')
    needs[$mount]=$((${needs[$mount]:-0} + $2))
    folders[$mount]+=" $1"
    shift 2
  done
  for mount in "${!needs[@]}"; do
    has=$(df -Pk "$mount" | awk 'NR == 2 { print int($4 / 1024) }')
    ((has >= needs[$mount])) || fail \
      "too little disk: ${needs[$mount]} MB are needed for${folders[$mount]}," \
      "and $mount has $has MB free. Free some space, or use another disk: .venv may" \
      'be a link to a folder, TMPDIR says where temporary files go, PIP_CACHE_DIR' \
      'where pip keeps what it downloads (PIP_NO_CACHE_DIR=1: nowhere).' \
      "Most of it is for torch's CUDA build. 2 GB are enough where torch" \
      "$(pinned torch) is installed first, its CPU build for example, with" \
      "  $python -m pip install ..."
  done
}

check_room() { # for torch with CUDA, measured: 6.2 GB, and 3.0 GB to download
  local cache=${XDG_CACHE_HOME:-$HOME} installed downloaded
  if lacks torch; then
    installed=6500 downloaded=3500
  elif lacks opencv-python; then # and then more of the rest
    installed=1000 downloaded=500
  else
    return 0
  fi
  set -- "$env" "$installed" "${TMPDIR:-/tmp}" "$downloaded"
  if [[ -d ${PIP_CACHE_DIR:-} ]]; then cache=$PIP_CACHE_DIR; fi
  if [[ -z ${PIP_NO_CACHE_DIR:-} ]]; then set -- "$@" "$cache" "$downloaded"; fi
  check_disk "$@"
}

run_checks() {
  check_room
  if lacks xtcocotools; then check_compiler; fi
  if lacks mmcv; then check_cxx_compiler; fi
  if lacks opencv-python; then check_libraries; fi
}

# --- installing --------------------------------------------------------------

show_life() { # until the caller ends it, or ends: what pip is at, twice a minute
  while sleep 30 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    say "  ... $(tail -n 1 "$log" | cut -c 1-100)"
  done
}

run_pip() { # run_pip <what this step is> <pip's arguments>...
  local what=$1 life status=0
  shift
  say "$what"
  show_life 9>&- &
  life=$!
  "$python" -m pip --disable-pip-version-check --no-input "$@" >"$log" 2>&1 ||
    status=$?
  kill "$life" 2>/dev/null || true
  wait "$life" 2>/dev/null || true
  ((status)) || return 0
  printf '\n' >&2
  grep -v '^Requirement already satisfied' "$log" | tail -n 15 >&2
  if grep -q 'No space left on device' "$log"; then
    fail "$what: the disk is full (above). Free some space and run this again."
  fi
  fail "$what: pip failed (its last lines are above)." \
    'If it could not reach the package index: check the network, HTTPS_PROXY, and' \
    "pip's settings ($python -m pip config list; PIP_INDEX_URL, PIP_CERT, ...)." \
    'Run this again to go on: what is installed stays installed.'
}

drop_unfinished() { # what a killed pip left half-installed, and would take for whole
  local folder
  for folder in "$env"/lib/python3.*/site-packages/*.dist-info; do
    # pip writes INSTALLER when a package's files are all in place.
    if [[ -d $folder && ! -f $folder/INSTALLER ]]; then rm -rf "$folder"; fi
  done
}

install_mmcv_ops() {
  local version work
  version=$(pinned mmcv-lite)
  if "$python" -c '
import sys, torch
from torch.utils.cpp_extension import CUDA_HOME
sys.exit(not torch.cuda.is_available() or CUDA_HOME is not None)' 2>/dev/null; then
    fail "with a GPU, mmcv's ops are compiled for CUDA, and the CUDA toolkit (nvcc)" \
      'is missing. Install it and set CUDA_HOME, or have them for the CPU only:' \
      "  CUDA_VISIBLE_DEVICES= bash $script --with-mmcv-ops"
  fi
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # $work is local: expand it now
  trap "rm -rf '$work'" EXIT
  run_pip "downloading mmcv $version" download --no-deps --no-build-isolation \
    --no-binary mmcv --dest "$work" "mmcv==$version"
  tar -xzf "$work/mmcv-$version.tar.gz" -C "$work"
  # torch's headers need C++20, mmcv's setup.py asks for 17 (without ops silently
  # where it does not see torch: hence no build isolation).
  sed -i.orig 's/-std=c++17/-std=c++20/' "$work/mmcv-$version/setup.py"
  # First a wheel, then the exchange: a build that fails leaves what there was.
  MMCV_WITH_OPS=1 run_pip "compiling mmcv's ops (about 12 minutes on 2 cores)" \
    wheel --no-deps --no-build-isolation --no-cache-dir --wheel-dir "$work" \
    "$work/mmcv-$version"
  remove_mmcv
  run_pip "installing mmcv $version with ops" install --no-deps "$work"/mmcv-*.whl
}

remove_mmcv() { # both, since they share their files
  run_pip 'removing the mmcv that is there' uninstall --yes mmcv mmcv-lite
}

add_pip() { # to an environment made without, or where making it was cut short
  "$python" -c 'import importlib.metadata as m, pip; m.version("pip")' 2>/dev/null ||
    "$python" -m ensurepip >"$log" 2>&1 ||
    fail "$env has no pip, and $python -m ensurepip fails: see $log."
}

install() {
  local apart='mmpose|xtcocotools'
  if lacks mmcv-clash; then remove_mmcv; fi
  if lacks mmcv || ! { lacks mmcv-lite || lacks mmcv-clash; }; then
    apart+='|mmcv-lite' # it is there, or mmcv with ops is, or will be
  fi
  say "pip's own words are in $log"
  if lacks torch; then say 'with CUDA, torch is 3 GB to download'; fi
  run_pip 'installing the pinned packages' \
    install --requirement <(grep -vE "^($apart)==" "$pins")
  # mmpose without its dependencies: it declares chumpy, which does not build.
  # xtcocotools built here, against this numpy: its wheel, or one in pip's cache,
  # can be for another.
  run_pip 'building xtcocotools, installing mmpose' install --no-deps \
    --no-build-isolation --no-binary xtcocotools --no-cache-dir \
    "xtcocotools==$(pinned xtcocotools)" "mmpose==$(pinned mmpose)"
  if lacks mmcv; then install_mmcv_ops; fi
  run_pip 'installing this checkout (editable)' install --no-deps \
    --no-build-isolation --editable "$root"
}

import_everything() {
  cd / && "$python" -W ignore - "$with_ops" <<'PY'
import sys

import ldcrn_mm
import mmcv
import mmdet
import mmengine
import mmpose.apis
import torch
import torchvision
import xtcocotools.coco

if sys.argv[1]:
    from mmcv.ops import nms
    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), iou_threshold=0.5)
PY
}

verify() {
  say 'importing everything once'
  if ! (import_everything) >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail 'all is installed, but it does not import (above).' \
      'If a file libSOMETHING.so is missing, install the package of the system that has' \
      "it. If a package is broken: $python -m pip install --force-reinstall --no-deps \\" \
      '  PACKAGE==VERSION, as in tools/pins.txt. Then run this again.'
  fi
}

# --- main --------------------------------------------------------------------

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
env=
with_ops=
print_python=
for argument; do
  case $argument in
    --active) env=$active
      [[ -n $env ]] || fail '--active, but no environment is active.' \
        'Activate one (source FOLDER/bin/activate, conda activate NAME), or leave' \
        '--active out to have .venv made.' ;;
    --with-mmcv-ops) with_ops=yes ;;
    --print-python) print_python=yes ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$script" && exit ;;
    *) fail "unknown argument $argument (bash $script --help)" ;;
  esac
done

stamp=.ldcrn_mm-setup
if [[ -z $env && -n $active && $(head -n 1 "$active/$stamp" 2>/dev/null) == "$root" ]]
then
  env=$active
fi
if [[ -z $env || $env -ef $root/.venv ]]; then
  mkdir -p "$root/.venv"
  env=$(cd "$root/.venv" && pwd -P)
  own=yes
else
  own=
  serves "$env/bin/python" || fail "$env has no Python 3.11 or 3.12: $(
    "$env/bin/python" --version 2>&1 | head -n 1
  )" 'Activate an environment that has, or leave --active out to have .venv made.'
fi
[[ -w $env ]] || fail "$env may not be written to."
stamp=$env/$stamp
lock=$env/.ldcrn_mm-lock
log=$env/ldcrn_mm-setup.log
python=$env/bin/python

exec 9>"$lock"
if command -v flock >/dev/null && ! flock -n 9; then
  say "another set-up of $env is running: waiting for it"
  flock 9
fi

if [[ -n $own ]] && ! is_sound_venv; then make_venv; fi
lacking=$(differences)
if [[ -z $lacking ]] && cmp -s "$stamp" <(stamp_text); then
  say "$env is as tools/pins.txt says"
else
  printf '%s\n' "$root" >"$stamp" # unfinished, but already of this checkout
  if [[ -n $own ]]; then drop_unfinished; fi
  lacking=$(differences)
  if [[ -n $lacking ]]; then
    say "to be set right: $(paste -sd ';' <<<"$lacking" | cut -c 1-70)"
  fi
  run_checks
  add_pip
  install
  verify
  lacking=$(differences)
  [[ -z $lacking ]] || fail 'after the installation these still differ:' "$lacking"
  stamp_text >"$stamp"
  say "ready${own:+; to use it: source $env/bin/activate}"
fi
if [[ -n $print_python ]]; then echo "$python"; fi

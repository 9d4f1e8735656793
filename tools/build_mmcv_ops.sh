#!/usr/bin/env bash
# Compiles mmcv 2.1.0 with its own ops and puts it in the place of mmcv-lite, in the
# environment of tools/setup_env.sh. About 12 minutes on 2 cores. LDCRN needs none of
# the ops. With a GPU they are compiled for CUDA and need nvcc:
# CUDA_VISIBLE_DEVICES= bash tools/build_mmcv_ops.sh compiles them for CPU only.
# mmcv 2.1.0 cannot be built on Python 3.13 or newer.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
python=$(bash "$tools/setup_env.sh" --print-python)
cxx=${CXX:-c++}
# shellcheck disable=SC2086  # $CXX may carry options
echo '#include <span>' | $cxx -std=c++20 -fsyntax-only -x c++ - 2>/dev/null || {
  echo "A compiler for C++20 is needed, and $cxx is none that works (CXX= names one)." >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip() { "$python" -m pip "$@"; }

pip download --no-deps --no-build-isolation --no-binary mmcv --dest "$work" mmcv==2.1.0
tar -xzf "$work/mmcv-2.1.0.tar.gz" -C "$work"
cd "$work/mmcv-2.1.0"
sed -i 's/-std=c++17/-std=c++20/' setup.py # PyTorch's headers need it
MMCV_WITH_OPS=1 pip wheel --no-deps --no-build-isolation --no-cache-dir --wheel-dir .. .
pip uninstall --yes mmcv mmcv-lite # they share their files
pip install --no-deps ../mmcv-*.whl
cd / && "$python" -c 'import mmcv.ops; from mmcv._ext import nms'

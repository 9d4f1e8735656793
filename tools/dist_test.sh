#!/usr/bin/env bash
# Tests with several processes: one per GPU, or on CPUs if there is no GPU.
#
#   bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]
#
# On several machines, run it on each with NNODES, NODE_RANK (from 0), and the MASTER_ADDR
# and PORT (29500) of the first. One machine finds a free port by itself.
set -euo pipefail
: "${3:?usage: bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]}"
[[ $3 =~ ^[1-9][0-9]*$ ]] || {
  echo "PROCESSES must be a whole number of at least 1, got $3" >&2
  exit 2
}
root=$(cd "$(dirname "$0")/.." && pwd -P)
[[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || PATH=$root/.venv/bin:$PATH
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
share=$(($(nproc) / $3))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 1 ? share : 1))}

if ((${NNODES:-1} > 1)); then
  meet=(--nnodes="$NNODES" --node_rank="${NODE_RANK:?}" --master_addr="${MASTER_ADDR:?}"
    --master_port="${PORT:-29500}")
elif [[ -n ${PORT:-} ]]; then
  meet=(--master_port="$PORT")
else
  meet=(--standalone)
fi
exec python -m torch.distributed.run "${meet[@]}" --nproc_per_node="$3" \
  "$root/tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"

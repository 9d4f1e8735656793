#!/usr/bin/env bash
# Trains with several processes: one per GPU, or on CPUs if there is no GPU.
#
#   bash tools/dist_train.sh CONFIG PROCESSES [options of train.py]
#
# On several machines, run it on each with NNODES, NODE_RANK (from 0), and the MASTER_ADDR
# and PORT (29500) of the first. One machine finds a free port by itself.
set -euo pipefail
: "${2:?usage: bash tools/dist_train.sh CONFIG PROCESSES [options of train.py]}"
[[ $2 =~ ^[1-9][0-9]*$ ]] || {
  echo "PROCESSES must be a whole number of at least 1, got $2" >&2
  exit 2
}
root=$(cd "$(dirname "$0")/.." && pwd -P)
[[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || PATH=$root/.venv/bin:$PATH
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
share=$(($(nproc) / $2))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 1 ? share : 1))}

if ((${NNODES:-1} > 1)); then
  meet=(--nnodes="$NNODES" --node_rank="${NODE_RANK:?}" --master_addr="${MASTER_ADDR:?}"
    --master_port="${PORT:-29500}")
elif [[ -n ${PORT:-} ]]; then
  meet=(--master_port="$PORT")
else
  meet=(--standalone)
fi
exec python -m torch.distributed.run "${meet[@]}" --nproc_per_node="$2" \
  "$root/tools/train.py" "$1" --launcher pytorch "${@:3}"

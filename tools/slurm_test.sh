#!/usr/bin/env bash
# Tests on a Slurm cluster.
#
#   bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]
#
# GPUS (8) processes, one per GPU, GPUS_PER_NODE (8) on a node, with CPUS_PER_TASK (5)
# cores each. SRUN_ARGS are more options of srun: --gres=none tests on CPUs.
set -euo pipefail
: "${4:?usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]}"
root=$(cd "$(dirname "$0")/.." && pwd -P)
[[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || PATH=$root/.venv/bin:$PATH
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 10000))} # jobs may share a node

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
((per_node <= gpus)) || per_node=$gpus
# shellcheck disable=SC2086  # SRUN_ARGS are several words
exec srun -p "$1" --job-name="$2" --gres=gpu:"$per_node" --ntasks="$gpus" \
  --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  python -u "$root/tools/test.py" "$3" "$4" --launcher slurm "${@:5}"

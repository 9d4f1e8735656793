#!/usr/bin/env bash
# Trains on a Slurm cluster.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
#
# By variables:
#   GPUS            number of processes, one a GPU (8)
#   GPUS_PER_NODE   how many of them on one node (8)
#   CPUS_PER_TASK   cores for each (5)
#   SRUN_ARGS       more options for srun; they win, so --gres=none trains on CPUs
set -euo pipefail
# shellcheck source=tools/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need_arguments 4 "$@"
run_srun "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"

#!/usr/bin/env bash
# Tests on a Slurm cluster.
#
#   bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]
#
# By variables:
#   GPUS            number of processes, one a GPU (8)
#   GPUS_PER_NODE   how many of them on one node (8)
#   CPUS_PER_TASK   cores for each (5)
#   SRUN_ARGS       more options for srun; they win, so --gres=none tests on CPUs
set -euo pipefail
# shellcheck source=tools/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need_arguments 4 "$@"
run_srun "$1" "$2" test.py "$3" "$4" "${@:5}"

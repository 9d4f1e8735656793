#!/usr/bin/env bash
# Trains on several processes, one a GPU, or on CPUs where there is no GPU.
#
#   bash tools/dist_train.sh CONFIG PROCESSES [options of train.py]
#
# On several machines, run it on each, with
#   NNODES        number of machines
#   NODE_RANK     which this is, from 0
#   MASTER_ADDR   address of machine 0
#   PORT          a free port of machine 0 (29500; on one machine any free one)
set -euo pipefail
# shellcheck source=tools/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need_arguments 2 "$@"
run_torchrun "$2" train.py "$1" "${@:3}"

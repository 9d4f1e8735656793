# shellcheck shell=bash
# What dist_*.sh and slurm_*.sh have in common. They source this file.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$tools")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# The comment at the head of the script that was called.
usage() {
  sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//p;}' "$0"
}

need_arguments() { # need_arguments <how many> <arguments>...
  local least=$1
  shift
  case ${1:-} in -h | --help) usage && exit ;; esac
  if (($# < least)); then
    usage >&2
    exit 2
  fi
}

need_count() { # need_count <name> <value>
  [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a whole number from 1, not '$2'"
}

# The first that has MMPose: the active environment's, the checkout's, the system's.
find_python() {
  local python
  for python in "${VIRTUAL_ENV:-${CONDA_PREFIX:-$root/.venv}}/bin/python" \
    "$root/.venv/bin/python" python python3; do
    if command -v "$python" >/dev/null && "$python" -c '
import importlib.util, sys
sys.exit(any(not importlib.util.find_spec(name) for name in ("torch", "mmpose")))
'; then
      echo "$python"
      return
    fi
  done
  fail "found no python with torch and mmpose; bash $tools/setup_env.sh installs them"
}

run_torchrun() { # run_torchrun <processes> <tool> <its arguments>...
  local python processes=$1 nodes=${NNODES:-1} rank=${NODE_RANK:-0} port=${PORT:-}
  local cores
  need_count 'the number of processes' "$processes"
  need_count NNODES "$nodes"
  python=$(find_python) || exit
  if ((nodes == 1)); then # a free port, so that several runs fit on one machine
    port=${port:-$("$python" -c '
import socket
with socket.create_server(("127.0.0.1", 0)) as free:
    print(free.getsockname()[1])
')}
  elif [[ -z ${MASTER_ADDR:-} || -z ${NODE_RANK:-} ]]; then
    fail "NNODES=$nodes: set NODE_RANK (0 to $((nodes - 1))) too, and MASTER_ADDR (and \
PORT, else 29500) to the same on all nodes"
  fi
  cores=$(nproc 2>/dev/null || echo 1)
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
  exec "$python" -m torch.distributed.run \
    --nnodes="$nodes" \
    --node_rank="$rank" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${port:-29500}" \
    --nproc_per_node="$processes" \
    "$tools/$2" "${@:3}" --launcher pytorch
}

run_srun() { # run_srun <partition> <job's name> <tool> <its arguments>...
  local python gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8} options=()
  need_count GPUS "$gpus"
  need_count GPUS_PER_NODE "$per_node"
  command -v srun >/dev/null || fail 'found no srun: this is for a Slurm cluster'
  python=$(find_python) || exit
  ((per_node <= gpus)) || per_node=$gpus
  # All tasks inherit the port; two jobs may share a node.
  export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 10000))}
  read -ra options <<<"${SRUN_ARGS:-}"
  exec srun --partition="$1" --job-name="$2" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 "${options[@]}" \
    "$python" -u "$tools/$3" "${@:4}" --launcher slurm
}

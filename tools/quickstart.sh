#!/usr/bin/env bash
# Shows all steps once, in minutes on two cores: finds the keypoints in a photograph
# with the weights of this package, then makes sample data, trains a small LDCRN on
# it, tests it, and writes a report.
#
#   bash tools/quickstart.sh [FOLDER]    results go to FOLDER (outputs/quickstart)
#
# Each command is printed and can be run by hand. A second call with the same folder
# continues where the first one stopped.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }
case ${1:-} in
  -h | --help) usage && exit ;;
  -*) usage >&2 && exit 2 ;;
esac
python=$(bash "$root/tools/setup_env.sh" --print-python)
out=${1:-$root/outputs/quickstart}
mkdir -p "$out" && cd "$out" # the config looks for data/sample here
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc 2>/dev/null || echo 2)}
export PYTHONWARNINGS=ignore
config=$root/configs/ldcrn/td-hm_ldcrn-tiny_sample-128x96.py

progress='wrote .*|Epoch.*(loss|coco/AP): [0-9.]+|.*visualizations.*'

# Prints a command, runs it, and shows the lines about its progress. All go to a log.
run() { # run TOOL ARGUMENTS...
  local log=$1.log
  printf '\n$ python %s/tools/%s\n' "$root" "$*"
  if ! "$python" "$root/tools/$1" "${@:2}" 2>&1 | tee "$log" |
    { grep --line-buffered -oE "$progress" || true; }; then
    printf '\nThis failed. The last lines of %s/%s:\n' "$PWD" "$log" >&2
    tail -n 20 "$log" >&2
    exit 1
  fi
}

photo=$("$python" -c '
from matplotlib import cbook
print(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))')
# A portrait fills the picture, so that no detector has to be downloaded.
run demo.py "$photo" --det none --out-dir photo
[[ -d data/sample/coco ]] || run make_sample_data.py data/sample \
  --format coco --num-train 500 --num-val 50
run train.py "$config" --channels-last --resume --work-dir run
run test.py "$config" run/best_coco_AP_epoch_*.pth --work-dir test \
  --out metrics.json
run report.py run
printf '\nDone in %d s. Open the report of the training in a browser:\n  %s\n' \
  "$SECONDS" "$PWD/run/report.html"

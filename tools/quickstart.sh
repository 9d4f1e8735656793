#!/usr/bin/env bash
# From a fresh clone to a trained, evaluated and drawn result, in minutes on two
# cores: sets up .venv where that is not done, draws a sample of people, trains a
# small LDCRN on it, tests it on pictures that it has not seen, and draws.
#
#   bash tools/quickstart.sh [FOLDER]    results go to FOLDER (outputs/quickstart)
#
# Each step is a tool of this project, printed before it runs, to be run by hand
# as well. A folder with the results of an earlier call is used again: what is
# done is not done twice, a training that was killed goes on.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
case ${1:-} in
  -h | --help | -*)
    sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//p;}' "$0"
    exit $(($# == 0))
    ;;
esac
out=${1:-$root/outputs/quickstart}
mkdir -p "$out"
out=$(cd "$out" && pwd -P)

python=$(bash "$root/tools/setup_env.sh" --print-python)
cd "$root"
cores=$(nproc 2>/dev/null || echo 2)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$cores}" PYTHONWARNINGS=ignore

config=configs/ldcrn/td-hm_ldcrn-tiny_synthetic-128x96.py
data=$out/data/coco
run=$out/run
SECONDS=0

step() { printf '\n[%3d s] %s\n' "$SECONDS" "$1"; }

# Runs a tool: the command and the lines that match, or all of its log if it fails.
tool() { # tool <log> <pattern of lines to show> <tool> <arguments>...
  local log=$out/$1 pattern=$2
  shift 2
  printf '  $ python %s\n' "$*"
  if ! "$python" "$@" 2>&1 | tee "$log" | grep --line-buffered -oE "$pattern"; then
    if ((PIPESTATUS[0])); then
      printf '\nThe step failed. Its last lines, of %s:\n' "$log" >&2
      tail -n 20 "$log" >&2
      exit 1
    fi
  fi
}

step '1/5 Drawing people to learn from (1000 pictures) and to be tested on (100)'
tool data.log '^wrote.*|.*already.*' \
  tools/make_sample_data.py "$out/data" --format coco --simple \
  --num-train 1000 --num-val 100

step '2/5 Training a small LDCRN on them'
options=(
  "train_dataloader.dataset.data_root=$data"
  "val_dataloader.dataset.data_root=$data"
  "test_dataloader.dataset.data_root=$data"
  "val_evaluator.ann_file=$data/annotations/person_keypoints_val2017.json"
  "test_evaluator.ann_file=$data/annotations/person_keypoints_val2017.json"
)
tool train.log 'Epoch\(train\).*eta: [0-9:]*|loss: [0-9.]*|coco/AP: [0-9.]*' \
  tools/train.py "$config" --channels-last --resume --work-dir "$run" \
  --cfg-options "${options[@]}"
checkpoint=$(ls -t "$run"/best_coco_AP_epoch_*.pth | head -n 1)

step '3/5 Testing it on the 100 pictures'
tool test.log 'coco/(AP|AP .5|AR): [0-9.]+' \
  tools/test.py "$config" "$checkpoint" --work-dir "$out/test" \
  --dump "$out/test/predictions.pkl" --out "$out/test/metrics.json" \
  --cfg-options "${options[@]}"

step '4/5 Drawing ground truth and predictions side by side, and the curves'
tool draw.log '.*(curves|overview).*' \
  tools/draw_results.py "$config" "$run" --dump "$out/test/predictions.pkl" \
  --out-dir "$out/pictures"

step '5/5 One real photograph, of a kind that the network has never seen'
photo=$("$python" -c '
from matplotlib import cbook
print(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))')
tool demo.log '.*\.jpg.*' \
  tools/demo.py "$photo" "$config" "$checkpoint" --out-dir "$out/pictures/photo"

ap=$("$python" -c '
import json, sys
print(format(json.load(open(sys.argv[1]))["coco/AP"], ".3f"))' "$out/test/metrics.json")
cat <<EOF

Done in $SECONDS s. A small LDCRN was trained on 1000 drawn pictures.
  AP on 100 pictures it had not seen, with given boxes: $ap
  ground truth (left) and prediction (right): $out/pictures/overview.jpg
  training curves:                            $out/pictures/curves.png
  a real photograph:                          $out/pictures/photo
EOF

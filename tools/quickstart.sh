#!/usr/bin/env bash
# From a fresh clone to results, in minutes on two cores. Sets up .venv where that is
# not done. First the network that comes with the package looks at a photograph; then
# a sample of people is drawn, a small LDCRN trained on it, tested on pictures that it
# has not seen, and its predictions drawn.
#
#   bash tools/quickstart.sh [FOLDER]    results go to FOLDER (outputs/quickstart)
#
# Each step is a tool of this project, printed before it runs, to be run by hand
# as well. A folder with the results of an earlier call is used again: what is
# done is not done twice, a training that was killed goes on.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//p;}' "$0"; }
case ${1:-} in
  -h | --help) usage && exit ;;
  -*) usage >&2 && exit 2 ;;
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

# Runs a tool: shows the command, what a sed script makes of its lines, and where it
# fails its last lines. All of them go to a log.
tool() { # tool <log> <sed script> <tool> <arguments>...
  local log=$out/$1 show=$2 results
  shift 2
  printf '  $ python %s\n' "$*"
  set +e
  "$python" "$@" 2>&1 | tee "$log" | sed -unE "$show"
  results=("${PIPESTATUS[@]}")
  set -e
  if ((results[0])); then
    printf '\nThis failed. The last lines of %s:\n' "$log" >&2
    tail -n 20 "$log" >&2
    exit 1
  fi
}

step '1/5 Finding the keypoints in a photograph, with the weights in the package'
photo=$("$python" -c '
from matplotlib import cbook
print(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))')
# It has seen whole people only, so the box of the portrait reaches down to the feet.
tool photo.log 's/.*(visualizations).*/  &/p' \
  tools/demo.py "$photo" --bboxes 0,0,512,1500 --out-dir "$out/pictures/photo"

step '2/5 Drawing people to learn from (1000 pictures) and to be tested on (100)'
tool data.log 's/^(wrote|.*already).*/  &/p' \
  tools/make_sample_data.py "$out/data" --format coco --simple \
  --num-train 1000 --num-val 100

step '3/5 Training a small LDCRN on them'
options=(
  "train_dataloader.dataset.data_root=$data"
  "val_dataloader.dataset.data_root=$data"
  "test_dataloader.dataset.data_root=$data"
  "val_evaluator.ann_file=$data/annotations/person_keypoints_val2017.json"
  "test_evaluator.ann_file=$data/annotations/person_keypoints_val2017.json"
)
tool train.log '
  s|.*Epoch\(train\) +\[ *([0-9]+)\].*eta: ([0-9:]+).* loss: ([0-9.]+).*|  epoch \1   loss \3   still \2|p
  s|.*Epoch\(val\).*coco/AP: ([0-9.]+).*|             AP \1|p' \
  tools/train.py "$config" --channels-last --resume --work-dir "$run" \
  --cfg-options "${options[@]}"
checkpoint=$(find "$run" -name "best_coco_AP_epoch_*.pth" | tail -n 1)

step '4/5 Testing it on the 100 pictures'
tool test.log 's|.*(coco/AP: [0-9.]+).*(coco/AR: [0-9.]+).*|  \1  \2|p' \
  tools/test.py "$config" "$checkpoint" --work-dir "$out/test" \
  --dump "$out/test/predictions.pkl" --out "$out/test/metrics.json" \
  --cfg-options "${options[@]}"

step '5/5 Drawing ground truth and predictions side by side, and the curves'
tool draw.log 's/.*(curves|overview).*/  &/p' \
  tools/draw_results.py "$config" "$run" --dump "$out/test/predictions.pkl" \
  --out-dir "$out/pictures"

ap=$("$python" -c '
import json, sys
print(format(json.load(open(sys.argv[1]))["coco/AP"], ".3f"))' "$out/test/metrics.json")
cat <<EOF

Done in $SECONDS s.
  a photograph, by the network that comes along: $out/pictures/photo/visualizations
A small LDCRN was trained on 1000 drawn pictures.
  AP on 100 pictures it had not seen, with given boxes: $ap
  ground truth (left) and prediction (right): $out/pictures/overview.jpg
  training curves:                            $out/pictures/curves.png
EOF

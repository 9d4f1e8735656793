#!/usr/bin/env bash
# Tests this package on a GPU and measures it, with the Python that is active:
#
#   bash tests/gpu.sh FOLDER
#
# FOLDER gets tests.txt, inference.json, latency.json, training.json, compiled.json and
# log.txt. What compiles comes last and may be interrupted. Training takes the pictures
# of LDCRN_SAMPLE_DATA if that is set, or else puppets, which load faster than COCO.
# LDCRN_TEST_DEVICE=cpu tries the script itself, with small sizes.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
mkdir -p "${1:?bash tests/gpu.sh FOLDER}" && out=$(cd "$1" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec > >(tee "$out/log.txt") 2>&1
export PYTHONPATH=$root:${PYTHONPATH:-} PYTHONWARNINGS=ignore LDCRN_TEST_DEVICE=${LDCRN_TEST_DEVICE:-cuda}
batches=1,32,128,256 people=(128 32) steps=50 small=() compile=compile=True
if [[ $LDCRN_TEST_DEVICE == cpu ]]; then
  batches=1,2 people=(2) steps=2 small=(--size 64x48 --rounds 1) compile=compile.backend=eager
fi
say() { printf '\n== %s s: %s\n' "$SECONDS" "$*"; }

say tests
(cd "$root" && python -m pytest -q -m gpu tests/test_tools/test_gpu.py) | tee "$out/tests.txt"
data=$(realpath "${LDCRN_SAMPLE_DATA:-$work/data}")
cd "$work" || exit
[[ -d $data ]] || python "$root/tools/make_sample_data.py" "$data" --format coco --num-train 99

benchmark() { # benchmark FILE ...
  say "$@"
  python "$root/tools/benchmark.py" hrnet-w32 ldcrn-coco --deploy --rounds 2 \
    --device "$LDCRN_TEST_DEVICE" "${small[@]}" --json "$out/$1" "${@:2}"
}
train() { # train NAME PEOPLE ...
  say "$@"
  python "$root/tools/train.py" speed.py --work-dir "$2-$1" --no-validate \
    --channels-last --cfg-options "train_dataloader.batch_size=$2" "${@:3}" |
    grep -E 'Iter\(train\)|Error'
  python - "$out/training.json" <<'END'
import json, sys
from pathlib import Path
rows = []
for file in Path().glob('*/*/vis_data/scalars.json'):
    last = json.loads(file.read_text().splitlines()[-1])
    rate = int(file.parts[0].split('-')[0]) / last['time']  # people a second
    hours = 400 * 149_813 / rate / 3600  # 400 epochs of COCO, if cards share the work
    row = dict(name=file.parts[0], rate=rate, hours={n: hours / n for n in (1, 4, 8)})
    rows.append(row | {k: last[k] for k in ('time', 'data_time', 'memory') if k in last})
    print(row)
Path(sys.argv[1]).write_text(json.dumps(rows, indent=1))
END
}
cat >speed.py <<END
_base_ = '$root/configs/ldcrn_coco.py'
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=$steps)
train_dataloader = dict(
    num_workers=$(nproc), sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root='$data/coco/'))
default_hooks = dict(logger=dict(interval=$((steps / 5 + 1))))
END
bf16=optim_wrapper.type=BFloat16OptimWrapper fp16=optim_wrapper.type=AmpOptimWrapper

benchmark latency.json --runtime eager,cudagraphs --precision fp32,fp16
benchmark inference.json --precision fp32,fp16,bf16 --channels-last --batch-sizes "$batches"
for n in "${people[@]}"; do
  train fp16 "$n" "$fp16"
  train bf16 "$n" "$bf16"
done
say 'what compiles'
if [[ ! ${small[*]} ]]; then benchmark compiled.json --runtime eager,compile --precision fp16; fi
for n in "${people[@]}"; do
  train fp16-compiled "$n" "$fp16" "$compile"
  train bf16-compiled "$n" "$bf16" "$compile"
done
say 'done'

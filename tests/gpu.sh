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
export PYTHONPATH=$root:$work:${PYTHONPATH:-} PYTHONWARNINGS=ignore LDCRN_TEST_DEVICE=${LDCRN_TEST_DEVICE:-cuda}
batches=1,32,128,256 people=(128 32) types=(fp16 bf16) steps=50 small=() status=0
backend=inductor runtimes=eager,cudagraphs
if [[ $LDCRN_TEST_DEVICE == cpu ]]; then
  batches=1,2 people=(2) types=(bf16) steps=2 small=(--size 64x64 --rounds 1)
  backend=eager runtimes=eager
fi
say() { printf '\n== %s s: %s\n' "$SECONDS" "$*"; }

tests() {
  say "tests: $1"
  (cd "$root" && python3 -m pytest -q -m gpu tests/test_tools/test_gpu.py -k "$1") |
    tee -a "$out/tests.txt" || status=1
}
data=$(realpath "${LDCRN_SAMPLE_DATA:-$work/data}")
cd "$work" || exit
[[ -d $data ]] || python3 "$root/tools/make_sample_data.py" "$data" --format coco --num-train 99

benchmark() { # benchmark FILE ...
  say "$@"
  python3 "$root/tools/benchmark.py" hrnet-w32 ldcrn-coco --deploy --rounds 2 \
    --device "$LDCRN_TEST_DEVICE" "${small[@]}" --json "$out/$1" "${@:2}" || status=1
}
train() { # train CONFIG PRECISION PEOPLE
  say "$@"
  python3 "$root/tools/train.py" "$1.py" --work-dir "$3-$2-$1" --no-validate \
    --channels-last --cfg-options "train_dataloader.batch_size=$3" \
    "optim_wrapper.type=${wrapper[$2]}" 2>&1 |
    grep -E 'Iter\(train\)|Error' || status=1
  python3 - "$out/training.json" <<'END'
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
cat >plain.py <<END
_base_ = '$root/configs/ldcrn_coco.py'
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=$steps)
train_dataloader = dict(
    num_workers=$(nproc), sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root='$data/coco/'))
default_hooks = dict(
    logger=dict(interval=$((steps / 5 + 1))), checkpoint=dict(by_epoch=False))
END
cat >compiled.py <<END
_base_ = 'plain.py'
custom_imports = dict(imports=['ldcrn_mm', 'compile_hook'])
custom_hooks = [dict(type='CompileHook')]
END
cat >compile_hook.py <<END
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
@HOOKS.register_module()
class CompileHook(Hook):  # MMEngine's own compile=True fails on MMPose's data samples
    def before_train(self, runner):
        for part in (runner.model.backbone, runner.model.neck):
            part.compile(backend='$backend')
END
declare -A wrapper=([fp16]=AmpOptimWrapper [bf16]=BFloat16OptimWrapper)

rm -f "$out/tests.txt"
tests 'not compiled'
benchmark latency.json --runtime "$runtimes" --precision fp32,fp16
benchmark inference.json --precision fp32,fp16,bf16 --channels-last --batch-sizes "$batches"
for n in "${people[@]}"; do
  for type in "${types[@]}"; do train plain "$type" "$n"; done
done
tests compiled
if [[ ! ${small[*]} ]]; then benchmark compiled.json --runtime eager,compile --precision fp16; fi
for n in "${people[@]}"; do
  for type in "${types[@]}"; do train compiled "$type" "$n"; done
done
exit "$status"

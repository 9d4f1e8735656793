"""Uses the installed package as its users do, in a folder of its own, in some minutes.

    python tests/smoke.py

Import, forward pass, prediction with published weights, two steps of training, a
validation, resuming. Not a test of pytest: it needs the package and its host alone,
and runs on every Python and torch that they support.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = 'td-hm_ldcrn-tiny_sample-128x96'
PREDICT = """
import numpy as np, torch, ldcrn_mm
from matplotlib import cbook
from mmpose.apis import init_model
from ldcrn_mm.checkpoint.zoo import find
from ldcrn_mm.inference import TopdownInferencer
photo = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
person = next(TopdownInferencer('ldcrn-narrow')(photo))['predictions'][0][0]
assert np.isfinite(person['keypoints']).all()
assert max(person['keypoint_scores']) > 0.3, person
model = init_model(find('ldcrn-narrow')[0], 'ldcrn_mm://ldcrn-narrow', 'cpu')
print('forward', *model(torch.zeros(1, 3, 128, 96), None).shape)
print(ldcrn_mm.__file__, 'torch', torch.__version__, 'numpy', np.__version__)
"""
TRAIN = """train theirs.py --work-dir run --cfg-options train_cfg.max_epochs=2
train_dataloader.batch_size=2 param_scheduler.1.end=2 model.test_cfg.flip_test=False"""


def python(*arguments: str) -> str:
    """Runs Python, which must succeed, and shows what it prints."""
    print('$ python', *arguments, flush=True)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout, flush=True)
    assert done.returncode == 0, f'exit status {done.returncode}'
    return done.stdout


def tool(command: str) -> str:
    return python('-m', 'ldcrn_mm', *command.split())


def main() -> None:
    python('-c', PREDICT)
    tool('make_sample_data data/sample --format coco --num-train 2 --num-val 2')
    Path('theirs.py').write_text(f"_base_ = 'ldcrn_mm::ldcrn/{CONFIG}.py'\n")
    assert 'coco/AP' in tool(f'{TRAIN} train_cfg.max_epochs=1')
    assert 'Epoch(train) [2]' in tool(f'{TRAIN} --resume')
    assert 'coco/AP' in tool('test theirs.py run/epoch_2.pth --work-dir tested')
    print('All works.')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()

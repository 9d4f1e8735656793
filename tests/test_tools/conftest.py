"""A tiny model and a tiny data set, to drive the tools with as users do."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmpose.visualization import PoseLocalVisualizer
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES, SIZE = 4, 64
TINY_CONFIG = """
_base_ = ['{root}/configs/ldcrn_coco.py']
files = dict(
    data_root='{data}', ann_file='annotations.json', data_prefix=dict(img='images/'))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=files)
train_dataloader = dict(**loader)
val_dataloader = dict(**loader)
test_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(bbox_file='{data}/boxes.json', **files))
val_evaluator = dict(ann_file='{data}/annotations.json')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=3, milestones=[2], gamma=0.5)]
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(logger=dict(interval=1))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True)]
randomness = dict(seed=1)
"""
# The steps of the training pipeline that draw at random, and how they do not.
NOT_RANDOM = [
    'train_dataloader.dataset.pipeline.2.prob=0.0',
    'train_dataloader.dataset.pipeline.3.prob=0.0',
    'train_dataloader.dataset.pipeline.4.scale_sigma=0',
    'train_dataloader.dataset.pipeline.4.rotation_sigma=0',
]


@pytest.fixture(scope='session')
def not_random() -> list[str]:
    """For ``--cfg-options``: training pictures as they are."""
    return NOT_RANDOM


@pytest.fixture(scope='session')
def mini_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of noise with a person each, and detections on them."""
    folder = tmp_path_factory.mktemp('mini_coco')
    (folder / 'images').mkdir()
    random = np.random.default_rng(0)
    images, people, boxes = [], [], []
    for i in range(1, NUM_IMAGES + 1):
        pixels = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', height=SIZE, width=SIZE))
        joints = np.full((17, 3), 2)
        joints[:, :2] = random.integers(10, 54, (17, 2))
        person = dict(id=i, image_id=i, category_id=1, bbox=[6, 4, 48, 56], area=2000)
        person |= dict(iscrowd=0, num_keypoints=17, keypoints=joints.flatten().tolist())
        people.append(person)
        boxes.append(dict(image_id=i, category_id=1, score=0.9, bbox=[5, 5, 50, 54]))
    category = dict(id=1, name='person', keypoints=[f'joint{i}' for i in range(17)])
    category['skeleton'] = []
    annotations = dict(images=images, annotations=people, categories=[category])
    (folder / 'annotations.json').write_text(json.dumps(annotations))
    (folder / 'boxes.json').write_text(json.dumps(boxes))
    return folder


@pytest.fixture(scope='session')
def tiny_config(
    root: Path,
    mini_coco: Path,
    tiny_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The COCO recipe with a network of a few thousand weights."""
    config = tmp_path_factory.mktemp('configs') / 'tiny.py'
    config.write_text(TINY_CONFIG.format(root=root, data=mini_coco) + tiny_model)
    return config


@pytest.fixture(scope='session')
def environment(root: Path) -> dict[str, str]:
    """For processes: this checkout, this Python, one thread."""
    return os.environ | {
        'PYTHONPATH': f'{root}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'OMP_NUM_THREADS': '1',
    }


@pytest.fixture(scope='session')
def run_tool(
    root: Path, environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a file of ``tools/`` in a process of its own, as a user does.

    The exit status has to be 0, unless another is given.
    """

    def run(
        name: str,
        *arguments: object,
        status: int = 0,
        cwd: Path | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess:
        interpreter = 'bash' if name.endswith('.sh') else sys.executable
        command = [interpreter, root / 'tools' / name, *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


def load_tool(
    patch: pytest.MonkeyPatch, name: str, *arguments: object, cwd: Path | None = None
) -> ModuleType:
    """A file of ``tools/`` as a module, and the command line it will see."""
    path = ROOT / 'tools' / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    patch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
    patch.setenv('LOCAL_RANK', '0')
    # MMEngine would log to the folder of an earlier run in this process.
    patch.setattr(PoseLocalVisualizer, '_instance_dict', {})
    if cwd:
        patch.chdir(cwd)
    return module


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Loads a tool for one test."""
    return functools.partial(load_tool, monkeypatch)


@pytest.fixture(scope='session')
def call_tool() -> Callable[..., None]:
    """Calls a tool's main in this process, for what many tests look at."""

    def call(*arguments: object, cwd: Path | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            load_tool(patch, *arguments, cwd=cwd).main()

    return call


@pytest.fixture(scope='session')
def trained(
    run_tool: Callable, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The work dir of a training by ``train.py``."""
    work_dir = tmp_path_factory.mktemp('trained')
    options = ['--work-dir', work_dir, '--show-dir', 'pictures']
    run_tool('train.py', tiny_config, *options, '--cfg-options', *NOT_RANDOM)
    return work_dir


@pytest.fixture(scope='session')
def tested(call_tool: Callable, tiny_config: Path, trained: Path) -> Path:
    """The work dir of a test by ``test.py`` with detected boxes."""
    work_dir = trained / 'tested'
    call_tool(
        'test.py',
        *[tiny_config, trained / 'epoch_3.pth', '--work-dir', work_dir],
        *['--out', work_dir / 'metrics.json', '--dump', work_dir / 'people.pkl'],
        *['--badcase', '--show-dir', 'pictures'],
    )
    return work_dir

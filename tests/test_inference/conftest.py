"""A network of a few thousand random weights, and pictures of noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from torch import nn

from ldcrn_mm.inference import TopdownInferencer

CONFIG = """
_base_ = ['{root}/configs/ldcrn_{name}.py']
model = dict(
    backbone=dict(
        stem_channels=8, channels=(8, 16), num_modules=(1, ), num_blocks=1,
        num_layers=1, growth_rate=4),
    neck=dict(in_channels=(8, 16), skip_channels=(8, ), out_channels=8),
    head=dict(in_channels=8))
"""


@pytest.fixture(scope='session')
def config(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    file.write_text(CONFIG.format(root=root, name='coco'))
    return str(file)


@pytest.fixture(scope='session')
def mpii_config(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp('config') / 'tiny_mpii.py'
    file.write_text(CONFIG.format(root=root, name='mpii'))
    return str(file)


@pytest.fixture(scope='session')
def network(config: str) -> nn.Module:
    """As MMPose's own API builds it, so that it can be the oracle."""
    torch.manual_seed(0)
    return init_model(Config.fromfile(config), device='cpu')


@pytest.fixture(scope='session')
def checkpoint(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    """With numpy arrays in its meta information, like those MMEngine saves."""
    file = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    meta = dict(dataset_meta=network.dataset_meta)
    torch.save(dict(state_dict=network.state_dict(), meta=meta), file)
    return str(file)


@pytest.fixture(scope='session')
def inferencer(config: str, checkpoint: str) -> TopdownInferencer:
    return TopdownInferencer(config, checkpoint, device='cpu')


@pytest.fixture
def picture() -> np.ndarray:
    """(120, 160, 3): a mosaic of noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)

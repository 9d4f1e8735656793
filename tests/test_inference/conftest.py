"""A network of a few thousand random weights, and pictures of noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from torch import nn

from ldcrn_mm.inference import TopdownInferencer


@pytest.fixture(scope='session')
def config(
    root: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    file.write_text(f"_base_ = '{root}/configs/ldcrn_coco.py'\n{tiny_model}")
    return str(file)


@pytest.fixture(scope='session')
def mpii_config(
    root: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    file = tmp_path_factory.mktemp('config') / 'tiny_mpii.py'
    file.write_text(f"_base_ = '{root}/configs/ldcrn_mpii.py'\n{tiny_model}")
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

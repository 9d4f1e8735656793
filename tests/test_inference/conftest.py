"""A network of a few thousand random weights, pictures of noise, and a video."""

from pathlib import Path

import cv2
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
    return TopdownInferencer(config, checkpoint, device='cpu', det_model='none')


@pytest.fixture
def picture() -> np.ndarray:
    """(120, 160, 3): a mosaic of noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


@pytest.fixture
def folder(picture: np.ndarray, tmp_path: Path) -> Path:
    """b.png, a.jpg and a note."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    cv2.imwrite(str(folder / 'b.png'), picture)
    cv2.imwrite(str(folder / 'a.jpg'), picture[::-1])
    (folder / 'notes.txt').write_text('not a picture')
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Three frames of growing brightness, at ten a second."""
    file = tmp_path / 'walk.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for brightness in (0, 100, 200):
        writer.write(np.full((120, 160, 3), brightness, np.uint8))
    writer.release()
    return file

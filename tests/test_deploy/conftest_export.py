"""An estimator of a few thousand random weights for images of 48x64, traced once."""

import copy
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

from ldcrn_mm.deploy.export_onnx import OPSET, export_onnx, to_onnx
from ldcrn_mm.deploy.export_openvino import export_openvino

SIZE = (48, 64)
VALIDATION = """
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
"""


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def give_weights(model: nn.Module) -> nn.Module:
    """Weights and statistics under which every normalisation shows."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.dim() == 4:
            std = (2 / tensor[0].numel()) ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
        elif tensor.dim() == 1:
            random = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(random + 0.5 * name.endswith(('weight', 'running_var')))
    return model


@pytest.fixture(scope='session')
def config(
    root: Path,
    tiny_model: str,
    small_images: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    base = f"_base_ = '{root}/configs/ldcrn_coco.py'\n"
    file.write_text(base + tiny_model + small_images + VALIDATION)
    return Config.fromfile(file)


@pytest.fixture(scope='session')
def estimator(config: Config) -> nn.Module:
    init_default_scope('mmpose')
    return give_weights(MODELS.build(config.model)).eval()


@pytest.fixture(scope='session')
def expected(estimator: nn.Module) -> np.ndarray:
    """Heatmaps of three images of noise."""
    with torch.no_grad():
        return estimator(noise(3, 3, 64, 48), None, mode='tensor').numpy()


@pytest.fixture(scope='session')
def graph(estimator: nn.Module) -> onnx.ModelProto:
    """The graph of the estimator, as files of all kinds are made of it."""
    return to_onnx(estimator)


@pytest.fixture(scope='session')
def decoding_graph(estimator: nn.Module) -> onnx.ModelProto:
    return to_onnx(estimator, decode=True)


@pytest.fixture
def traced(
    graph: onnx.ModelProto,
    decoding_graph: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spares the tests of writing files the seconds of every tracing."""

    def to_onnx(model, size=None, decode=False, opset=OPSET):
        return copy.deepcopy(decoding_graph if decode else graph)

    monkeypatch.setattr('ldcrn_mm.deploy.export_onnx.to_onnx', to_onnx)
    monkeypatch.setattr('ldcrn_mm.deploy.export_openvino.to_onnx', to_onnx)


@pytest.fixture
def onnx_file(estimator: nn.Module, traced: None, tmp_path: Path) -> Path:
    return export_onnx(estimator, tmp_path / 'tiny.onnx')


@pytest.fixture
def xml_file(estimator: nn.Module, traced: None, tmp_path: Path) -> Path:
    return export_openvino(estimator, tmp_path / 'tiny.xml')


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file stops in the middle, before it is flushed to the disk."""

    def fail(descriptor: int) -> None:
        os.truncate(descriptor, 1)
        raise OSError('no space left on device')

    monkeypatch.setattr('os.fsync', fail)

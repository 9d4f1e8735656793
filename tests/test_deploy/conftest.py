"""A tiny estimator, traced once per session, and a network of one convolution."""

import copy
import os
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from onnx import TensorProto, helper, numpy_helper
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


WEIGHT = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)


def reference(images):
    """What the network computes, by PyTorch: 5 heatmaps at a quarter of the size."""
    return torch.conv2d(torch.from_numpy(images), torch.from_numpy(WEIGHT), stride=4)


def array(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def one_convolution(outputs=('heatmaps',), size=(12, 16)):
    """Of an input ``images``; every output is the same heatmaps."""
    shape = ['n', 5, size[1] // 4, size[0] // 4]
    return helper.make_graph(
        [
            helper.make_node('Conv', ['images', 'weight'], [name], strides=[4, 4])
            for name in outputs
        ],
        'network',
        [helper.make_tensor_value_info('images', 1, ['n', 3, size[1], size[0]])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in outputs
        ],
        [numpy_helper.from_array(WEIGHT, 'weight')],
    )


def save(network, path, **notes):
    """Writes an ONNX graph, with notes about it, in the format of the path."""
    opsets = [helper.make_opsetid('', 20)]
    model = helper.make_model(network, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, notes)
    file = path.with_suffix('.onnx')
    onnx.save(model, file)
    if path.suffix == '.xml':
        converted = openvino.convert_model(file)
        for key, value in notes.items():
            converted.set_rt_info(value, key)
        openvino.save_model(converted, path, compress_to_fp16=False)
        file.unlink()
    return path


@pytest.fixture(params=['.onnx', '.xml'])
def file(request, tmp_path):
    """The network in each format."""
    return save(one_convolution(), tmp_path / f'network{request.param}')

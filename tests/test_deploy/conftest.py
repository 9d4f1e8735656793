"""A tiny estimator, traced once per session, and a network of one convolution."""

import copy
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

from ldcrn_mm.deploy import Runtime, deploy_form, export, open_runtime

from ..test_models.networks import noise, randomise

VALIDATION = """
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
"""
IMAGES = noise(3, 3, 64, 48)
WEIGHT = noise(5, 3, 4, 4).numpy()


@pytest.fixture(scope='session')
def config(root, tiny_model, small_images, tmp_path_factory) -> Config:
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    base = f"_base_ = '{root}/configs/ldcrn_coco.py'\n"
    file.write_text(base + tiny_model + small_images + VALIDATION)
    return Config.fromfile(file)


@pytest.fixture(scope='session')
def estimator(config) -> nn.Module:
    """For images of 48x64."""
    init_default_scope('mmpose')
    return randomise(MODELS.build(config.model)).eval()


@pytest.fixture(scope='session')
def heatmaps(estimator) -> np.ndarray:
    """Of ``IMAGES``, by PyTorch."""
    with torch.no_grad():
        return estimator(IMAGES, None, mode='tensor').numpy()


@pytest.fixture(scope='session')
def graphs(estimator) -> dict[bool, onnx.ModelProto]:
    """The traced estimator, and by ``True`` its deploy form with decoding."""
    form = deploy_form(estimator)
    return {False: export.to_onnx(estimator), True: export.to_onnx(form, decode=True)}


@pytest.fixture
def traced(graphs, monkeypatch) -> None:
    """Spares the tests of writing files the seconds of tracing."""

    def to_onnx(model, size, decode, opset):
        return copy.deepcopy(graphs[decode])

    monkeypatch.setattr(export, 'to_onnx', to_onnx)


def write(model, path: Path, **options) -> Path:
    """Exports in the format of the path."""
    kind = {'.onnx': export.export_onnx, '.xml': export.export_openvino}[path.suffix]
    return kind(model, path, **options)


@pytest.fixture(scope='session')
def files(estimator, graphs, tmp_path_factory) -> dict[tuple[str, bool], Path]:
    """The estimator, exported by suffix and with or without decoding."""
    folder = tmp_path_factory.mktemp('files')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, 'to_onnx', lambda *args: copy.deepcopy(graphs[args[2]]))
        return {
            (suffix, decode): write(
                estimator, folder / f'decode_{decode}{suffix}', decode=decode
            )
            for suffix in ('.onnx', '.xml')
            for decode in (False, True)
        }


@pytest.fixture(scope='session')
def runtimes(files) -> dict[tuple[str, bool], Runtime]:
    return {key: open_runtime(file, num_threads=1) for key, file in files.items()}


def one_convolution(images) -> np.ndarray:
    """What the network of ``save`` computes, by PyTorch: 5 heatmaps of H/4 x W/4."""
    images, weight = torch.from_numpy(images), torch.from_numpy(WEIGHT)
    return torch.conv2d(images, weight, stride=4).numpy()


def array(*shape, seed=1) -> np.ndarray:
    return noise(*shape, seed=seed).numpy()


def save(path, size=(12, 16), outputs=('heatmaps',), inputs=1, weight=WEIGHT, **notes):
    """Writes a network of one convolution, the same for all outputs, for a runtime.

    ``size`` is (width, height), ``None`` for any.
    """
    sides = [None if side is None else side // 4 for side in size[::-1]]
    network = helper.make_graph(
        [
            helper.make_node('Conv', ['images0', 'weight'], [name], strides=[4, 4])
            for name in outputs
        ],
        'network',
        [
            helper.make_tensor_value_info(f'images{i}', 1, ['n', 3, *size[::-1]])
            for i in range(inputs)
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', 5, *sides])
            for name in outputs
        ],
        [numpy_helper.from_array(weight, 'weight')],
    )
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


@pytest.fixture(scope='session', params=['.onnx', '.xml'])
def file(request, tmp_path_factory) -> Path:
    """The network of one convolution, for each runtime."""
    return save(tmp_path_factory.mktemp('network') / f'network{request.param}')

"""A network of one convolution, made by hand, in the runtimes' formats."""

import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)


def reference(images):
    """What the network computes, by PyTorch: 5 heatmaps at a quarter of the size."""
    return torch.conv2d(torch.from_numpy(images), torch.from_numpy(WEIGHT), stride=4)


def noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def graph(outputs=('heatmaps',), size=(12, 16)):
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
    return save(graph(), tmp_path / f'network{request.param}')

"""A tiny estimator for images of 48x64, traced and exported once per session."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

from ldcrn_mm.deploy import Runtime, deploy_form, export, open_runtime

from ..test_models.networks import noise, randomise

IMAGES = noise(3, 3, 64, 48)
SUFFIXES = ('.onnx', '.xml')


def write_graph(graph, path: Path, **options) -> Path:
    """Exports what has been traced, which spares the seconds of tracing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, 'to_onnx', lambda *arguments: copy.deepcopy(graph))
        return export.export_network(None, path, **options)


@pytest.fixture(scope='session')
def config(small_config) -> Config:
    return small_config


@pytest.fixture(scope='session')
def estimator(config) -> nn.Module:
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


@pytest.fixture(scope='session')
def files(graphs, tmp_path_factory) -> dict[tuple[str, bool], Path]:
    """Both graphs in both formats."""
    folder = tmp_path_factory.mktemp('files')
    return {
        (suffix, decode): write_graph(graph, folder / f'decode_{decode}{suffix}')
        for suffix in SUFFIXES
        for decode, graph in graphs.items()
    }


@pytest.fixture(scope='session')
def stored(graphs, tmp_path_factory) -> Callable[[str, str], Path]:
    """The estimator in a format and a precision, written once."""

    @functools.cache
    def write(suffix: str, precision: str) -> Path:
        file = tmp_path_factory.mktemp(precision) / f'x{suffix}'
        return write_graph(graphs[False], file, precision=precision)

    return write


@pytest.fixture(scope='session')
def runtimes(files) -> dict[tuple[str, bool], Runtime]:
    return {key: open_runtime(file, num_threads=1) for key, file in files.items()}


@pytest.fixture(params=SUFFIXES)
def runtime(request, runtimes) -> Runtime:
    """Each runtime with the heatmaps of the estimator."""
    return runtimes[request.param, False]

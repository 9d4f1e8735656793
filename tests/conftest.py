"""Fixtures that several tests share."""

import functools
import http.server
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config

import ldcrn_mm  # noqa: F401  (registers the modules, provides mmcv._ext)

ROOT = Path(__file__).resolve().parent.parent
TINY_MODEL = """
model = dict(
    backbone=dict(
        stem_channels=8, channels=(8, 16), num_modules=(1, ), num_blocks=1,
        num_layers=1, growth_rate=4),
    neck=dict(in_channels=(8, 16), skip_channels=(8, ), out_channels=8),
    head=dict(in_channels=8))
"""
SMALL_IMAGES = """
codec = dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2)
model['head']['decoder'] = codec
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=(48, 64)),
    dict(type='PackPoseInputs'),
]
"""


@pytest.fixture(autouse=True)
def _no_handler_of_sigchld() -> Iterator[None]:
    """Takes away what a data loader with workers leaves: PyTorch's, for good.

    Later the kernel ended the whole run where a process of another test ended.
    """
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session')
def tiny_model() -> str:
    """For a config on top of a recipe: a network of a few thousand weights."""
    return TINY_MODEL


@pytest.fixture(scope='session')
def small_images() -> str:
    """For a config: images of 48x64 in its codec, its decoder and ``val_pipeline``."""
    return SMALL_IMAGES


@pytest.fixture(scope='session')
def small_config(
    tiny_model: str, small_images: str, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """The COCO recipe with the tiny network and images of 48x64."""
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    test = 'test_dataloader = dict(dataset=dict(pipeline=val_pipeline))'
    base = f"_base_ = '{ROOT}/configs/ldcrn_coco.py'"
    file.write_text('\n'.join([base, tiny_model, small_images, test]))
    return Config.fromfile(file)


@pytest.fixture(scope='session')
def sample_data() -> Path:
    """Real photographs: ``coco/`` and ``mpii/`` in MMPose's layout."""
    folder = os.environ.get('LDCRN_SAMPLE_DATA')
    if not folder:
        pytest.skip('LDCRN_SAMPLE_DATA does not name a folder of photographs')
    path = Path(folder).resolve()
    if not (path / 'coco' / 'annotations').is_dir():
        pytest.fail(f'LDCRN_SAMPLE_DATA={folder} has no coco/annotations in it')
    return path


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server of ``tmp_path``, with an empty cache of downloads."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

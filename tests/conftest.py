"""Fixtures that several tests share."""

import os
from pathlib import Path

import pytest

import ldcrn_mm  # noqa: F401  (registers the modules, provides mmcv._ext)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


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

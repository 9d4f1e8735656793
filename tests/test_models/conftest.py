"""MMEngine's scope and logger, as the models' tests want them."""

from collections.abc import Iterator

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _mmpose_scope() -> Iterator[None]:
    """Configs are built where MMPose's runner would build them."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture
def _quiet() -> Iterator[None]:
    """The logger would tell of every tensor that is initialised."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    yield
    logger.setLevel(level)

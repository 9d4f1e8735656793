"""LDCRN, the lightweight densely connected residual network, for MMPose 1.x.

Importing the package registers its modules in MMPose's registries, so a config
needs one line: ``custom_imports = dict(imports=['ldcrn_mm'])``.

References:
    Yang, Qin, Zhang: "Lightweight densely connected residual network for
    human pose estimation", J. Real-Time Image Processing, 2020.
"""

from typing import TYPE_CHECKING, Any

from .host import check_host

if TYPE_CHECKING:
    from .inference import predict as predict

__version__ = '0.1.0'

check_host()

from . import compat  # noqa: E402

compat.apply()  # before anything of mmpose is imported

from . import metrics, models, paper_data, registry, training, transforms  # noqa: E402
from .registry import make_resolvable  # noqa: E402

make_resolvable()

__all__ = [
    '__version__',
    'metrics',
    'models',
    'paper_data',
    'registry',
    'training',
    'transforms',
]


def __getattr__(name: str) -> Any:
    """Imports :func:`predict` when it is used: it needs MMPose's inference API."""
    if name != 'predict':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .inference import predict

    return predict

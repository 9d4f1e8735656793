"""What the released OpenMMLab wheels need on today's PyTorch.

Each piece acts only where something is missing and says so in its docstring,
with the upstream issue where one is known. Nothing here switches a protection
off: checkpoints stay loaded with ``weights_only=True``.
"""

import functools
import importlib.util
import pkgutil
import sys
from importlib.machinery import ModuleSpec
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

COMPILE_OPS = 'bash tools/build_mmcv_ops.sh'


@functools.cache
def apply() -> None:
    """Applies every piece, once, before anything of mmpose is imported."""
    provide_find_loader()
    provide_mmcv_ext()
    provide_xtcocotools()
    allow_mmengine_checkpoints()
    mend_drawing()


def provide_find_loader() -> None:
    """Brings back ``pkgutil.find_loader``, which Python 3.14 removed.

    mmengine 0.10 and mmcv 2.1 ask it for ``mmcv._ext``.
    """
    if hasattr(pkgutil, 'find_loader'):
        return

    def find_loader(name: str) -> Any:
        spec = importlib.util.find_spec(name)
        return spec and spec.loader

    pkgutil.find_loader = find_loader


class UncompiledOps(ModuleType):
    """Stands in for ``mmcv._ext`` where mmcv's ops were not compiled.

    ``mmpose.models`` imports every op of mmcv, though LDCRN uses none. With
    this module the imports work; the one op that detectors such as RTMDet
    need, ``nms``, is torchvision's, and any other raises when it is called.
    Its spec has no loader, which is how ``mmcv_full_available()`` goes on to
    tell the truth.
    """

    def __init__(self) -> None:
        super().__init__('mmcv._ext', self.__doc__)
        self.__spec__ = ModuleSpec('mmcv._ext', loader=None)
        self.nms = nms

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return functools.partial(_raise_uncompiled, name)


def _raise_uncompiled(op: str, *args: Any, **kwargs: Any) -> NoReturn:
    raise NotImplementedError(
        f'This needs the compiled op `{op}` of mmcv, and mmcv-lite has none. '
        f'Compile them with `{COMPILE_OPS}` (about a quarter of an hour) or '
        'install an mmcv 2.1.0 with ops.'
    )


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Non-maximum suppression with the signature of mmcv's compiled op.

    Args:
        boxes: (N, 4), corners x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more are dropped.
        offset: 1 where x2 and y2 are the last pixel inside, 0 where they are
            the edge.

    Returns:
        Indices of the boxes kept, best score first.
    """
    from torchvision.ops import nms as torchvision_nms

    edges = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision_nms(edges, scores, iou_threshold)


def provide_mmcv_ext() -> None:
    """Registers :class:`UncompiledOps`, unless the compiled ops are there."""
    if 'mmcv._ext' in sys.modules or importlib.util.find_spec('mmcv._ext'):
        return
    import mmcv

    mmcv._ext = sys.modules['mmcv._ext'] = UncompiledOps()


def provide_xtcocotools() -> None:
    """Registers :mod:`ldcrn_mm.xtcoco` where xtcocotools does not import.

    Where only its ``mask`` fails, as with numpy 2.3, that is replaced by pycocotools'.
    """
    try:
        from xtcocotools import coco, cocoeval, mask
    except (ImportError, ValueError):  # ValueError: built for another numpy
        _register_xtcoco()
        return
    try:
        mask.decode(mask.encode(np.zeros((1, 1), np.uint8, order='F')))
    except AttributeError:
        from pycocotools import mask

        sys.modules['xtcocotools.mask'] = sys.modules['xtcocotools'].mask = mask
        coco.maskUtils = cocoeval.maskUtils = mask


def _register_xtcoco() -> None:
    from . import xtcoco

    package = ModuleType('xtcocotools', xtcoco.__doc__)
    package.__spec__ = ModuleSpec('xtcocotools', loader=None)
    modules = dict(coco=xtcoco, cocoeval=xtcoco, mask=xtcoco.mask)
    sys.modules['xtcocotools'] = package
    for name, module in modules.items():
        setattr(package, name, module)
        sys.modules[f'xtcocotools.{name}'] = module


def allow_mmengine_checkpoints() -> None:
    """Lets ``torch.load(weights_only=True)`` read what mmengine saves.

    Since torch 2.6 that is the default, and mmengine's checkpoints hold numpy
    arrays (``meta.dataset_meta``) and ``HistoryBuffer`` objects
    (``message_hub``), which torch refuses (open-mmlab/mmengine#1655). Only
    these types are allowed. ``getattr``, by which a history buffer's methods
    are pickled, is allowed for the public methods of that class alone. Older
    versions of torch cannot be taught the names that this needs.
    """
    if torch.__version__ < (2, 6):
        return
    from mmengine.logging.history_buffer import HistoryBuffer

    try:
        from numpy._core import multiarray
    except ImportError:  # numpy 1
        from numpy.core import multiarray

    numpy_dtypes = {type(np.dtype(code)) for code in '?bhilqBHILQefdUS'}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            bytes,  # how the data of an empty array is pickled
            np.ndarray,
            np.dtype,
            *numpy_dtypes,
            (multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
            (multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
            (multiarray.scalar, 'numpy._core.multiarray.scalar'),
            (multiarray.scalar, 'numpy.core.multiarray.scalar'),
            (_method_of_history_buffer, 'builtins.getattr'),
        ]
    )


def _method_of_history_buffer(owner: Any, name: str) -> Any:
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(f'a checkpoint may not read {name!r} of {owner!r}')
    return getattr(owner, name)


def mend_drawing() -> None:
    """Lets MMPose's OpenCV backend draw keypoints under numpy 2.4 and newer.

    There ``int(radius)`` fails on the array of one element that MMPose passes.
    """
    if np.lib.NumpyVersion(np.__version__) < '2.4.0':
        return
    from mmpose.visualization.opencv_backend_visualizer import OpencvBackendVisualizer

    draw_circles = OpencvBackendVisualizer.draw_circles

    @functools.wraps(draw_circles)
    def draw_scalar(
        self: Any, center: Any, radius: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if self.backend == 'opencv':
            radius = np.squeeze(radius)
        return draw_circles(self, center, radius, *args, **kwargs)

    OpencvBackendVisualizer.draw_circles = draw_scalar

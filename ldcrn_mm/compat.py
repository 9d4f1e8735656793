"""What the released OpenMMLab wheels need on today's PyTorch.

Each piece acts only where something is missing and says so in its docstring,
with the upstream issue where one is known. Nothing here switches a protection
off: checkpoints stay loaded with ``weights_only=True``.
"""

import functools
import importlib.util
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
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
    silence_warnings()
    provide_find_loader()
    provide_mmcv_ext()
    provide_xtcocotools()
    allow_mmengine_checkpoints()
    mend_drawing()
    mend_inference_topdown()


def silence_warnings() -> None:
    """Hides what every tool printed and no user can mend.

    mmengine 0.10 imports ``pkg_resources``. MMPose's data sets look for their keypoints
    in the current folder before they take MMPose's.
    """
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    own = 'The metainfo config file "configs/_base_/datasets/'
    warnings.filterwarnings('ignore', own)


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

    ``mmpose.models`` imports every op of mmcv, though LDCRN uses none. With this module
    the imports work. The one op that detectors such as RTMDet need, ``nms``, is
    torchvision's. Any other raises an error when it is called. The spec has no loader,
    so ``mmcv_full_available()`` stays false.
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
        offset: 1 if x2 and y2 are the last pixel inside, 0 if they are the edge.

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


class _Dtype:
    """Stands in for ``numpy.dtype`` in a checkpoint: numbers and text only."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r'[biufc][0-9]{1,2}|[SU][0-9]{1,8}', code):
            raise UnpicklingError(f'a checkpoint may not hold arrays of {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *fields = state
        if any(fields[:3]):
            raise UnpicklingError('a checkpoint may not hold structured arrays')
        self.dtype = self.dtype.newbyteorder(order)

    def array(self, shape: tuple, data: bytes, order: Any = 'C') -> np.ndarray:
        array = np.ndarray(shape, self.dtype, data, order=order)
        if array.shape != shape or array.nbytes != len(data):  # numpy takes -1
            raise UnpicklingError(f'{len(data)} bytes of data for a shape of {shape}')
        return array


class _Array(np.ndarray):
    """Stands in for ``numpy.ndarray``: numpy gets only what :class:`_Dtype` checked.

    A file could otherwise make it read and write out of bounds.
    """

    def __new__(cls, *_: Any) -> '_Array':
        return super().__new__(cls, 0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        array = dtype.array(shape, data, 'F' if is_fortran else 'C')
        super().__setstate__(array.__reduce__()[2])

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Is saved as any array."""
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return dtype.array((), data)[()]


class _Buffer:
    """Becomes a ``HistoryBuffer``, without the statistics methods in the file.

    mmengine's would be set for the whole process.
    """

    def __setstate__(self, state: dict) -> None:
        from mmengine.logging.history_buffer import HistoryBuffer

        log, count = (np.array(state[f'_{name}_history']) for name in ('log', 'count'))
        if {log.dtype.kind, count.dtype.kind} - {*'biuf'} or log.ndim != 1:
            raise UnpicklingError('a history buffer must hold numbers')
        vars(self).update(vars(HistoryBuffer(log, count, int(state['max_length']))))
        self.__class__ = HistoryBuffer


def _no_method(owner: Any, name: str) -> None:
    """Stands in for ``getattr``, by which a history buffer's methods are pickled."""
    if owner is not _Buffer or name.startswith('_'):
        raise UnpicklingError(f'a checkpoint may not read {name!r} of {owner!r}')


def _empty_bytes() -> bytes:
    """The data of an empty array."""
    return b''


def allow_mmengine_checkpoints() -> None:
    """Lets ``torch.load(weights_only=True)`` read what mmengine saves.

    Since torch 2.6 that is the default, and mmengine's checkpoints hold numpy
    arrays (``meta.dataset_meta``) and ``HistoryBuffer`` objects
    (``message_hub``), which torch refuses (open-mmlab/mmengine#1655). The stand-ins
    above build them. Older versions of torch cannot be taught the names.
    """
    if torch.__version__ < (2, 6):
        return
    stand_ins = {
        'builtins.bytes': _empty_bytes,
        'builtins.getattr': _no_method,
        'mmengine.logging.history_buffer.HistoryBuffer': _Buffer,
        'numpy.dtype': _Dtype,
        'numpy.ndarray': _Array,
    }
    for core in ('core', '_core'):  # of numpy 1 and 2
        stand_ins[f'numpy.{core}.multiarray._reconstruct'] = _Array
        stand_ins[f'numpy.{core}.multiarray.scalar'] = _scalar
    torch.serialization.add_safe_globals([(x, name) for name, x in stand_ins.items()])


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


class _Mended:
    """Lets the import system change ``mmpose.apis.inference``, once it is imported."""

    name = 'mmpose.apis.inference'

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def run_and_mend(module: ModuleType) -> None:
            run(module)
            module.inference_topdown = _upright(module.inference_topdown)

        spec.loader.exec_module = run_and_mend
        return spec


def _upright(inference_topdown: Callable) -> Callable:
    @functools.wraps(inference_topdown)
    def of_upright_picture(
        model: Any, img: Any, bboxes: Any = None, bbox_format: str = 'xyxy'
    ) -> list:
        if isinstance(img, str) and (bboxes is None or len(bboxes) == 0):
            from mmcv import imread

            height, width = imread(img).shape[:2]
            bboxes, bbox_format = [[0, 0, width, height]], 'xyxy'
        return inference_topdown(model, img, bboxes, bbox_format)

    return of_upright_picture


def mend_inference_topdown() -> None:
    """Lets ``inference_topdown`` take the whole picture where EXIF turns it.

    Without boxes it takes the width and height before the turn, but predicts after it.
    Importing it takes seconds, so it is changed when somebody imports it.
    """
    if _Mended.name not in sys.modules:
        sys.meta_path.insert(0, _Mended())

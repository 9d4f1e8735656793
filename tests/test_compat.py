import importlib.util
import io
import os
import pickle
import pkgutil
import sys
import warnings
from types import ModuleType

import mmcv
import mmcv.ops
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.utils.dl_utils.misc import mmcv_full_available
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.visualization.opencv_backend_visualizer import OpencvBackendVisualizer
from PIL import Image
from torch.torch_version import TorchVersion

from ldcrn_mm import compat, xtcoco

try:
    from numpy._core import multiarray as MULTIARRAY
except ImportError:  # numpy 1
    from numpy.core import multiarray as MULTIARRAY

COMPILED = importlib.util.find_spec('mmcv._ext') is not None and not isinstance(
    sys.modules.get('mmcv._ext'), compat.UncompiledOps
)
needs_uncompiled = pytest.mark.skipif(COMPILED, reason="mmcv's ops are compiled here")


class TestMmcvExt:
    @needs_uncompiled
    def test_it_stands_in_where_the_ops_are_not_compiled(self):
        assert isinstance(sys.modules['mmcv._ext'], compat.UncompiledOps)
        assert mmcv._ext is sys.modules['mmcv._ext']
        assert not hasattr(mmcv._ext, '__path__')
        assert not mmcv_full_available()

    @needs_uncompiled
    def test_another_op_raises_when_it_is_called_and_says_how_to_get_it(self):
        x, rois = torch.zeros(1, 1, 4, 4), torch.zeros(1, 5)
        align = mmcv.ops.RoIAlign(2)
        with pytest.raises(NotImplementedError) as caught:
            align(x, rois)
        assert 'roi_align_forward' in str(caught.value)
        assert compat.COMPILE_OPS in str(caught.value)

    @needs_uncompiled
    def test_mmcv_finds_nms(self):
        boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
        scores = torch.tensor([0.8, 0.9, 0.3])
        kept, indices = mmcv.ops.nms(boxes, scores, iou_threshold=0.5)
        assert indices.tolist() == [1, 2]
        torch.testing.assert_close(kept[:, 4], scores[indices])

    def test_the_command_that_it_names_exists(self, root):
        assert (root / compat.COMPILE_OPS.removeprefix('bash ')).is_file()

    def test_compiled_ops_are_left_alone(self, monkeypatch, tmp_path):
        (tmp_path / '_ext.py').write_text('compiled = True\n')
        monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
        monkeypatch.delattr(mmcv, '_ext', raising=False)
        monkeypatch.setattr(mmcv, '__path__', [str(tmp_path), *mmcv.__path__])
        compat.provide_mmcv_ext()
        assert 'mmcv._ext' not in sys.modules
        assert importlib.import_module('mmcv._ext').compiled


def reference_nms(boxes, scores, threshold, offset):
    """Greedy, one pair at a time; the areas are of pixels where offset is 1."""

    def area(x1, y1, x2, y2):
        return max(x2 - x1 + offset, 0) * max(y2 - y1 + offset, 0)

    kept = []
    for i in np.argsort(-scores):
        for j in kept:
            corners = (*np.maximum(boxes[i], boxes[j])[:2],)
            shared = area(*corners, *np.minimum(boxes[i], boxes[j])[2:])
            if shared / (area(*boxes[i]) + area(*boxes[j]) - shared) > threshold:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.6])
def test_nms_keeps_what_the_definition_keeps(offset, threshold):
    random = np.random.default_rng(0)
    corner = random.uniform(0, 10, (60, 2))
    boxes = np.hstack([corner, corner + random.uniform(1, 8, (60, 2))])
    scores = random.permutation(60) / 60
    kept = compat.nms(torch.tensor(boxes), torch.tensor(scores), threshold, offset)
    assert kept.tolist() == reference_nms(boxes, scores, threshold, offset)


def test_find_loader_is_brought_back(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.provide_find_loader()
    assert pkgutil.find_loader('json') is importlib.util.find_spec('json').loader
    assert pkgutil.find_loader('no_such_module') is None
    assert mmcv_full_available() == COMPILED


XTCOCOTOOLS = [f'xtcocotools{part}' for part in ('', '.coco', '.cocoeval', '.mask')]


class TestXtcocotools:
    @pytest.fixture
    def modules(self, monkeypatch):
        """Replaces xtcocotools and its modules, in the order above."""

        def replace(*modules):
            for name, module in zip(XTCOCOTOOLS, modules, strict=True):
                monkeypatch.setitem(sys.modules, name, module)
                if module and '.' in name:
                    setattr(modules[0], name.split('.')[1], module)

        return replace

    def test_its_mask_works(self):
        from xtcocotools import mask

        dots = np.asfortranarray(np.eye(5, 4, dtype=np.uint8))
        np.testing.assert_array_equal(mask.decode(mask.encode(dots)), dots)

    def test_the_adapter_takes_its_place_where_it_is_missing(self, modules):
        modules(None, None, None, None)
        compat.provide_xtcocotools()
        import xtcocotools.mask
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval

        assert (COCO, COCOeval) == (xtcoco.COCO, xtcoco.COCOeval)
        assert xtcocotools.mask is xtcoco.mask
        assert importlib.util.find_spec('xtcocotools').loader is None

    def test_only_a_mask_that_fails_is_replaced(self, modules):
        package, coco, cocoeval, mask = map(ModuleType, XTCOCOTOOLS)
        mask.encode = mask.decode = lambda what: np.NPY_OWNDATA
        modules(package, coco, cocoeval, mask)
        compat.provide_xtcocotools()
        assert sys.modules['xtcocotools.coco'] is coco
        assert sys.modules['xtcocotools.mask'] is package.mask is xtcoco.mask
        assert coco.maskUtils is cocoeval.maskUtils is xtcoco.mask

    def test_one_that_works_is_left_alone(self, modules):
        package, coco, cocoeval, mask = map(ModuleType, XTCOCOTOOLS)
        mask.encode = mask.decode = lambda what: what
        modules(package, coco, cocoeval, mask)
        compat.provide_xtcocotools()
        assert sys.modules['xtcocotools.mask'] is package.mask is mask


@pytest.mark.parametrize('backend', ['opencv', 'matplotlib'])
def test_a_keypoint_is_drawn_with_a_radius_in_an_array(monkeypatch, backend):
    draw_circles = OpencvBackendVisualizer.draw_circles
    monkeypatch.setattr(OpencvBackendVisualizer, 'draw_circles', draw_circles)
    monkeypatch.setattr(np, '__version__', '2.4.0')
    visualizer = OpencvBackendVisualizer(backend=backend)
    visualizer.set_image(np.zeros((40, 40, 3), np.uint8))
    compat.mend_drawing()
    with warnings.catch_warnings():
        warnings.simplefilter('error', DeprecationWarning)  # before numpy 2.4
        visualizer.draw_circles(np.array([20, 20]), np.array([5]), face_colors='red')
    drawn = visualizer.get_image()[..., 0] > 128
    assert drawn[20, 20]
    assert not drawn[20, 30]


def loaded(checkpoint):
    """Through a file, as ``torch.load`` reads it by default."""
    with io.BytesIO() as file:
        torch.save(checkpoint, file)
        file.seek(0)
        return torch.load(file, weights_only=True)


class TestCheckpoints:
    def test_the_record_of_a_training_is_read(self):
        hub = MessageHub.get_instance('compat')
        for i in range(5):
            hub.update_scalar('train/loss', 1.0 / (i + 1))
        hub.update_info('best_score', np.float64(0.5))
        hub.update_info('best_ckpt', 'best.pth')
        state = loaded(hub.state_dict())
        loss = state['log_scalars']['train/loss']
        assert isinstance(loss, HistoryBuffer)
        assert loss.current() == 0.2
        assert loss.statistics('mean', 2) == pytest.approx((1 / 4 + 1 / 5) / 2)
        assert state['runtime_info']['best_score'] == 0.5
        hub.load_state_dict(state)

    @pytest.mark.parametrize('name', ['coco', 'mpii'])
    def test_the_description_of_a_data_set_is_read(self, name):
        meta = parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))
        read = loaded(dict(dataset_meta=meta))['dataset_meta']
        np.testing.assert_equal(read, meta)

    @pytest.mark.parametrize('code', '?bhilqBHILQefd')
    def test_arrays_and_scalars_of_every_number_type_are_read(self, code):
        array = np.ones((2, 3), code)
        read = loaded(dict(array=array, scalar=array[0, 0]))
        np.testing.assert_array_equal(read['array'], array)
        assert read['array'].dtype == array.dtype
        assert read['scalar'] == array[0, 0]

    def test_empty_arrays_are_read(self):
        """Those of a data set without a skeleton: their bytes are pickled as such."""
        array = np.empty((0, 2), np.float32)
        read = loaded(dict(array=array))['array']
        assert (read.shape, read.dtype) == (array.shape, array.dtype)

    def test_arrays_saved_under_numpy_1_are_read(self):
        array, scalar, file = np.arange(3.0), np.float32(2.5), io.BytesIO()
        content = dict(array=array, scalar=scalar)
        torch.save(content, file, _use_new_zipfile_serialization=False)
        renamed = file.getvalue().replace(b'numpy._core.', b'numpy.core.')
        read = torch.load(io.BytesIO(renamed), weights_only=True)
        np.testing.assert_array_equal(read['array'], array)
        assert read['scalar'] == scalar


class Malice:
    """Makes a pickle call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'call',
    [
        (os.system, 'false'),
        (getattr, HistoryBuffer.mean, '__globals__'),
        (getattr, HistoryBuffer, '__init__'),
        (getattr, torch.Tensor, 'tofile'),
        (HistoryBuffer.register_statistics, print),  # may be read but not called
    ],
)
def test_a_checkpoint_cannot_reach_anything_else(call):
    with pytest.raises(pickle.UnpicklingError):
        loaded(dict(state_dict={}, meta=Malice(*call)))


class Crafted:
    """Is saved as an array of this state."""

    def __init__(self, shape, dtype, fortran, data):
        self.state = 1, shape, dtype, fortran, data

    def __reduce__(self):
        return MULTIARRAY._reconstruct, (np.ndarray, (0,), b'b'), self.state


class Dtype:
    """Is saved as this dtype with another state."""

    def __reduce__(self):
        return np.dtype, ('f8', False, True), (3, '<', ('i4', (9,)), None, None, -1, -1)


DOUBLE = np.dtype('f8')


def dtype(code):
    """Is saved without a state, which plain PyTorch would refuse."""
    return Malice(np.dtype, code)


HOSTILE = {
    'objects': lambda: Crafted((3,), dtype('O8'), False, [1, 2]),
    'objects of bytes': lambda: Crafted((1,), dtype('O8'), False, b'A' * 8),
    'a named object': lambda: Crafted((1,), np.dtype('O'), False, bytes(8)),
    'structured': lambda: Crafted((1,), dtype('f8,f8'), False, bytes(16)),
    'nested': lambda: Crafted((1,), Dtype(), False, bytes(36)),
    'bare memory': lambda: Crafted((1,), dtype('V8'), False, bytes(8)),
    'a date': lambda: Crafted((1,), dtype('M8[s]'), False, bytes(8)),
    'too short': lambda: Crafted((3,), DOUBLE, False, bytes(23)),
    'too long': lambda: Crafted((3,), DOUBLE, False, bytes(25)),
    'no data': lambda: Crafted((3,), DOUBLE, False, None),
    'a list': lambda: Crafted((3,), DOUBLE, False, [1.0, 2.0, 3.0]),
    'negative': lambda: Crafted((-1,), DOUBLE, False, bytes(8)),
    'negative twice': lambda: Crafted((-1, -1), DOUBLE, False, bytes(8)),
    'huge': lambda: Crafted((2**62, 4), DOUBLE, False, b''),
    'huge and empty': lambda: Crafted((2**62, 2**62, 0), DOUBLE, True, b''),
    'huge in fortran order': lambda: Crafted((2**61, 8), DOUBLE, True, bytes(8)),
    'not a shape': lambda: Crafted('ab', DOUBLE, False, bytes(8)),
    'a short scalar': lambda: Malice(MULTIARRAY.scalar, DOUBLE, b'1234'),
    'a scalar object': lambda: Malice(MULTIARRAY.scalar, dtype('O8'), b'12345678'),
    'memory': lambda: Malice(np.ndarray, (2,), dtype('O8')),
}


def test_crafted_arrays_are_refused(capfd):
    """In a fork, which numpy's own reading would kill."""
    child = os.fork()
    if not child:
        for name, crafted in HOSTILE.items():
            try:
                read = loaded(dict(state_dict={}, meta=crafted()))
            except Exception:
                read = 'refused'
            print(f'{name}: {read}', flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    printed = capfd.readouterr().out.splitlines()
    assert printed == [f'{name}: refused' for name in HOSTILE]


@pytest.mark.parametrize('order', 'CF')
def test_arrays_are_read_and_saved_again_in_their_order(order):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    read = loaded(loaded(dict(array=array)))['array']
    np.testing.assert_array_equal(read, array)
    assert read.strides == array.strides
    assert b'ldcrn_mm' not in pickle.dumps(read)


def test_a_history_buffer_does_not_change_its_class():
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    before = {**HistoryBuffer._statistics_methods}
    methods = dict(mean=HistoryBuffer.max, theirs=HistoryBuffer.min)
    vars(buffer)['_statistics_methods'] = methods
    assert loaded(dict(buffer=buffer))['buffer'].statistics('mean') == 2
    assert HistoryBuffer._statistics_methods == before


def test_a_torch_that_cannot_be_taught_names_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.1.2+cpu'))
    monkeypatch.delattr(torch.serialization, 'add_safe_globals')
    compat.allow_mmengine_checkpoints()


def test_a_second_call_changes_nothing():
    before = sys.modules['mmcv._ext']
    allowed = len(torch.serialization.get_safe_globals())
    compat.apply.__wrapped__()
    assert sys.modules['mmcv._ext'] is before
    assert len(torch.serialization.get_safe_globals()) == allowed


def test_inference_topdown_takes_the_upright_picture(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation of a phone held upright
    Image.new('RGB', (40, 100)).save(tmp_path / 'a.jpg', exif=exif)
    seen = []
    mended = compat._upright(lambda *args: seen.append(args))
    for boxes in (None, [], np.zeros((0, 4))):
        mended('model', str(tmp_path / 'a.jpg'), boxes, 'xywh')
    assert seen == [('model', str(tmp_path / 'a.jpg'), [[0, 0, 100, 40]], 'xyxy')] * 3
    mended('model', 'nowhere.jpg', [[1, 2, 3, 4]], 'xywh')
    assert seen[-1] == ('model', 'nowhere.jpg', [[1, 2, 3, 4]], 'xywh')


def test_inference_topdown_is_mended_wherever_it_is_imported():
    from mmpose.apis import inference_topdown
    from mmpose.apis.inference import inference_topdown as same

    assert inference_topdown is same
    assert inference_topdown.__wrapped__.__module__ == 'mmpose.apis.inference'


def test_users_read_only_what_they_can_mend(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        compat.silence_warnings()
        warnings.warn('pkg_resources is deprecated as an API. See', stacklevel=1)
        for folder in ('configs/_base_/datasets', 'my'):
            parse_pose_metainfo(dict(from_file=f'{folder}/coco.py'))
    assert [str(x.message).split('"')[1] for x in caught] == ['my/coco.py']

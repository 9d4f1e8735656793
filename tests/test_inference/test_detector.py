"""Detectors. MMDetection's own API and a plain computation are the oracles."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import cv2
import mmdet
import numpy as np
import onnx
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmpose.apis.inferencers.utils import default_det_models
from onnx import TensorProto, helper, numpy_helper

from ldcrn_mm.checkpoint import read_checkpoint
from ldcrn_mm.inference.detector import default_detector, open_detector

RTMDET = 'rtmdet_tiny_8xb32-300e_coco'
CONFIG = str(Path(mmdet.__file__).parent / f'.mim/configs/rtmdet/{RTMDET}.py')
PERSON = Config(dict(dataset_type='CocoDataset'))


@pytest.fixture(scope='module')
def rtmdet():
    """A detector with random weights that sees people everywhere."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):  # which it would leave so
        detector = init_detector(CONFIG, device='cpu', palette='random')
    for scores, sides in zip(detector.bbox_head.rtm_cls, detector.bbox_head.rtm_reg):
        scores.bias.data[0] += 5  # of class 0, person
        sides.bias.data += 10  # in strides
    return detector


@pytest.fixture(scope='module')
def weights(rtmdet, tmp_path_factory):
    """Its checkpoint as MMEngine saves it, NAME-HASH.pth."""
    file = tmp_path_factory.mktemp('rtmdet') / 'rtmdet.pth'
    meta = dict(dataset_meta=rtmdet.dataset_meta, seen=np.arange(3))
    hub = dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))
    state = rtmdet.state_dict()
    state['data_preprocessor.mean'] = torch.zeros(3)  # as in published files
    torch.save(dict(state_dict=state, meta=meta, message_hub=hub), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return file.rename(file.with_name(f'rtmdet-{digest[:8]}.pth'))


@pytest.fixture
def published(weights, web, tmp_path, monkeypatch):
    """Address of the checkpoint, which is the one of the default detector."""
    shutil.copy(weights, tmp_path)
    address = f'{web}/{weights.name}'
    for name, value in dict(model=CONFIG, weights=address).items():
        monkeypatch.setitem(default_det_models['human'], name, value)
    return address


class TestMMDetection:
    def test_the_default_comes_once(self, rtmdet, published, picture, tmp_path, capsys):
        found = default_detector(PERSON, 'cpu')(picture)
        with DefaultScope.overwrite_default_scope('mmdet'):
            instances = inference_detector(rtmdet, picture).pred_instances.numpy()
        people = instances[instances.labels == 0]
        assert len(people) > 1
        np.testing.assert_allclose(found[:, :4], people.bboxes, atol=1e-3)
        np.testing.assert_allclose(found[:, 4], people.scores, atol=1e-5)
        assert '100%' in capsys.readouterr().err
        (file,) = (tmp_path / 'cache/hub/checkpoints').iterdir()
        assert file.name == Path(published).name
        (tmp_path / file.name).unlink()
        default_detector(PERSON, 'cpu')

    def test_a_picture_that_it_cannot_resize(self, weights):
        detect = open_detector(CONFIG, str(weights), 'cpu')
        with pytest.raises(ValueError, match=r'\(1, 3000, 3\)'):
            detect(np.zeros((1, 3000, 3), np.uint8))

    def test_the_default_follows_the_kind_of_data(self, monkeypatch):
        opened = []
        where = 'ldcrn_mm.inference.detector.open_detector'
        monkeypatch.setattr(where, lambda *args: opened.append(args[0]))
        for dataset in ('CocoDataset', 'MpiiDataset', 'FreiHandDataset', 'Mine', None):
            default_detector(Config(dict(dataset_type=dataset)), 'cpu')
        kinds = ['human', 'human', 'hand', 'human', 'human']
        assert opened == [default_det_models[kind]['model'] for kind in kinds]

    def test_a_download_of_another_hash(self, published, tmp_path, monkeypatch):
        (tmp_path / Path(published).name).write_bytes(b'something else')
        with pytest.raises(ValueError, match=r'hash.*Put the file at .*checkpoints'):
            default_detector(PERSON, 'cpu')
        assert not [*(tmp_path / 'cache/hub/checkpoints').iterdir()]

    def test_without_mmdet(self, published, monkeypatch):
        monkeypatch.setitem(sys.modules, 'mmdet.apis', None)
        with pytest.raises(ValueError, match=r'mmdet.*Put the file at .*, from http'):
            default_detector(PERSON, 'cpu')

    @pytest.mark.parametrize('name', ['rtmdet-t', f'mmdet::rtmdet/{RTMDET}.py'])
    def test_names_have_published_weights(self, weights, picture, monkeypatch, name):
        asked = []
        monkeypatch.setattr(
            'ldcrn_mm.inference.detector.read_checkpoint',
            lambda source: asked.append(source) or read_checkpoint(weights),
        )
        assert len(open_detector(name, device='cpu')(picture))
        (address,) = asked
        assert re.fullmatch(rf'https://.*/{RTMDET}_\d+_\d+-78e30dcc\.pth', address)

    def test_code_in_its_checkpoint_is_not_run(self, web, tmp_path):
        class Code:
            def __reduce__(self):
                return Path.touch, (tmp_path / 'trace',)

        torch.save(dict(state_dict={}, meta=Code()), tmp_path / 'code.pth')
        with pytest.raises(ValueError, match=r'detector `.*rtmdet.*not an allowed'):
            open_detector(CONFIG, f'{web}/code.pth')
        assert not (tmp_path / 'trace').exists()

    @pytest.mark.parametrize(
        ('model', 'checkpoint', 'error', 'message'),
        [
            (CONFIG, 'cut.pth', ValueError, r'cut\.pth` is broken'),
            (
                CONFIG,
                'other.pth',
                ValueError,
                r'other\.pth` is no checkpoint .* missing',
            ),
            (CONFIG, 'nowhere.pth', FileNotFoundError, r'nowhere\.pth'),
            (CONFIG, None, ValueError, 'needs a checkpoint'),
            ('nowhere.py', 'x.pth', FileNotFoundError, r'nowhere\.py'),
            ('nobody', None, ValueError, 'nobody'),
            ('nowhere.onnx', None, FileNotFoundError, r'nowhere\.onnx'),
        ],
    )
    def test_what_cannot_be_opened(
        self, weights, tmp_path, monkeypatch, model, checkpoint, error, message
    ):
        monkeypatch.chdir(tmp_path)
        Path('cut.pth').write_bytes(weights.read_bytes()[:1000])
        torch.save(dict(state_dict={'a': torch.zeros(1)}), 'other.pth')
        with pytest.raises(error, match=message):
            open_detector(model, checkpoint, 'cpu')


@pytest.fixture
def exported(tmp_path):
    """Writes an ONNX file that returns these arrays for images of 64x32."""

    def write(*outputs):
        # Each output is multiplied by 1 plus 0 times the images.
        nodes, constants = (
            [],
            [numpy_helper.from_array(np.zeros((), np.float32), 'zero')],
        )
        nodes.append(helper.make_node('ReduceMean', ['images'], ['mean'], keepdims=0))
        nodes.append(helper.make_node('Mul', ['mean', 'zero'], ['nothing']))
        for i, output in enumerate(outputs):
            array = np.asarray(output, np.float32)
            constants.append(numpy_helper.from_array(array, f'constant{i}'))
            nodes.append(helper.make_node('Add', [f'constant{i}', 'nothing'], [f'{i}']))
        images = helper.make_tensor_value_info(
            'images', TensorProto.FLOAT, [1, 3, 32, 64]
        )
        results = [
            helper.make_tensor_value_info(f'{i}', TensorProto.FLOAT, np.shape(output))
            for i, output in enumerate(outputs)
        ]
        graph = helper.make_graph(nodes, 'detector', [images], results, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])
        model.ir_version = 8
        onnx.save(model, tmp_path / 'detector.onnx')
        return open_detector(str(tmp_path / 'detector.onnx'))

    return write


class TestExported:
    """The picture of 160x120 lies in the input at 0.266, so 32 are 120 pixels."""

    def test_boxes_of_mmdeploy(self, exported, picture):
        boxes = [[8, 4, 16, 20, 0.9], [0, 0, 8, 8, 0.8], [1, 1, 9, 9, 0.01]]
        boxes += [[-9, 8, 60, 40, 0.5], [50, 8, 60, 20, 0.5]]
        found = exported([boxes], [[0, 1, 0, 0, 0]])(picture)
        expected = [[30, 15, 60, 75, 0.9], [0, 30, 160, 120, 0.5]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert len(exported([boxes])(picture)) == 3

    def test_maps_of_the_head(self, exported, picture):
        coarse, fine = np.zeros((1, 1, 2, 6)), np.zeros((1, 2, 4, 6))
        coarse[..., :2] = fine[..., :2] = -9
        coarse[0, 0, 0] = [2, 9, -4, 0, 16, 16]  # stride 32: the center is 0, 0
        fine[0, 1, 1] = [1, 0, 4, 8, 8, 12]  # stride 16: the center is 16, 16
        found = exported(fine, coarse)(picture)
        expected = [[45, 30, 90, 105, 1 / (1 + np.exp(-1))]]
        expected += [[15, 0, 60, 60, 1 / (1 + np.exp(-2))]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_the_picture_is_normalised_at_the_upper_left(self, exported, picture):
        detect, seen = exported(np.zeros((1, 9, 5))), []
        detect._network._run = lambda images: (
            seen.append(images) or [np.zeros((1, 0, 5), np.float32)]
        )
        assert detect(picture).shape == (0, 5)
        (image,) = seen[0]
        restored = image.transpose(1, 2, 0) * [57.375, 57.12, 58.395]
        restored += [103.53, 116.28, 123.675]
        expected = cv2.resize(picture, (43, 32))
        np.testing.assert_allclose(restored[:, :43], expected, atol=1e-3)
        np.testing.assert_allclose(restored[:, 43:], 114, atol=1e-3)

    @pytest.mark.parametrize('shape', [(1, 9, 4), (1, 9, 85), (1, 2, 3, 4)])
    def test_other_outputs_are_errors(self, exported, picture, shape):
        detect = exported(np.zeros(shape))
        with pytest.raises(ValueError, match=re.escape(str(shape))):
            detect(picture)

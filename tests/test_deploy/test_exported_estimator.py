"""An exported network in MMPose's estimator. The estimator in PyTorch is the oracle."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from onnx import numpy_helper

from ldcrn_mm.deploy import use_exported
from ldcrn_mm.models.heatmap_head import PAPER_DECODER

from .conftest import WEIGHT, one_convolution, save

CODEC = dict(type='MSRAHeatmap', input_size=(12, 16), heatmap_size=(3, 4), sigma=1)
FLIP_INDICES = [0, 2, 1, 4, 3]


@MODELS.register_module()
class OneConvolution(torch.nn.Module):
    """What the file of the fixtures computes, as a backbone."""

    def __init__(self, path=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(WEIGHT.copy()))

    def init_weights(self):
        pass

    def forward(self, images):
        return (torch.conv2d(images, self.weight, stride=4),)


def model_config(**test_cfg):
    return ConfigDict(
        type='TopdownPoseEstimator',
        data_preprocessor=dict(
            type='PoseDataPreprocessor', mean=[9, 8, 7], std=[5, 6, 7], bgr_to_rgb=True
        ),
        backbone=dict(type='OneConvolution', path=0),
        head=dict(
            type='HeatmapHead',
            in_channels=5,
            out_channels=5,
            deconv_out_channels=None,
            final_layer=None,
            decoder=CODEC,
        ),
        test_cfg=test_cfg,
    )


def predict(config, count=3):
    """The estimator's predictions for people of noise."""
    init_default_scope('mmpose')
    model = MODELS.build(config).eval()
    random = np.random.default_rng(0)
    inputs, samples = [], []
    for i in range(count):
        pixels = random.integers(0, 256, (3, 16, 12), dtype=np.uint8)
        inputs.append(torch.from_numpy(pixels))
        sample = PoseDataSample(
            metainfo=dict(
                input_center=np.array([20.0 + i, 30]),
                input_scale=np.array([48.0, 64]),
                input_size=(12, 16),
                flip_indices=FLIP_INDICES,
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1)
        )
        samples.append(sample)
    with torch.no_grad():
        return model.test_step(dict(inputs=inputs, data_samples=samples))


@pytest.mark.parametrize('flip', [False, True])
def test_predictions_are_those_of_the_estimator(file, flip):
    config = model_config(flip_test=flip, shift_heatmap=True, output_heatmaps=True)

    found = predict(use_exported(config, file))

    for one, expected in zip(found, predict(config), strict=True):
        for key in ('keypoints', 'keypoint_scores'):
            np.testing.assert_allclose(
                one.pred_instances[key], expected.pred_instances[key], atol=1e-4
            )
        np.testing.assert_allclose(
            one.pred_fields.heatmaps, expected.pred_fields.heatmaps, atol=1e-4
        )


def test_settings_of_the_old_modules_do_not_reach_the_new(file):
    config = model_config()

    served = use_exported(config, file, num_threads=2)

    assert served.backbone == dict(
        type='ExportedNetwork', path=str(file), precision=None, num_threads=2
    )
    assert config.backbone.type == 'OneConvolution'


def decoded_file(path):
    """Keypoints (n, 5, 2) at (1, 2), (3, 4), ... and scores 0.1, 0.2, ..."""
    network = one_convolution(('heatmaps',))
    keypoints = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 2)
    scores = np.linspace(0.1, 0.5, 5, dtype=np.float32)[None]
    network.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in dict(
            axes=np.array([2, 3]),
            flat=np.array([0, 5]),
            points=keypoints,
            confidences=scores,
            nothing=np.zeros(1, np.float32),
            last=np.array([2]),
        ).items()
    )
    from onnx import helper

    network.node.extend(
        [
            helper.make_node('ReduceSum', ['heatmaps', 'axes'], ['sums'], keepdims=0),
            helper.make_node('Mul', ['sums', 'nothing'], ['zeros']),
            helper.make_node('Add', ['zeros', 'confidences'], ['scores']),
            helper.make_node('Unsqueeze', ['zeros', 'last'], ['zeros3']),
            helper.make_node('Add', ['zeros3', 'points'], ['keypoints']),
        ]
    )
    del network.output[:]
    network.output.extend(
        [
            helper.make_tensor_value_info('keypoints', 1, ['n', 5, 2]),
            helper.make_tensor_value_info('scores', 1, ['n', 5]),
        ]
    )
    return save(network, path)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_decoded_keypoints_are_taken_as_they_are(tmp_path, suffix):
    file = decoded_file(tmp_path / f'decoded{suffix}')

    found = predict(use_exported(model_config(flip_test=False), file))

    assert len(found) == 3
    for i, one in enumerate(found):
        inside = np.arange(1, 11).reshape(1, 5, 2)
        expected = inside * 4 + [20 + i - 24, 30 - 32]  # 4 picture pixels a pixel
        np.testing.assert_allclose(one.pred_instances.keypoints, expected)
        np.testing.assert_allclose(
            one.pred_instances.keypoint_scores, [[0.1, 0.2, 0.3, 0.4, 0.5]]
        )


def test_decoded_keypoints_cannot_be_flip_tested(tmp_path):
    file = decoded_file(tmp_path / 'decoded.onnx')

    with pytest.raises(ValueError, match=r'flip test averages heatmaps.*flip_test=Fal'):
        use_exported(model_config(flip_test=True), file)


def test_decoded_keypoints_have_no_heatmaps_to_show(tmp_path):
    file = decoded_file(tmp_path / 'decoded.onnx')

    with pytest.raises(ValueError, match='has no heatmaps to show'):
        predict(use_exported(model_config(output_heatmaps=True), file))


def test_a_file_for_another_size_is_refused(file):
    config = model_config()
    config.head.decoder = dict(CODEC, input_size=(24, 32))

    with pytest.raises(ValueError, match=r'12x16 .*input_size=\(24, 32\)'):
        use_exported(config, file)


def test_a_file_for_other_keypoints_is_refused(file):
    config = model_config()
    config.head.out_channels = 17

    with pytest.raises(ValueError, match=r'finds 5 keypoints.*out_channels=17'):
        use_exported(config, file)


def test_what_the_config_leaves_to_the_head_is_the_heads(tmp_path):
    file = save(one_convolution(size=(192, 256)), tmp_path / 'network.onnx')
    config = model_config()
    config.head = dict(type='LDCRNHead', out_channels=5)

    served = use_exported(config, file)

    assert served.head.decoder == PAPER_DECODER
    with pytest.raises(ValueError, match=r'finds 5 keypoints.*out_channels=17'):
        use_exported(ConfigDict(config, head=dict(type='LDCRNHead')), file)


def test_a_head_without_decoder_is_refused(file):
    config = model_config()
    config.head.decoder = None

    with pytest.raises(ValueError, match='has no decoder'):
        use_exported(config, file)


def test_a_head_without_heatmaps_is_refused(file):
    config = model_config()
    config.head.type = 'SimCCHead'

    with pytest.raises(ValueError, match='head in the config is SimCCHead'):
        use_exported(config, file)

"""An exported network in MMPose's estimator. The estimator in PyTorch is the oracle."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs

from ldcrn_mm.deploy import use_exported
from ldcrn_mm.models.heatmap_head import PAPER_DECODER

from .conftest import WEIGHT, save

CODEC = dict(type='MSRAHeatmap', input_size=(12, 16), heatmap_size=(3, 4), sigma=1)
SUFFIXES = pytest.mark.parametrize('suffix', ['.onnx', '.xml'])


@MODELS.register_module()
class OneConvolution(torch.nn.Module):
    """The network of the fixture ``file`` as a backbone."""

    def __init__(self, path=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(WEIGHT.copy()))

    def init_weights(self):
        pass

    def forward(self, images):
        return (torch.conv2d(images, self.weight, stride=4),)


def model_config(head=(), **test_cfg):
    return ConfigDict(
        type='TopdownPoseEstimator',
        data_preprocessor=dict(
            type='PoseDataPreprocessor', mean=[9, 8, 7], std=[5, 6, 7], bgr_to_rgb=True
        ),
        backbone=dict(type='OneConvolution', path=0),
        head=dict(
            dict(
                type='HeatmapHead',
                in_channels=5,
                out_channels=5,
                deconv_out_channels=None,
                final_layer=None,
                decoder=CODEC,
            ),
            **dict(head),
        ),
        test_cfg=test_cfg,
    )


def predict(model, num_keypoints=5, width=12, height=16):
    """The estimator's predictions for three people of noise."""
    init_default_scope('mmpose')
    if isinstance(model, dict):
        model = MODELS.build(model).eval()
    np.random.seed(0)
    people = get_packed_inputs(
        3,
        num_keypoints=num_keypoints,
        img_shape=(height, width),
        input_size=(width, height),
        heatmap_size=(width // 4, height // 4),
    )
    for sample in people['data_samples']:
        sample.set_metainfo(dict(flip_indices=[*range(num_keypoints)][::-1]))
    with torch.no_grad():
        return model.test_step(people)


def assert_same(found, expected, atol=1e-3):
    for one, other in zip(found, expected, strict=True):
        for key in ('keypoints', 'keypoint_scores'):
            np.testing.assert_allclose(
                one.pred_instances[key], other.pred_instances[key], atol=atol
            )


@pytest.mark.parametrize('flip', [False, True])
def test_predictions_are_those_of_the_estimator(file, flip):
    config = model_config(flip_test=flip, shift_heatmap=True, output_heatmaps=True)
    found, expected = predict(use_exported(config, file)), predict(config)
    assert_same(found, expected)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(
            one.pred_fields.heatmaps, other.pred_fields.heatmaps, atol=1e-4
        )


@SUFFIXES
def test_decoded_keypoints_are_those_of_the_estimator(estimator, config, files, suffix):
    file = files[suffix, True]
    config = ConfigDict(config.model, test_cfg=dict(flip_test=False))
    estimator.test_cfg, kept = config.test_cfg, estimator.test_cfg
    try:
        expected = predict(estimator, 17, 48, 64)
    finally:
        estimator.test_cfg = kept
    assert_same(predict(use_exported(config, file), 17, 48, 64), expected)

    config.test_cfg = dict(flip_test=False, output_heatmaps=True)
    with pytest.raises(ValueError, match='no heatmaps'):
        predict(use_exported(config, file), 17, 48, 64)
    config.test_cfg = dict(flip_test=True)
    with pytest.raises(ValueError, match='flip_test=False'):
        use_exported(config, file)


def test_settings_of_the_old_modules_do_not_reach_the_new(file):
    config = model_config()
    served = use_exported(config, file, num_threads=2)
    assert served.backbone == dict(
        type='ExportedNetwork', path=str(file), precision=None, num_threads=2
    )
    assert config.backbone.type == 'OneConvolution'


@pytest.mark.parametrize(
    ('head', 'name'),
    [
        (dict(decoder=dict(CODEC, input_size=(24, 32))), r'12x16 .*\(24, 32\)'),
        (dict(decoder=dict(CODEC, heatmap_size=(6, 8))), r'8, 6\).*got \(1, 5, 4, 3\)'),
        (dict(out_channels=17), r'out_channels=17.*\(1, 5, 4, 3\)'),
        (dict(decoder=None), 'decoder'),
        (dict(type='SimCCHead'), 'SimCCHead'),
    ],
)
def test_exception_for_a_config_that_does_not_fit(file, head, name):
    with pytest.raises(ValueError, match=name):
        use_exported(model_config(head), file)


@SUFFIXES
def test_exception_for_nan(tmp_path, suffix):
    file = save(tmp_path / f'broken{suffix}', weight=WEIGHT * np.float32('nan'))
    with pytest.raises(ValueError, match='NaN'):
        use_exported(model_config(), file)


def test_defaults_of_the_head_are_those_of_its_class(tmp_path):
    file = save(tmp_path / 'network.onnx', size=(192, 256))
    config = model_config()
    config.head = dict(type='LDCRNHead', out_channels=5)
    assert use_exported(config, file).head.decoder == PAPER_DECODER

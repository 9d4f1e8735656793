"""An exported network in MMPose's estimator. The estimator in PyTorch is the oracle."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs

from ldcrn_mm.deploy import estimator as estimator_module
from ldcrn_mm.deploy import use_exported
from ldcrn_mm.models.heatmap_head import PAPER_DECODER

from .conftest import SUFFIXES

BOTH = pytest.mark.parametrize('suffix', SUFFIXES)


def predict(model):
    """The predictions of an estimator for three people of noise."""
    init_default_scope('mmpose')
    if isinstance(model, dict):
        model = MODELS.build(model).eval()
    np.random.seed(0)
    sizes = dict(img_shape=(64, 48), input_size=(48, 64), heatmap_size=(12, 16))
    with torch.no_grad():
        return model.test_step(get_packed_inputs(3, **sizes))


def with_test_cfg(config, **test_cfg):
    return ConfigDict(config.model, test_cfg=test_cfg)


@BOTH
@pytest.mark.parametrize(
    ('decode', 'flip'), [(False, False), (False, True), (True, False)]
)
def test_predictions_are_those_of_the_estimator(
    estimator, config, files, monkeypatch, suffix, decode, flip
):
    test_cfg = dict(flip_test=flip, shift_heatmap=True, output_heatmaps=not decode)
    model = with_test_cfg(config, **test_cfg)
    monkeypatch.setattr(estimator, 'test_cfg', test_cfg)
    found = predict(use_exported(model, files[suffix, decode]))
    for one, other in zip(found, predict(estimator), strict=True):
        for key in ('keypoints', 'keypoint_scores', 'bboxes'):
            np.testing.assert_allclose(
                one.pred_instances[key], other.pred_instances[key], atol=1e-3
            )
        if not decode:
            maps = one.pred_fields.heatmaps, other.pred_fields.heatmaps
            torch.testing.assert_close(*maps, rtol=0, atol=1e-3)


def test_settings_of_the_old_modules_do_not_reach_the_new(config, files):
    file = files['.onnx', False]
    before = copy.deepcopy(config.model)
    served = use_exported(config.model, file)
    assert served.backbone == dict(type='ExportedNetwork', path=str(file))
    assert config.model == before


def test_the_file_is_opened_once(config, files, tmp_path, monkeypatch):
    file = tmp_path / 'x.onnx'
    file.write_bytes(files['.onnx', False].read_bytes())
    opened = []
    real = estimator_module.open_runtime
    monkeypatch.setattr(
        estimator_module, 'open_runtime', lambda *a: opened.append(a) or real(*a)
    )
    MODELS.build(use_exported(config.model, file))
    assert len(opened) == 1
    file.write_bytes(files['.onnx', True].read_bytes())  # another network
    with pytest.raises(ValueError, match='flip_test'):
        use_exported(with_test_cfg(config, flip_test=True), file)


def test_exception_for_what_decoded_keypoints_cannot_do(config, files):
    file = files['.onnx', True]
    with pytest.raises(ValueError, match='flip_test=False'):
        use_exported(with_test_cfg(config, flip_test=True), file)
    served = use_exported(with_test_cfg(config, output_heatmaps=True), file)
    with pytest.raises(ValueError, match='no heatmaps'):
        predict(served)


@BOTH
@pytest.mark.parametrize(
    ('head', 'name'),
    [
        (dict(decoder=dict(input_size=(24, 32))), r'48x64 .*\(24, 32\)'),
        (
            dict(decoder=dict(heatmap_size=(6, 8))),
            r'\(1, 17, 16, 12\).* \(1, 17, 8, 6\)',
        ),
        (dict(out_channels=5), r'\(1, 17, 16, 12\).*out_channels=5.*\(1, 5, 16, 12\)'),
        (dict(decoder=None), 'decoder'),
        (dict(type='SimCCHead'), 'SimCCHead'),
    ],
)
def test_exception_for_a_config_that_does_not_fit(config, files, suffix, head, name):
    model = copy.deepcopy(config.model)
    model.head.update(head)  # merges the decoder
    with pytest.raises(ValueError, match=name):
        use_exported(model, files[suffix, False])


def test_defaults_of_the_head_are_those_of_its_class(config, files, monkeypatch):
    monkeypatch.setitem(PAPER_DECODER, 'input_size', (48, 64))
    monkeypatch.setitem(PAPER_DECODER, 'heatmap_size', (12, 16))
    model = ConfigDict(config.model, head=dict(type='LDCRNHead'))
    model = with_test_cfg(ConfigDict(model=model))
    assert use_exported(model, files['.onnx', False]).head.decoder == PAPER_DECODER

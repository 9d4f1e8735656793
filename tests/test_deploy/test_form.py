"""The deploy form of whole models, against the models."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs
from torch import nn

from ldcrn_mm.deploy import deploy_form
from ldcrn_mm.deploy.dense import DeployDCRM
from ldcrn_mm.models import DCRM

from ..test_models.networks import (
    SMALL,
    SMALL_NECK,
    noise,
    randomise,
    small_backbone,
    small_neck,
)


@pytest.fixture
def estimator(root):
    model = Config.fromfile(root / 'configs' / 'ldcrn_coco.py').model
    model.backbone.update(SMALL)
    model.neck.update(SMALL_NECK)
    model.head.in_channels = SMALL_NECK['out_channels']
    model.head.decoder.update(input_size=(64, 96), heatmap_size=(16, 24))
    with DefaultScope.overwrite_default_scope('mmpose'):
        return randomise(MODELS.build(model)).eval()


@pytest.fixture
def people():
    np.random.seed(0)
    return get_packed_inputs(
        2, img_shape=(96, 64), input_size=(64, 96), heatmap_size=(16, 24)
    )


@pytest.mark.parametrize('with_cp', [True, False])
@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_backbone_agrees(with_cp, norm):
    backbone = small_backbone(with_cp=with_cp, norm_cfg=dict(type=norm))
    randomise(backbone.double())
    x = noise(2, 3, 32, 48, dtype=torch.float64)
    found = deploy_form(backbone)(x)
    expected = backbone.eval()(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_single_precision_agrees_to_its_rounding(estimator):
    x = noise(2, 3, 96, 64)
    with torch.no_grad():
        expected = estimator(x, None, mode='tensor')
        found = deploy_form(estimator)(x, None, mode='tensor')
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(found.flatten(2).argmax(-1), expected.flatten(2).argmax(-1))


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_it_predicts_as_an_estimator_of_mmpose(estimator, people, layout):
    form = deploy_form(estimator).to(memory_format=layout)
    with torch.no_grad():
        expected = estimator.test_step(copy.deepcopy(people))
        found = form.test_step(people)
    for one, other in zip(found, expected, strict=True):
        for key in ('keypoints', 'keypoint_scores', 'bboxes'):
            np.testing.assert_allclose(
                one.pred_instances[key], other.pred_instances[key], rtol=1e-4
            )


def test_the_model_stays_as_it_is(estimator):
    estimator.train()
    before = copy.deepcopy(estimator.state_dict())
    form = deploy_form(estimator)
    torch.testing.assert_close(estimator.state_dict(), before, rtol=0, atol=0)
    assert all(module.training for module in estimator.modules())
    assert all(parameter.requires_grad for parameter in estimator.parameters())
    for parameter in form.parameters():
        parameter.zero_()
    torch.testing.assert_close(estimator.state_dict(), before, rtol=0, atol=0)


def test_it_is_for_inference_only(estimator):
    form = deploy_form(estimator)
    assert not any(module.training for module in form.modules())
    assert not any(parameter.requires_grad for parameter in form.parameters())


def test_no_norm_follows_a_convolution(estimator):
    form = deploy_form(estimator)
    assert not any(isinstance(module, DCRM) for module in form.modules())
    for module in form.modules():
        if isinstance(module, nn.Sequential):
            kinds = [type(child) for child in module]
            assert (nn.Conv2d, nn.BatchNorm2d) not in pairwise(kinds)


def test_group_norms_are_left():
    backbone = small_backbone(
        growth_rate=4, norm_cfg=dict(type='GN', num_groups=2)
    ).double()
    form = deploy_form(backbone)
    assert not any(isinstance(module, DeployDCRM) for module in form.modules())
    x = noise(1, 3, 32, 48, dtype=torch.float64)
    torch.testing.assert_close(form(x), backbone.eval()(x), rtol=0, atol=0)


def test_it_is_exported_with_a_dynamic_batch():
    form = deploy_form(small_backbone())
    batch = torch.export.Dim('batch', max=8)
    program = torch.export.export(
        form, (noise(2, 3, 32, 48),), dynamic_shapes=({0: batch},)
    )
    x = noise(5, 3, 32, 48)
    torch.testing.assert_close(program.module()(x), form(x))


def test_exception_where_there_is_no_dcrm():
    with pytest.raises(ValueError, match='PyramidFusionNeck has no DCRM'):
        deploy_form(small_neck())

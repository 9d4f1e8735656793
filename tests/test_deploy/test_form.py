"""The deploy form, against the modules that it is made from."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmpose.testing import get_packed_inputs
from torch import nn

from ldcrn_mm.deploy import deploy_form
from ldcrn_mm.deploy.form import DeployDCRM, can_deploy, fold_sequential
from ldcrn_mm.models import DCRM
from ldcrn_mm.models.conv import preact_conv

from ..test_models.networks import noise, randomise, small_backbone, small_neck


def double(*shape, seed=0):
    return noise(*shape, seed=seed, dtype=torch.float64)


def lively(module):
    return randomise(module.double()).eval()


def dcrm(**overrides):
    arguments = dict(in_channels=6, num_layers=3, growth_rate=4, expansion=2)
    return lively(DCRM(**{**arguments, **overrides}))


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


class TestFoldSequential:
    @pytest.mark.parametrize('bias', [True, False])
    @pytest.mark.parametrize('affine', [True, False])
    @pytest.mark.parametrize('kind', [nn.BatchNorm2d, nn.SyncBatchNorm])
    def test_norm_after_convolution_is_folded(self, bias, affine, kind):
        conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias)
        layers = lively(nn.Sequential(conv, kind(4, affine=affine), nn.ReLU()))
        before = copy.deepcopy(layers.state_dict())
        folded = fold_sequential(layers)
        assert [type(layer) for layer in folded] == [nn.Conv2d, nn.ReLU]
        x = double(2, 3, 8, 6)
        torch.testing.assert_close(folded(x), layers(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layers.state_dict(), before, rtol=0, atol=0)

    @pytest.mark.parametrize(
        'layers',
        [
            [nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1)],
            [nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)],
            [nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)],
            [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)],
        ],
    )
    def test_everything_else_stays(self, layers):
        assert list(fold_sequential(layers)) == layers


class TestDeployDCRM:
    @pytest.mark.parametrize('affine', [True, False])
    @pytest.mark.parametrize('num_layers', [1, 2, 4])
    @pytest.mark.parametrize('alignment', [1, 6])
    @pytest.mark.parametrize('following', [True, False])
    def test_outputs_of_the_module(self, num_layers, affine, alignment, following):
        norm_cfg = dict(type='BN', eps=1e-3, affine=affine)
        module = dcrm(num_layers=num_layers, norm_cfg=norm_cfg)
        x = double(2, 6, 5, 4)
        kept, expected, transition = x.clone(), module(x), None
        if following:
            preact = preact_conv(module.out_channels, 5, 3, norm_cfg=norm_cfg)
            transition = lively(preact)
            expected = transition(expected.clone())
        found = DeployDCRM(module, transition, alignment)(x)
        torch.testing.assert_close(x, kept, rtol=0, atol=0)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)

    def test_grown_channels_are_aligned(self):
        """In ONNX Runtime's layout, without a copy to another one."""
        form = DeployDCRM(dcrm(), alignment=6)
        grown = [layer.expand[-1].out_channels for layer in form.layers]
        seen = [conv.in_channels for layer in form.layers for conv in layer.shortcut]
        assert grown == [6, 6, 6]
        assert seen == [6, 12]

    def test_one_wide_convolution_and_few_norms(self):
        form = DeployDCRM(dcrm())
        norms = [m for m in form.modules() if isinstance(m, nn.BatchNorm2d)]
        # Of three layers for the channels of the input, of two for the grown ones.
        assert sorted(norm.num_features for norm in norms) == [4, 6, 6, 6, 8]
        convs = [conv for conv in convolutions(form) if conv.kernel_size == (3, 3)]
        sizes = sorted((conv.in_channels, conv.out_channels) for conv in convs)
        assert sizes == [(4, 4), (6, 12), (8, 4), (8, 4), (8, 4), (8, 4)]
        weights, expected = (
            sum(conv.weight.numel() for conv in convolutions(module))
            for module in (form, dcrm())
        )
        assert weights == expected

    @pytest.mark.parametrize(
        ('norm_cfg', 'possible'),
        [
            (dict(type='BN'), True),
            (dict(type='SyncBN'), True),
            (dict(type='BN', track_running_stats=False), False),
            (dict(type='GN', num_groups=2), False),
        ],
    )
    def test_norms_must_be_a_scale_and_a_shift(self, norm_cfg, possible):
        assert can_deploy(dcrm(norm_cfg=norm_cfg)) is possible


class TestDeployForm:
    @pytest.mark.parametrize('with_cp', [True, False])
    @pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
    def test_backbone_agrees(self, with_cp, norm):
        backbone = small_backbone(with_cp=with_cp, norm_cfg=dict(type=norm)).double()
        x = double(2, 3, 32, 48)
        found = deploy_form(backbone)(x)
        torch.testing.assert_close(found, backbone.eval()(x), rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize(
        ('suffix', 'precision', 'rewritten'),
        [('.xml', 'int8', False), ('.xml', 'bf16', True), ('.onnx', 'int8', True)],
    )
    def test_openvino_keeps_the_layers_in_int8(self, suffix, precision, rewritten):
        form = deploy_form(small_backbone(), suffix, precision)
        assert any(isinstance(m, DeployDCRM) for m in form.modules()) is rewritten

    @pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
    def test_it_predicts_as_an_estimator_of_mmpose(self, estimator, layout):
        np.random.seed(0)
        sizes = dict(img_shape=(64, 48), input_size=(48, 64), heatmap_size=(12, 16))
        people = get_packed_inputs(2, **sizes)
        form = deploy_form(estimator).to(memory_format=layout)
        with torch.no_grad():
            expected = estimator.test_step(copy.deepcopy(people))
            found = form.test_step(people)
        for one, other in zip(found, expected, strict=True):
            for key in ('keypoints', 'keypoint_scores', 'bboxes'):
                np.testing.assert_allclose(
                    one.pred_instances[key], other.pred_instances[key], rtol=1e-4
                )

    def test_the_model_stays_as_it_is_and_the_form_is_for_inference(self, estimator):
        model = copy.deepcopy(estimator).train()
        form = deploy_form(model)
        assert not any(module.training for module in form.modules())
        for parameter in form.parameters():
            assert not parameter.requires_grad
            parameter.zero_()
        expected = estimator.state_dict()
        torch.testing.assert_close(model.state_dict(), expected, rtol=0, atol=0)
        assert all(module.training for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())

    def test_no_norm_follows_a_convolution(self, estimator):
        form = deploy_form(estimator)
        assert not any(isinstance(module, DCRM) for module in form.modules())
        for module in form.modules():
            if isinstance(module, nn.Sequential):
                kinds = [type(child) for child in module]
                assert (nn.Conv2d, nn.BatchNorm2d) not in pairwise(kinds)

    def test_group_norms_stay(self):
        norm_cfg = dict(type='GN', num_groups=2)
        backbone = small_backbone(growth_rate=4, norm_cfg=norm_cfg).double()
        form = deploy_form(backbone)
        x = double(1, 3, 32, 48)
        torch.testing.assert_close(form(x), backbone.eval()(x), rtol=0, atol=0)

    def test_exception_without_dcrm(self):
        with pytest.raises(ValueError, match='PyramidFusionNeck'):
            deploy_form(small_neck())

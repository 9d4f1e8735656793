"""Convolution, normalisation and ReLU in their two orders."""

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import revert_sync_batchnorm
from torch import nn

from ldcrn_mm.models.conv import conv_norm, preact_conv

from . import plain_ldcrn as plain
from .networks import noise, randomise


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('act', [True, False])
@pytest.mark.parametrize(('kernel', 'stride'), [(1, 1), (3, 1), (3, 2)])
def test_conv_norm_is_the_formula(kernel, stride, act, train):
    module = randomise(conv_norm(5, 4, kernel, stride, act=act)).double().train(train)
    p = weights(module)
    x = noise(2, 5, 8, 6, dtype=torch.float64)
    expected = plain.conv_norm(p, x, kernel, stride, train=train)
    torch.testing.assert_close(module(x), plain.relu(expected) if act else expected)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('kernel', [1, 3])
def test_preact_conv_is_the_formula(kernel, train):
    module = randomise(preact_conv(5, 4, kernel)).double().train(train)
    p = weights(module)
    x = noise(2, 5, 8, 6, dtype=torch.float64)
    normalised = plain.norm(plain.under(p, '0'), x, train)
    expected = plain.conv(plain.under(p, '2'), plain.relu(normalised), kernel)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
def test_the_input_is_left_as_it_is(build):
    x = noise(2, 3, 8, 8)
    before = x.clone()
    build(3, 4, 3)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
def test_convolutions_have_no_bias_and_norms_pytorchs_defaults(build):
    conv, norm = None, None
    for member in build(4, 8, 3):
        conv = member if isinstance(member, nn.Conv2d) else conv
        norm = member if isinstance(member, nn.BatchNorm2d) else norm
    assert conv.bias is None
    assert (norm.eps, norm.momentum, norm.affine) == (1e-5, 0.1, True)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
def test_sync_bn_is_built_and_reverts_to_batch_norm(build):
    module = build(4, 8, 3, norm_cfg=dict(type='SyncBN'))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in module)
    randomise(module)
    reverted = revert_sync_batchnorm(module)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in reverted)
    expected = build(4, 8, 3)
    expected.load_state_dict(module.state_dict())
    x = noise(2, 4, 8, 8)
    torch.testing.assert_close(reverted(x), expected(x))


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
def test_group_norm_is_built_and_runs(build):
    module = build(4, 8, 3, norm_cfg=dict(type='GN', num_groups=2))
    norm = next(m for m in module if isinstance(m, nn.GroupNorm))
    assert norm.num_groups == 2
    assert module(noise(1, 4, 8, 8)).shape == (1, 8, 8, 8)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
def test_norms_can_be_frozen_and_convolutions_stay_trainable(build):
    cfg = dict(type='BN', requires_grad=False, momentum=0.01)
    module = build(4, 8, 3, norm_cfg=cfg)
    for member in module:
        for parameter in member.parameters():
            assert parameter.requires_grad == isinstance(member, nn.Conv2d)
    assert cfg == dict(type='BN', requires_grad=False, momentum=0.01)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
@pytest.mark.parametrize(
    ('cfg', 'error', 'message'),
    [
        ('BN', TypeError, 'dict'),
        (dict(num_groups=2), KeyError, 'type'),
        (dict(type='NoSuchNorm'), KeyError, 'registry'),
    ],
)
def test_exception_for_a_wrong_norm_config(build, cfg, error, message):
    with pytest.raises(error, match=message):
        build(4, 8, 3, norm_cfg=cfg)


def test_folding_by_mmcv_keeps_the_outputs():
    module = nn.Sequential(
        conv_norm(3, 6, 3, 2), *preact_conv(6, 5, 1), *preact_conv(5, 4, 3)
    )
    randomise(module).double().eval()
    x = noise(1, 3, 8, 8, dtype=torch.float64)
    expected = module(x)
    folded = fuse_conv_bn(module)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 1
    torch.testing.assert_close(folded(x), expected)

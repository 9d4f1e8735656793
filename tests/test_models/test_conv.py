"""The two orders of convolution, normalisation and ReLU against the formulas."""

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn

from ldcrn_mm.models.conv import conv_norm, preact_conv

from . import plain_ldcrn as plain
from .networks import noise, randomise, weights_of


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('act', [True, False])
@pytest.mark.parametrize(('kernel', 'stride'), [(1, 1), (3, 1), (3, 2)])
def test_conv_norm_is_the_formula(kernel, stride, act, train):
    module = randomise(conv_norm(5, 4, kernel, stride, act=act)).double().train(train)
    p = weights_of(module)
    x = noise(2, 5, 8, 6, dtype=torch.float64)
    expected = plain.conv_norm(p, x, kernel, stride, train=train)
    torch.testing.assert_close(module(x), plain.relu(expected) if act else expected)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('kernel', [1, 3])
def test_preact_conv_is_the_formula(kernel, train):
    module = randomise(preact_conv(5, 4, kernel)).double().train(train)
    p = weights_of(module)
    x = noise(2, 5, 8, 6, dtype=torch.float64)
    normalised = plain.norm(plain.under(p, '0'), x, train)
    expected = plain.conv(plain.under(p, '2'), plain.relu(normalised), kernel)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize('build', [conv_norm, preact_conv])
@pytest.mark.parametrize(
    ('norm_cfg', 'kind', 'trainable'),
    [
        (dict(type='BN'), nn.BatchNorm2d, True),
        (dict(type='SyncBN'), nn.SyncBatchNorm, True),
        (dict(type='GN', num_groups=2), nn.GroupNorm, True),
        (dict(type='BN', requires_grad=False), nn.BatchNorm2d, False),
    ],
)
def test_norm_cfg_reaches_the_normalisation_alone(build, norm_cfg, kind, trainable):
    module = build(4, 8, 3, norm_cfg=norm_cfg)
    norm, conv = (
        next(m for m in module if isinstance(m, k)) for k in (kind, nn.Conv2d)
    )
    assert {p.requires_grad for p in norm.parameters()} == {trainable}
    assert (conv.bias, conv.weight.requires_grad) == (None, True)


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

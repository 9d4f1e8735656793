"""The neck against the formulas, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import nn

from ldcrn_mm.models import PyramidFusionNeck

from . import plain_ldcrn as plain
from .networks import noise, randomise, small_neck


def maps(in_channels, skip_channels, height=32, width=16, dtype=torch.float64):
    skips = [
        noise(2, c, height, width, seed=10 + i, dtype=dtype)
        for i, c in enumerate(skip_channels)
    ]
    pyramid = [
        noise(2, c, height >> i, width >> i, seed=i, dtype=dtype)
        for i, c in enumerate(in_channels)
    ]
    return (*skips, *pyramid)


def test_smoke_from_the_registry():
    neck = MODELS.build(dict(type='PyramidFusionNeck'))
    assert isinstance(neck, PyramidFusionNeck)
    feats = maps((32, 64, 128, 256), (64, 32, 32), dtype=torch.float32)
    (fused,) = neck(feats)
    assert fused.shape == (2, 32, 32, 16)


def test_the_oracles_bilinear_upsampling_is_that_without_aligned_corners():
    x = noise(2, 3, 5, 4, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
    torch.testing.assert_close(plain.bilinear_twice(x), expected)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('in_channels', 'skip_channels', 'out_channels'),
    [
        ((32, 64, 128, 256), (64, 32, 32), 32),
        ((4, 6, 8), (6, 4), 4),
        ((4, 6), (3,), 4),
        ((4,), (3, 4), 4),
        ([5, 3, 2, 2, 7], [6, 5, 5, 5], 5),
    ],
)
def test_neck_is_the_formula(in_channels, skip_channels, out_channels, train):
    neck = randomise(PyramidFusionNeck(in_channels, skip_channels, out_channels))
    neck.double().train(train)
    p = {name: tensor.clone() for name, tensor in neck.state_dict().items()}
    feats = maps(in_channels, skip_channels)
    (fused,) = neck(feats)
    torch.testing.assert_close(fused, plain.neck(p, feats, len(skip_channels), train))


def test_the_maps_are_left_as_they_are():
    feats = maps((4, 6, 8), (6, 4), dtype=torch.float32)
    before = [x.clone() for x in feats]
    small_neck()(feats)
    assert all(torch.equal(x, y) for x, y in zip(feats, before))


def test_maps_come_in_any_sequence():
    feats = maps((4, 6, 8), (6, 4), dtype=torch.float32)
    neck = small_neck()
    torch.testing.assert_close(neck(list(feats)), neck(feats))


def test_laterals_have_a_bias_and_the_stem_projection_has_none():
    neck = small_neck()
    assert all(conv.bias is not None for conv in neck.laterals)
    assert neck.stem_projection[0].bias is None


def test_norm_cfg_reaches_the_stem_projection():
    neck = small_neck(norm_cfg=dict(type='SyncBN'))
    assert isinstance(neck.stem_projection[1], nn.SyncBatchNorm)


@pytest.mark.parametrize(
    ('in_channels', 'skip_channels', 'message'),
    [
        ((4, 6, 8), (6,), r'5 maps.*\(6, 4, 4, 6, 8\).*2 of them.*4 maps.*6, 4, 6, 8'),
        ((4, 6, 8), (6, 4, 4), r'but got 6 maps'),
        ((4, 8, 6), (6, 4), r'\(6, 4, 4, 6, 8\).*\(6, 4, 4, 8, 6\)'),
        ((4, 6, 8), (6, 1), r'\(6, 4, 4, 6, 8\).*\(6, 1, 4, 6, 8\)'),
    ],
)
def test_exception_for_other_maps_than_declared(in_channels, skip_channels, message):
    neck = small_neck()
    with pytest.raises(ValueError, match=message):
        neck(maps(in_channels, skip_channels))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(out_channels=64), r'out_channels=64, but they are \(32, 32, 32\)'),
        (dict(skip_channels=(64, 32, 16)), r'out_channels=32.*\(32, 16, 32\)'),
        (dict(in_channels=(16, 64)), r'out_channels=32.*\(32, 32, 16\)'),
        (dict(in_channels=()), r'needs a pyramid.*in_channels=\(\)'),
        (dict(skip_channels=()), r'at least the stem.*skip_channels=\(\)'),
    ],
)
def test_exception_for_widths_that_cannot_be_added(settings, message):
    with pytest.raises(ValueError, match=message):
        PyramidFusionNeck(**settings)

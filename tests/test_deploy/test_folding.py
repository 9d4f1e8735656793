"""Folding, against the layers as they were."""

import pytest
import torch
from torch import nn

from ldcrn_mm.deploy.folding import (
    PreactConvOfParts,
    conv_from,
    fold_sequential,
    is_foldable,
    norm_of_channels,
)

from ..test_models.networks import noise, randomise

WIDTHS = [5, 2, 3]


def double(*shape, seed=0):
    return noise(*shape, seed=seed, dtype=torch.float64)


def lively(module):
    return randomise(module.double()).eval()


@pytest.mark.parametrize(
    ('norm', 'foldable'),
    [
        (nn.BatchNorm2d(4), True),
        (nn.SyncBatchNorm(4), True),
        (nn.BatchNorm2d(4, track_running_stats=False), False),
        (nn.GroupNorm(2, 4), False),
        (nn.Conv2d(4, 4, 1), False),
    ],
)
def test_a_norm_is_foldable_where_it_is_a_scale_and_a_shift(norm, foldable):
    assert is_foldable(norm) is foldable


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('affine', [True, False])
def test_a_norm_after_a_convolution_is_folded(bias, affine):
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias)
    layers = lively(nn.Sequential(conv, nn.BatchNorm2d(4, affine=affine), nn.ReLU()))
    folded = fold_sequential(layers)
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.ReLU]
    x = double(2, 3, 8, 6)
    torch.testing.assert_close(folded(x), layers(x), rtol=1e-12, atol=1e-12)


def test_a_norm_before_a_convolution_stays():
    layers = lively(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1)))
    assert list(fold_sequential(layers)) == list(layers)


def test_a_norm_after_a_relu_stays():
    layers = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))
    assert list(fold_sequential(layers)) == list(layers)


def test_what_is_no_batch_norm_stays():
    layers = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)))
    assert list(fold_sequential(layers)) == list(layers)


def test_folding_leaves_its_layers_as_they_are():
    layers = lively(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    fold_sequential(layers)
    torch.testing.assert_close(dict(layers.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('size', [1, 3])
@pytest.mark.parametrize('widths', [WIDTHS, [10]])
def test_parts_sum_to_the_convolution_of_their_concatenation(widths, size, bias):
    norm = lively(nn.BatchNorm2d(10, eps=1e-3))
    conv = lively(nn.Conv2d(10, 4, size, padding=size // 2, bias=bias))
    maps = [double(2, width, 4, 5, seed=width) for width in widths]
    kept = [x.clone() for x in maps]
    expected = conv(norm(torch.cat(maps, 1)).relu())
    found = PreactConvOfParts(norm, conv, widths)(*maps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(maps, kept, rtol=0, atol=0)


@pytest.mark.parametrize('affine', [True, False])
def test_a_norm_of_some_channels_is_those_of_the_norm_of_all(affine):
    norm = lively(nn.BatchNorm2d(10, eps=1e-2, affine=affine))
    x = double(2, 10, 3, 3)
    part = norm_of_channels(norm, 2, 7)
    torch.testing.assert_close(part(x[:, 2:7]), norm(x)[:, 2:7], rtol=1e-12, atol=0)


@pytest.mark.parametrize('size', [1, 3])
def test_a_convolution_has_the_weights_given_and_keeps_the_size(size):
    weight, bias = double(4, 3, size, size), double(4, seed=1)
    x = double(1, 3, 5, 6)
    expected = nn.functional.conv2d(x, weight, bias, padding=size // 2)
    torch.testing.assert_close(conv_from(weight, bias)(x), expected)
    assert conv_from(weight, None).bias is None

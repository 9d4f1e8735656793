"""Convolutions by minimal filtering. PyTorch's convolution is the oracle."""

import pytest
import torch
from torch import nn

from ldcrn_mm.deploy import deploy_form, open_runtime
from ldcrn_mm.deploy.export import export_network
from ldcrn_mm.deploy.winograd import RULES, Rule, WinogradConv, use_winograd

from ..test_models.networks import noise
from .conftest import IMAGES, SUFFIXES


def conv(channels=5, out_channels=7, kernel_size=3, padding=1, **options):
    return nn.Conv2d(channels, out_channels, kernel_size, padding=padding, **options)


def double(height, width):
    return noise(2, 5, height, width, dtype=torch.float64)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize(
    ('both_axes', 'size'), [(True, (8, 12)), (True, (4, 4)), (False, (8, 11))]
)
def test_outputs_are_those_of_the_convolution(both_axes, size, bias):
    plain, x = conv(bias=bias).double(), double(*size)
    expected = plain(x)
    other = WinogradConv(plain, both_axes)
    plain.weight.data.zero_()  # it has weights of its own
    torch.testing.assert_close(other(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ('both_axes', 'size'), [(True, (8, 10)), (True, (6, 8)), (False, (6, 8))]
)
def test_other_sides_and_small_maps_are_computed_directly(both_axes, size):
    plain, x = conv().double(), double(*size)
    found = WinogradConv(plain, both_axes)(x)
    torch.testing.assert_close(found, plain(x), rtol=0, atol=0)
    small = WinogradConv(plain, both_axes, least_area=65)
    x = double(8, 8)
    torch.testing.assert_close(small(x), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('options', 'replaced'),
    [
        (dict(), True),
        (dict(bias=False), True),
        (dict(channels=4), False),
        (dict(out_channels=4), False),
        (dict(kernel_size=1, padding=0), False),
        (dict(padding=0), False),
        (dict(padding='same'), False),
        (dict(stride=2), False),
        (dict(dilation=2), False),
        (dict(channels=6, out_channels=6, groups=2), False),
    ],
)
def test_wide_convolutions_of_stride_1_are_replaced(options, replaced):
    layers = nn.Sequential(nn.ReLU(), nn.Sequential(conv(**options)))
    use_winograd(layers, Rule(both_axes=True, channels=5, area=0))
    assert isinstance(layers[1][0], WinogradConv) is replaced


@pytest.fixture(params=SUFFIXES)
def form(request, monkeypatch, estimator):
    """The suffix, and the form of the tiny estimator for it, with a lower bar."""
    rule = RULES[request.param]._replace(channels=4, area=16)
    monkeypatch.setitem(RULES, request.param, rule)
    form = deploy_form(estimator, request.param)
    assert any(isinstance(part, WinogradConv) for part in form.modules())
    return request.param, form


def relative_error(found, expected):
    return abs(found - expected).max() / abs(expected).max()


def test_the_deploy_form_agrees(form, heatmaps):
    with torch.no_grad():
        found = form[1](IMAGES, None, mode='tensor').numpy()
    assert relative_error(found, heatmaps) < 1e-5


@pytest.mark.slow
def test_the_exported_file_agrees(form, heatmaps, tmp_path):
    suffix, network = form
    runtime = open_runtime(export_network(network, tmp_path / f'x{suffix}'))
    for count in (1, 3):
        found = runtime(IMAGES[:count].numpy())
        assert relative_error(found, heatmaps[:count]) < 1e-5

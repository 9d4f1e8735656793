"""The products whose rate is taken, and which is the best."""

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from torch import nn

from ldcrn_mm.benchmark import rate
from ldcrn_mm.benchmark.rounds import Measurement
from ldcrn_mm.benchmark.worker import Contender


@pytest.mark.parametrize('channels', [64, 128])
def test_multiply_adds_of_a_convolution(channels):
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    counted = FlopAnalyzer(layer, torch.zeros(1, channels, 64, 48)).total()
    for layout in ('channels-last', 'blocked'):
        name = f'3x3 convolution {channels}-{channels}, {layout}'
        assert rate.multiply_adds(name) == counted


def test_multiply_adds_of_a_product_of_matrices():
    assert rate.multiply_adds(rate.MATRIX) == 1024 * 1024 * 1024


@pytest.mark.parametrize('precision', rate.DTYPES)
@pytest.mark.parametrize('product', rate.PRODUCTS)
def test_a_product_is_computed_in_its_precision(product, precision):
    if product not in rate.contender(precision, 'cpu').cases:
        pytest.skip(f'this CPU does not compute in {precision}')
    call = rate.build(precision, 'cpu')(product)
    result = call()
    expected = (1024, 1024)
    if product != rate.MATRIX:
        expected = (1, rate.CONVOLUTIONS[product], 64, 48)
    assert result.shape == expected
    assert result.dtype == rate.DTYPES[precision]
    assert not result.requires_grad
    assert (result.layout == torch._mkldnn) == product.endswith('blocked')


def test_on_a_gpu_there_is_no_blocked_layout():
    names = rate.contender('fp16', 'cuda').cases
    assert not any('blocked' in name for name in names)
    assert len(rate.contender('fp32', 'cpu').cases) == 5


@pytest.mark.parametrize('native', [True, False])
def test_the_blocked_layout_is_left_out_where_it_cannot_be_computed(
    monkeypatch, native
):
    reduced = torch.bfloat16, torch.float16
    monkeypatch.setattr(rate, 'cpu_computes_in', lambda x: native or x not in reduced)
    cases = {name: rate.contender(name, 'cpu').cases for name in rate.DTYPES}

    assert cases['fp32'] == rate.PRODUCTS
    left = [name for name in rate.PRODUCTS if native or 'blocked' not in name]
    assert list(cases['bf16']) == list(cases['fp16']) == left


def test_the_best_is_that_with_the_most_multiply_adds_a_second():
    small, large, *_ = (name for name in rate.PRODUCTS if 'blocked' in name)
    measured = Measurement(
        Contender('x', None),
        # The larger has four times the work.
        times={small: [1.0, 1.0, 1.0], large: [2.0, 2.0, 20.0]},
    )
    name, values = rate.best_rate(measured)
    assert name == large
    work = 128 * 128 * 9 * 64 * 48
    assert values == [work / 2, work / 2, work / 20]


def test_nothing_measured_has_no_best():
    assert rate.best_rate(Measurement(Contender('x', None))) is None

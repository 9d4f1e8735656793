"""The check of an exported file, on runtimes that are made to agree or not."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from ldcrn_mm.deploy.agreement import compare

from .conftest import noise


class Returns:
    """Stands in for a runtime: whatever comes in, these come out."""

    precision = 'fp32'
    decoded = False

    def __init__(self, *outputs):
        self.outputs = outputs[0] if len(outputs) == 1 else outputs
        self.decoded = len(outputs) == 2

    def __call__(self, images):
        return self.outputs


class Model:
    """Stands in for an estimator with these heatmaps for an image each."""

    def __init__(self, estimator, heatmaps):
        self.head = estimator.head
        self.heatmaps = iter(heatmaps)

    def __call__(self, images, data_samples, mode):
        return torch.from_numpy(next(self.heatmaps)[None])


def peak(y, x, height=16, width=12, right=0.5, left=0.25):
    """(1, 1, H, W) with the maximum 1 at a place, and unlike neighbours."""
    heatmap = np.zeros((1, 1, height, width), np.float32)
    heatmap[0, 0, y, x] = 1
    heatmap[0, 0, y, x + 1], heatmap[0, 0, y, x - 1] = right, left
    heatmap[0, 0, y + 1, x], heatmap[0, 0, y - 1, x] = 0.5, 0.25
    return heatmap


def with_codec(decoder):
    """Stands in for an estimator of which only the codec is asked for."""
    return SimpleNamespace(head=SimpleNamespace(decoder=decoder))


def agreement(estimator, expected, *found, precision='fp32'):
    runtime = Returns(*found)
    runtime.precision = precision
    return compare(Model(estimator, expected), runtime, noise(len(expected), 3, 64, 48))


def test_the_same_heatmaps_agree(estimator, expected):
    found = compare(estimator, Returns(expected), noise(3, 3, 64, 48))

    assert found.holds
    assert found.heatmap_error < 1e-6
    assert (found.num_keypoints, found.num_moved) == (51, 0)
    assert '0 of 51 keypoints moved' in str(found)


def test_the_error_is_relative_to_the_largest_value(estimator):
    expected = 10 * peak(5, 5)
    found = agreement(estimator, expected, expected + np.float32(0.002))

    assert found.heatmap_error == pytest.approx(2e-4, rel=1e-2)
    assert not found.holds
    assert agreement(estimator, expected, expected + 0.002, precision='fp16').holds


def test_a_maximum_elsewhere_is_a_disagreement_even_for_a_small_error(estimator):
    expected = np.concatenate([peak(5, 5), 1e6 * peak(3, 3)])
    other = np.concatenate([peak(5, 7), 1e6 * peak(3, 3)])
    expected, other = (maps.transpose(1, 0, 2, 3) for maps in (expected, other))

    found = agreement(estimator, expected, other)

    assert found.heatmap_error < 1e-5
    assert found.largest_move == 8  # two pixels of the heatmap
    assert found.mean_move == 4


def test_a_tie_may_go_either_way(estimator):
    expected = peak(5, 5, right=0.3, left=0.3)
    found = agreement(estimator, expected, peak(5, 5, right=0.3 + 1e-6, left=0.3))

    assert (found.num_moved, found.num_wrong) == (1, 0)
    assert found.holds


@pytest.mark.parametrize('codec', [UDPHeatmap, partial(MSRAHeatmap, unbiased=True)])
def test_a_codec_that_magnifies_rounding_is_no_disagreement(codec):
    decoder = codec(input_size=(48, 64), heatmap_size=(12, 16), sigma=2)
    expected = noise(32, 17, 16, 12, seed=2).numpy()
    rounded = expected + 1e-6 * noise(32, 17, 16, 12, seed=3).numpy()

    found = agreement(with_codec(decoder), expected, rounded)

    assert found.num_moved > 0
    assert (found.num_wrong, found.holds) == (0, True)


@pytest.mark.parametrize('codec', [UDPHeatmap, partial(MSRAHeatmap, unbiased=True)])
def test_a_peak_elsewhere_is_wrong_for_codecs_that_fit_it(codec):
    decoder = codec(input_size=(48, 64), heatmap_size=(12, 16), sigma=2)
    y, x = np.mgrid[:16, :12]
    peaks = [np.exp(-((x - a) ** 2 + (y - 8.3) ** 2) / 8) for a in (5.2, 5.22)]
    expected, other = (peak[None, None].astype(np.float32) for peak in peaks)
    keypoints, scores = decoder.decode(other[0])

    found = agreement(with_codec(decoder), expected, keypoints, scores)

    assert (found.num_moved, found.num_wrong, found.holds) == (1, 1, False)


def test_keypoints_that_the_graph_decoded_wrongly_are_found(estimator):
    expected = peak(5, 5)
    keypoints, scores = estimator.head.decoder.decode(expected[0])

    right = agreement(estimator, expected, keypoints, scores)
    wrong = agreement(estimator, expected, keypoints + np.array([2, 0]), scores)
    low = agreement(estimator, expected, keypoints, 0.9 * scores)

    assert right.holds
    assert (wrong.num_moved, wrong.num_wrong, wrong.holds) == (1, 1, False)
    assert (low.num_moved, low.holds) == (0, False)
    assert '1 of them not for a tie' in str(wrong)


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_never_agrees(estimator, precision, value):
    expected = peak(5, 5)

    found = agreement(
        estimator, expected, np.full_like(expected, value), precision=precision
    )

    assert not found.holds


def test_another_number_of_heatmaps_is_refused(estimator):
    expected = peak(5, 5)

    with pytest.raises(ValueError, match=r'\(1, 2, 16, 12\), the model \(1, 1, 16, 12'):
        agreement(estimator, expected, expected.repeat(2, axis=1))

"""The decoding in the graph. MMPose's codec is the oracle."""

import numpy as np
import openvino
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.deploy.decoding import HeatmapDecoder

WIDTH, HEIGHT = 6, 7
SIZES = dict(input_size=(4 * WIDTH, 2 * HEIGHT), heatmap_size=(WIDTH, HEIGHT), sigma=2)
CODECS = [
    MSRAHeatmap(**SIZES),
    MSRAHeatmap(**SIZES, unbiased=True),
    MSRAHeatmap(**SIZES, unbiased=True, blur_kernel_size=5),
]
codecs = pytest.mark.parametrize('codec', CODECS, ids=['quarter', 'dark', 'dark5'])


def heatmaps():
    """(1, K, H, W): the maximum once at every place, flat ones, negative ones."""
    count = WIDTH * HEIGHT
    random = np.random.default_rng(0).uniform(0.1, 1, (count + 4, HEIGHT, WIDTH))
    for i in range(count):
        random[i, i // WIDTH, i % WIDTH] = 2
    random[-4] = 0.5  # the same everywhere: the first
    random[-3] = 0
    random[-2] *= -1
    random[-1, 3, 2:5] = 2  # three maxima, of which the first counts
    return random[None].astype(np.float32)


def decoded(codec, maps):
    keypoints, scores = zip(*(codec.decode(each) for each in maps))
    return np.concatenate(keypoints), np.concatenate(scores)


@codecs
def test_borders_ties_and_negative_heatmaps_decode_like_the_codec(codec):
    maps = np.concatenate([heatmaps(), heatmaps()[:, ::-1]])
    expected = decoded(codec, maps)
    keypoints, scores = HeatmapDecoder.of_codec(codec)(torch.from_numpy(maps))
    error = 1e-4 if codec.unbiased else 0  # of the logarithms
    np.testing.assert_allclose(keypoints.numpy(), expected[0], rtol=error, atol=error)
    np.testing.assert_array_equal(scores.numpy(), expected[1])


class Alone(torch.nn.Module):
    """Makes heatmaps of an image, so that the decoder alone can be exported."""

    def __init__(self, codec):
        super().__init__()
        self.decoder = HeatmapDecoder.of_codec(codec)

    def forward(self, images):
        return self.decoder(images[:, :1] * torch.from_numpy(heatmaps()))


@pytest.mark.slow
@codecs
def test_both_runtimes_decode_like_the_codec(tmp_path, codec):
    file = tmp_path / 'decoder.onnx'
    torch.onnx.export(
        Alone(codec).eval(),
        (torch.ones(2, 3, HEIGHT, WIDTH),),
        file,
        output_names=['keypoints', 'scores'],
        dynamic_shapes=dict(images={0: torch.export.Dim('batch')}),
        dynamo=True,
        verbose=False,
    )
    xml = file.with_suffix('.xml')
    openvino.save_model(openvino.convert_model(file), xml, compress_to_fp16=False)
    expected = decoded(codec, heatmaps())
    for path in (file, xml):
        found = open_runtime(path)(np.ones((1, 3, HEIGHT, WIDTH), np.float32))
        error = 1e-4 if codec.unbiased else 1e-7
        np.testing.assert_allclose(found[0], expected[0], rtol=error, atol=error)
        np.testing.assert_allclose(found[1], expected[1])


def test_exception_for_codecs_that_decode_in_another_way():
    with pytest.raises(ValueError, match='is UDPHeatmap'):
        HeatmapDecoder.of_codec(UDPHeatmap((24, 28), (6, 7)))

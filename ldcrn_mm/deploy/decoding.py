"""Decoding of heatmaps as a module, so that it can be part of a graph."""

import torch
from mmpose.codecs import MSRAHeatmap
from torch import Tensor, nn


class QuarterPixelDecoder(nn.Module):
    """The maximum of each heatmap, moved by a quarter pixel to its higher side.

    It computes what MMPose's ``MSRAHeatmap`` decodes, borders included: the
    move along one axis needs the maximum to be two pixels from the lower and
    one from the upper border of this axis and one pixel from the lower border
    of the other. Where no value is positive, the keypoint is at -1 before it
    is scaled.

    Shape: heatmaps ``(N, K, H, W)`` to keypoints ``(N, K, 2)``, x and y in
    pixels of the input, and scores ``(N, K)``.

    Args:
        scale: input pixels a heatmap pixel, along x and y.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        super().__init__()
        self.register_buffer('scale', torch.tensor(scale, dtype=torch.float32))

    @classmethod
    def of_codec(cls, codec: object) -> 'QuarterPixelDecoder':
        """The decoder that does what a codec of MMPose does.

        Raises:
            ValueError: where the codec decodes in another way.
        """
        if not isinstance(codec, MSRAHeatmap) or codec.unbiased:
            kind = type(codec).__name__
            detail = ' with unbiased=True' if isinstance(codec, MSRAHeatmap) else ''
            raise ValueError(
                'In the graph heatmaps are decoded as MSRAHeatmap with unbiased=False '
                f'does, but the codec of the head is {kind}{detail}. Export without '
                'decoding; the inference API decodes then.'
            )
        x, y = codec.scale_factor
        return cls((float(x), float(y)))

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and scores."""
        height, width = heatmaps.shape[-2:]
        flat = heatmaps.flatten(2)
        scores, index = flat.max(dim=2)
        y, x = index // width, index % width
        dx = self._higher_side(flat, index, 1, (x > 1) & (x < width - 1) & (y > 0))
        dy = self._higher_side(flat, index, width, (y > 1) & (y < height - 1) & (x > 0))
        cells = torch.stack([x + dx / 4, y + dy / 4], dim=2)
        return cells.where(scores[..., None] > 0, -1.0) * self.scale, scores

    @staticmethod
    def _higher_side(flat: Tensor, index: Tensor, step: int, inside: Tensor) -> Tensor:
        """1 where the next value is the higher neighbour, -1 where the last is."""
        last = flat.shape[2] - 1
        after = flat.gather(2, (index + step).clamp(max=last)[..., None])
        before = flat.gather(2, (index - step).clamp(min=0)[..., None])
        return torch.sign(after - before)[..., 0] * inside

"""Decoding of heatmaps as a module, so that it can be part of a graph.

References:
    Zhang et al.: "Distribution-aware coordinate representation for human pose
    estimation" (DARK), CVPR 2020.
"""

import cv2
import torch
import torch.nn.functional as F
from mmpose.codecs import MSRAHeatmap
from torch import Tensor, nn


class HeatmapDecoder(nn.Module):
    """The maximum of each heatmap, refined to fractions of a pixel.

    It computes what MMPose's ``MSRAHeatmap`` decodes, borders included: with
    ``unbiased=False`` the maximum moves by a quarter pixel to its higher side, with
    ``unbiased=True`` to the summit of a Gaussian around it (DARK). Where no value is
    positive, the keypoint is at -1 before it is scaled.

    Shape: heatmaps ``(N, K, H, W)`` to keypoints ``(N, K, 2)``, x and y in
    pixels of the input, and scores ``(N, K)``.

    Args:
        scale: input pixels a heatmap pixel, along x and y.
        blur_kernel_size: of DARK. Defaults to the quarter pixel.
    """

    def __init__(
        self, scale: tuple[float, float], blur_kernel_size: int | None = None
    ) -> None:
        super().__init__()
        self.register_buffer('scale', torch.tensor(scale, dtype=torch.float32))
        self.taps: list[float] | None = None
        if blur_kernel_size:
            self.taps = cv2.getGaussianKernel(blur_kernel_size, 0).ravel().tolist()

    @classmethod
    def of_codec(cls, codec: object) -> 'HeatmapDecoder':
        """The decoder that does what a codec of MMPose does.

        Raises:
            ValueError: if the codec decodes in another way.
        """
        if not isinstance(codec, MSRAHeatmap):
            raise ValueError(
                'The graph can decode heatmaps as MSRAHeatmap does, but the codec of '
                f'the head is {type(codec).__name__}. Export without decoding. The '
                'inference API then decodes.'
            )
        x, y = codec.scale_factor
        blur_kernel_size = codec.blur_kernel_size if codec.unbiased else None
        return cls((float(x), float(y)), blur_kernel_size)

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and scores."""
        scores, index = heatmaps.flatten(2).max(dim=2)
        width = heatmaps.shape[3]
        maximum = torch.stack([index % width, index // width], dim=2)
        refine = self._summit if self.taps else self._quarter
        cells = maximum + refine(heatmaps, index, *maximum.unbind(2))
        return cells.where(scores[..., None] > 0, -1.0) * self.scale, scores

    def _quarter(self, heatmaps: Tensor, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
        height, width = heatmaps.shape[2:]

        def higher_side(step: int) -> Tensor:
            after, before = _values(heatmaps, index, (step, -step))
            return torch.sign(after - before) / 4

        return torch.stack(
            [
                higher_side(1) * ((x > 1) & (x < width - 1) & (y > 0)),
                higher_side(width) * ((y > 1) & (y < height - 1) & (x > 0)),
            ],
            dim=2,
        )

    def _summit(self, heatmaps: Tensor, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """One step of Newton's method on the logarithm."""
        height, width = heatmaps.shape[2:]
        logs = self._blurred(heatmaps).clamp(min=1e-10).log()

        def at(*steps: int) -> list[Tensor]:
            return _values(logs, index, steps)

        middle, right, left, below, above = at(0, 1, -1, width, -width)
        right2, left2, below2, above2 = at(2, -2, 2 * width, -2 * width)
        corners = at(width + 1, 1 - width, width - 1, -width - 1)
        dx, dy = (right - left) / 2, (below - above) / 2
        dxx = (right2 - 2 * middle + left2) / 4
        dyy = (below2 - 2 * middle + above2) / 4
        dxy = (corners[0] - corners[1] - corners[2] + corners[3]) / 4
        determinant = dxx * dyy - dxy * dxy
        inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
        valid = inside & (determinant != 0)
        move = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=2)
        move = move / determinant.where(valid, 1.0)[..., None]
        return move.where(valid[..., None], 0.0)

    def _blurred(self, heatmaps: Tensor) -> Tensor:
        """With the old maximum. No convolution, which int8 would round."""
        height, width = heatmaps.shape[2:]
        border = len(self.taps) // 2
        padded, taps = F.pad(heatmaps, [border] * 4), [*enumerate(self.taps)]
        rows = sum(tap * padded[:, :, i : i + height] for i, tap in taps)
        blurred = sum(tap * rows[..., i : i + width] for i, tap in taps)
        return blurred * (heatmaps.amax((2, 3)) / blurred.amax((2, 3)))[..., None, None]


def _values(heatmaps: Tensor, index: Tensor, steps: tuple[int, ...]) -> list[Tensor]:
    """Values some steps from a place in each flat heatmap, (N, K) each."""
    flat = heatmaps.flatten(2)
    places = ((index + step).clamp(0, flat.shape[2] - 1) for step in steps)
    return [flat.gather(2, place[..., None])[..., 0] for place in places]

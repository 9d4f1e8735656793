"""The part of an estimator that goes into a file."""

from collections.abc import Sequence

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn

from .decoding import QuarterPixelDecoder
from .runtime import DECODED_OUTPUTS


class ExportableNetwork(nn.Module):
    """Backbone, neck and head of an estimator, and perhaps its decoding.

    Shape: normalised images ``(N, 3, H, W)`` to what the head returns (of a
    heatmap head: ``(N, K, H/4, W/4)``), or with ``decode`` to keypoints
    ``(N, K, 2)`` in pixels of the image and scores ``(N, K)``.

    Args:
        model: the estimator; is put into evaluation mode.
        decode: go on to keypoints, as the codec of the head decodes them.

    Raises:
        ValueError: where the codec decodes in a way that is not built here.
    """

    def __init__(self, model: BasePoseEstimator, decode: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.decoder = (
            QuarterPixelDecoder.of_codec(model.head.decoder) if decode else None
        )

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Heatmaps, or keypoints and scores."""
        outputs = self.model(images, None, mode='tensor')
        return outputs if self.decoder is None else self.decoder(outputs)

    @torch.no_grad()
    def output_names(self, images: Tensor) -> Sequence[str]:
        """Names for what ``forward`` returns for such images."""
        if self.decoder is not None:
            return DECODED_OUTPUTS
        outputs = self(images)
        if isinstance(outputs, Tensor):
            return ('heatmaps',)
        return tuple(f'output{i}' for i in range(len(outputs)))


def input_size_of(model: BasePoseEstimator) -> tuple[int, int]:
    """(width, height) of the images that the codec of an estimator expects.

    Raises:
        ValueError: where the estimator has no codec.
    """
    decoder = getattr(model.head, 'decoder', None)
    if decoder is None:
        raise ValueError('The head has no decoder that knows the size of the images.')
    width, height = decoder.input_size
    return int(width), int(height)

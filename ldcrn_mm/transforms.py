"""The two transforms that the training pipelines need beside MMPose's."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ClippedGaussianBBoxTransform(BaseTransform):
    """Resizes and rotates each box by clipped normal draws.

    The size is multiplied by ``clip(N(1, s), 1 - s, 1 + s)``, so that about a
    third of the boxes sits at the ends; with ``rotation_prob`` the box is
    turned by ``clip(N(0, r), -2 r, 2 r)``. MMPose's ``RandomBBoxTransform``
    cuts a normal distribution at one sigma instead of clipping it, so no
    choice of its arguments draws the same.

    Required keys: ``bbox_scale``, shape (N, 2).
    Modified keys: ``bbox_scale``. Added: ``bbox_rotation``, (N,), degrees.

    Args:
        scale_sigma: standard deviation and limit of the size factor, ``s``.
        rotation_sigma: standard deviation of the angle in degrees, ``r``.
        rotation_prob: probability of a rotation.

    Raises:
        ValueError: where the arguments are outside their ranges.
    """

    def __init__(
        self, scale_sigma: float, rotation_sigma: float, rotation_prob: float = 0.6
    ) -> None:
        if not (0 <= scale_sigma < 1 and rotation_sigma >= 0):
            raise ValueError(
                'Expected 0 <= scale_sigma < 1 and rotation_sigma >= 0, but got '
                f'{scale_sigma} and {rotation_sigma}.'
            )
        if not 0 <= rotation_prob <= 1:
            raise ValueError(f'rotation_prob={rotation_prob} is no probability.')
        self.scale_sigma = scale_sigma
        self.rotation_sigma = rotation_sigma
        self.rotation_prob = rotation_prob

    @cache_randomness
    def _draw(self, num_boxes: int) -> tuple[np.ndarray, np.ndarray]:
        """Size factors (N, 1) and angles in degrees (N,)."""
        factor = 1 + self.scale_sigma * np.random.randn(num_boxes, 1).clip(-1, 1)
        angle = self.rotation_sigma * np.random.randn(num_boxes).clip(-2, 2)
        turned = np.random.rand(num_boxes) < self.rotation_prob
        return factor.astype(np.float32), np.where(turned, angle, 0).astype(np.float32)

    def transform(self, results: dict) -> dict:
        """Draws once for each box."""
        factor, angle = self._draw(len(results['bbox_scale']))
        results['bbox_scale'] = results['bbox_scale'] * factor
        results['bbox_rotation'] = angle
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale_sigma={self.scale_sigma}, '
            f'rotation_sigma={self.rotation_sigma}, '
            f'rotation_prob={self.rotation_prob})'
        )


@TRANSFORMS.register_module()
class KeypointsFromZero(BaseTransform):
    """Counts keypoints from zero, as the pixels of the picture do.

    MPII's annotations count from one, as MATLAB does. The original subtracts
    one from a person's centre and from the keypoints; of these, MMPose 1.x's
    ``MpiiDataset`` does so to the centre only, so its training targets lie one
    pixel of the photograph to the lower right. Testing needs nothing:
    ``MpiiPCKAccuracy`` adds one to the predictions.

    Required and modified keys: ``keypoints``, shape (N, K, 2).

    References:
        Xiao et al.'s answer that MPII counts from one, after asking its
        authors: microsoft/human-pose-estimation.pytorch#110. MMPose 0.x
        subtracted one too: open-mmlab/mmpose#55.
    """

    def transform(self, results: dict) -> dict:
        """Leaves the array of the caller alone."""
        results['keypoints'] = results['keypoints'] - 1
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'

"""The transforms that the training pipelines need beside MMPose's."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ClippedGaussianBBoxTransform(BaseTransform):
    """Resizes and rotates each box by clipped normal draws.

    The size is multiplied by ``clip(N(1, s), 1 - s, 1 + s)``, so about a third of the
    boxes sits at the ends. With ``rotation_prob`` the box is turned by
    ``clip(N(0, r), -2 r, 2 r)``. MMPose's ``RandomBBoxTransform`` truncates a normal
    distribution at one sigma instead of clipping it, so no choice of its arguments
    draws the same.

    Required keys: ``bbox_scale``, shape (N, 2).
    Modified keys: ``bbox_scale``. Added: ``bbox_rotation``, (N,), degrees.

    Args:
        scale_sigma: standard deviation and limit of the size factor, ``s``.
        rotation_sigma: standard deviation of the angle in degrees, ``r``.
        rotation_prob: probability of a rotation.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self, scale_sigma: float, rotation_sigma: float, rotation_prob: float = 0.6
    ) -> None:
        if not (0 <= scale_sigma < 1 and rotation_sigma >= 0):
            raise ValueError(
                'scale_sigma must be in [0, 1) and rotation_sigma at least 0, got '
                f'{scale_sigma} and {rotation_sigma}'
            )
        if not 0 <= rotation_prob <= 1:
            raise ValueError(f'rotation_prob must be in [0, 1], got {rotation_prob}')
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

    MPII's annotations count from one, as MATLAB does. The original subtracts one from
    a person's centre and keypoints, MMPose 1.x's ``MpiiDataset`` from the centre only.
    So MMPose's training targets lie one pixel of the photograph too far to the lower
    right. Testing needs nothing: ``MpiiPCKAccuracy`` adds one to the predictions.

    Required and modified keys: ``keypoints``, shape (N, K, 2).

    References:
        Xiao et al. asked MPII's authors:
        microsoft/human-pose-estimation.pytorch#110. MMPose 0.x subtracted one too:
        open-mmlab/mmpose#55.
    """

    def transform(self, results: dict) -> dict:
        """Leaves the array of the caller alone."""
        results['keypoints'] = results['keypoints'] - 1
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class RandomTruncation(BaseTransform):
    """Cuts a person off, as the frame of a picture or a table does.

    A random share of the box is kept. The picture beyond the line is black, and the
    joints there have no weight. A person who would keep too few joints stays whole.
    MMPose's ``RandomHalfBody`` moves the box only, so the network still sees the rest.

    Place it before ``GetBBoxCenterScale``.

    Required and modified keys: ``img``, ``bbox`` (1, 4), ``keypoints_visible`` (1, K).
    Required: ``keypoints`` (1, K, 2).

    Args:
        prob: probability of a cut.
        keep: least and greatest share of the box that is kept.
        side_prob: probability of each of :attr:`SIDES` to be cut off.
        min_keypoints: least number of labelled joints to keep.

    Raises:
        ValueError: if an argument is out of range.
    """

    SIDES = ('bottom', 'top', 'left', 'right')

    def __init__(
        self,
        prob: float = 0.3,
        keep: tuple[float, float] = (0.35, 0.85),
        side_prob: tuple[float, float, float, float] = (0.7, 0.06, 0.12, 0.12),
        min_keypoints: int = 4,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        if not 0 < keep[0] <= keep[1] <= 1:
            raise ValueError(f'keep must be ascending in (0, 1], got {keep}')
        if len(side_prob) != 4 or min(side_prob) < 0 or abs(sum(side_prob) - 1) > 1e-6:
            raise ValueError(
                f'side_prob must be four probabilities with sum 1, got {side_prob}'
            )
        self.prob = prob
        self.keep = keep
        self.side_prob = side_prob
        self.min_keypoints = min_keypoints

    @cache_randomness
    def _draw(self) -> tuple[bool, str, float]:
        """Whether to cut, the side, and the share that is kept."""
        side = self.SIDES[np.random.choice(4, p=self.side_prob)]
        return np.random.rand() < self.prob, side, np.random.uniform(*self.keep)

    def transform(self, results: dict) -> dict:
        """Cuts the first person. Leaves the arrays of the caller alone."""
        cut, side, share = self._draw()
        if not cut:
            return results
        axis = int(side in ('top', 'bottom'))
        near, far = results['bbox'][0, [axis, axis + 2]]
        before = side in ('top', 'left')  # what lies before the line goes
        share = 1 - share if before else share
        line = near + share * (far - near)
        coordinate = results['keypoints'][0, :, axis]
        inside = coordinate > line if before else coordinate < line
        visible = results['keypoints_visible'] * inside
        if (visible > 0).sum() < self.min_keypoints:
            return results
        pixel = max(0, round(float(line)))
        beyond = slice(pixel) if before else slice(pixel, None)
        image, bbox = results['img'].copy(), results['bbox'].copy()
        image[(slice(None),) * (1 - axis) + (beyond,)] = 0
        bbox[0, axis if before else axis + 2] = line
        results.update(img=image, bbox=bbox, keypoints_visible=visible)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, keep={self.keep}, '
            f'side_prob={self.side_prob}, min_keypoints={self.min_keypoints})'
        )

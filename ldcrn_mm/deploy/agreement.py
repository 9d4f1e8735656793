"""Does an exported file compute what the estimator computes?"""

from dataclasses import dataclass

import numpy as np
import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor

from . import Runtime

# Largest error of a heatmap that the precision explains, relative to the
# largest value. The rounding of int8 is judged by the AP instead.
TOLERANCE = {'fp32': 1e-5, 'fp16': 1e-2, 'bf16': 5e-2, 'int8': float('inf')}

MOVED = 0.01  # pixels of the input, from which on a keypoint is elsewhere
NUM_TRIALS = 8  # of random errors


@dataclass(frozen=True)
class Agreement:
    """What was found.

    Attributes:
        precision: of the exported file.
        heatmap_error: largest difference between the heatmaps (of a decoded
            network: the scores), relative to the largest value.
        num_keypoints: how many keypoints were compared.
        num_moved: how many are elsewhere, by more than a hundredth of a pixel
            of the input.
        num_wrong: how many of these are elsewhere though their heatmap leaves
            no choice: maximum and higher neighbour stand out by more than the
            tolerance, and errors of its size do not move the codec's keypoint.
        mean_move: of all keypoints, in pixels of the input.
        largest_move: in pixels of the input.
    """

    precision: str
    heatmap_error: float
    num_keypoints: int
    num_moved: int
    num_wrong: int
    mean_move: float
    largest_move: float

    @property
    def holds(self) -> bool:
        """Whether all differences are those of the precision's rounding."""
        return (
            np.isfinite(self.heatmap_error)
            and self.heatmap_error <= TOLERANCE[self.precision]
            and not (self.num_wrong and self.precision == 'fp32')
        )

    def __str__(self) -> str:
        limit = TOLERANCE[self.precision]
        judged = f' (limit {limit:.0e})' if np.isfinite(limit) else ''
        text = (
            f'largest error of the values {self.heatmap_error:.1e} of the largest '
            f'value{judged}; {self.num_moved} of {self.num_keypoints} keypoints moved'
        )
        if self.num_moved:
            text += (
                f', by {self.mean_move:.2f} pixels of the input in the mean of all, '
                f'{self.largest_move:.2f} at most'
            )
            if self.precision == 'fp32':
                text += f', {self.num_wrong} of them not for a tie'
        return text


@torch.no_grad()
def compare(model: BasePoseEstimator, runtime: Runtime, images: Tensor) -> Agreement:
    """Runs both on the same images.

    Args:
        model: the estimator that was exported, with a codec in its head.
        runtime: the exported file.
        images: (N, 3, H, W), normalised.

    Raises:
        ValueError: where the numbers of keypoints differ.
    """
    outputs = runtime(images.numpy())
    expected = torch.cat([model(one[None], None, mode='tensor') for one in images])
    expected = expected.numpy()
    keypoints, scores = _decode(model, expected)
    if runtime.decoded:
        found, values = outputs
        error = _relative_error(values, scores)
    else:
        found, _ = _decode(model, outputs)
        error = _relative_error(outputs, expected)
    moves = np.linalg.norm(found - keypoints, axis=-1)
    moved = ~(moves <= MOVED)  # NaN moves
    margin = TOLERANCE['fp32'] * np.abs(expected).max()
    settled = _decided(expected, margin) & _stable(model, expected, margin)
    return Agreement(
        precision=runtime.precision,
        heatmap_error=error,
        num_keypoints=moves.size,
        num_moved=int(moved.sum()),
        num_wrong=int((moved & settled).sum()),
        mean_move=float(moves.mean()),
        largest_move=float(moves.max()),
    )


def _decode(
    model: BasePoseEstimator, heatmaps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) and scores (N, K), by the codec of the head."""
    decoded = [model.head.decoder.decode(each) for each in heatmaps]
    keypoints, scores = zip(*decoded)
    return np.concatenate(keypoints), np.concatenate(scores)


def _relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        raise ValueError(
            f'The exported network returns {found.shape}, the model {expected.shape}.'
        )
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _stable(
    model: BasePoseEstimator, heatmaps: np.ndarray, margin: float
) -> np.ndarray:
    """(N, K), whether errors up to half the margin leave the keypoint where it is.

    Tried, with errors drawn at random. Codecs that fit a peak to the logarithm of a
    heatmap (UDP, DARK) magnify errors without bound where it is flat.
    """
    random = np.random.default_rng(0)
    keypoints, _ = _decode(model, heatmaps)
    stable = np.ones(heatmaps.shape[:2], bool)
    for _ in range(NUM_TRIALS):
        error = random.uniform(-margin / 2, margin / 2, heatmaps.shape)
        moved, _ = _decode(model, heatmaps + error.astype(np.float32))
        stable &= np.linalg.norm(moved - keypoints, axis=-1) <= MOVED
    return stable


def _decided(heatmaps: np.ndarray, margin: float) -> np.ndarray:
    """(N, K), whether errors up to half the margin cannot move the keypoint."""
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    second, first = np.partition(flat, -2)[..., -2:].transpose(2, 0, 1)
    y, x = np.divmod(flat.argmax(-1), width)
    n, k = np.indices(x.shape)
    right, left = (heatmaps[n, k, y, np.clip(x + i, 0, width - 1)] for i in (1, -1))
    below, above = (heatmaps[n, k, np.clip(y + i, 0, height - 1), x] for i in (1, -1))
    gaps = [first - second, np.abs(first), np.abs(right - left), np.abs(below - above)]
    return np.min(gaps, axis=0) > margin

"""People of a video: one id each, and keypoints that do not jitter."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from mmpose.evaluation.functional.nms import oks_iou
from scipy.optimize import linear_sum_assignment

# Cutoff frequency of a joint at rest, in Hz. Lower is calmer.
MIN_CUTOFF = 1.5
# What a speed of one body size per second adds to it, in Hz. Higher follows faster.
BETA = 4
SPEED_CUTOFF = 1  # cutoff frequency of the speed, in Hz
MIN_OKS = 0.3  # least similarity of one person in two frames
MAX_GAP = 1  # seconds after which a lost person gets a new id


class OneEuroFilter:
    """Low-pass filter that follows fast motion and calms slow motion.

    Speeds are in body sizes per second, so that near and far people are treated
    alike.

    References:
        Casiez, Roussel, Vogel: "1 Euro filter: a simple speed-based low-pass filter
        for noisy input in interactive systems", CHI 2012.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._speed = np.zeros(1)

    def __call__(self, points: np.ndarray, size: float, seconds: float) -> np.ndarray:
        """Filters the next position of each joint.

        Args:
            points: (K, 2) in pixels.
            size: of the body, in pixels.
            seconds: since the last call, greater than 0.

        Returns:
            (K, 2) in pixels. The first call returns ``points``.
        """
        if self._last is None:
            self._last, self._speed = points, np.zeros_like(points)
            return points
        speed = (points - self._last) / (size * seconds)
        self._speed += _weight(SPEED_CUTOFF, seconds) * (speed - self._speed)
        norm = np.linalg.norm(self._speed, axis=1, keepdims=True)
        weight = _weight(MIN_CUTOFF + BETA * norm, seconds)
        self._last = self._last + weight * (points - self._last)
        return self._last


def _weight(cutoff: np.ndarray | float, seconds: float) -> np.ndarray | float:
    """Weight of the newest value in a low-pass filter of first order."""
    turn = 2 * np.pi * cutoff * seconds
    return turn / (turn + 1)


class _Track:
    def __init__(self, track_id: int) -> None:
        self.id = track_id
        self.filter = OneEuroFilter()
        self.keypoints = np.empty(0)  # (K * 3,) of the last frame, as found
        self.area = 0.0
        self.time = 0.0


class Tracker:
    """Follows people through the frames of one video.

    People of two frames belong together if their keypoints are similar (OKS). The
    pairs with the greatest sum are chosen. Someone who is lost keeps the id for a
    second.

    Args:
        sigmas: (K,) of OKS, ``dataset_meta['sigmas']``.

    Raises:
        ValueError: there are none, as in MMPose's data sets of faces.
    """

    def __init__(self, sigmas: Sequence[float]) -> None:
        if not len(sigmas):
            raise ValueError(
                'tracking compares people by OKS and expects a sigma for each keypoint '
                'in the metainfo of the data set, got none'
            )
        self.sigmas = np.asarray(sigmas)  # a list in published checkpoints
        self._tracks: list[_Track] = []
        self._ids = count(1)

    def update(
        self, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray, time: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the ids of a frame's people.

        Args:
            keypoints: (N, K, 2) in pixels.
            scores: (N, K).
            boxes: (N, 4), corners x1, y1, x2, y2 in pixels.
            time: of the frame, in seconds. Greater than of the frame before.

        Returns:
            Ids (N,) from 1 on, and smooth keypoints (N, K, 2).
        """
        people = np.concatenate([keypoints, scores[..., None]], -1)
        people = people.reshape(len(keypoints), 3 * len(self.sigmas))
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        self._tracks = [t for t in self._tracks if time - t.time <= MAX_GAP]
        similar = np.array(
            [
                oks_iou(t.keypoints, people, t.area, areas, self.sigmas)
                for t in self._tracks
            ]
        ).reshape(len(self._tracks), len(people))
        pairs = zip(*linear_sum_assignment(similar, maximize=True))
        found = {
            person: self._tracks[track]
            for track, person in pairs
            if similar[track, person] >= MIN_OKS
        }
        ids, smooth = np.zeros(len(people), int), np.array(keypoints, float)
        for person, area in enumerate(areas):
            track = found.get(person)
            if track is None:
                track = _Track(next(self._ids))
                self._tracks.append(track)
            ids[person] = track.id
            smooth[person] = track.filter(
                smooth[person].copy(), np.sqrt(area), max(time - track.time, 1e-3)
            )
            track.keypoints, track.area, track.time = people[person], area, time
        return ids, smooth

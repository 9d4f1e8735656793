"""PCK in units of the torso, for COCO's keypoints."""

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpose.registry import METRICS

NUM_KEYPOINTS = 17
# COCO's numbers: shoulders, elbows, wrists, hips, knees, ankles, left before right
PAIRS = dict(Shoulder=5, Elbow=7, Wrist=9, Hip=11, Knee=13, Ankle=15)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 5, 6, 11, 12


@METRICS.register_module()
class TorsoPCKAccuracy(BaseMetric):
    """The share of the twelve joints of the body that are found, in percent.

    A joint is found if it lies at most ``thr`` torsos from its annotation. A torso is
    the longer of a person's two distances from a hip to the opposite shoulder. Joints
    that are not annotated do not count, nor do the face and people whose shoulders and
    hips are not all annotated. (MMPose's ``JhmdbPCKAccuracy`` takes the torso from
    JHMDB's own joints.)

    The metrics are ``PCK``, over all joints alike, and ``Shoulder PCK`` to
    ``Ankle PCK``. A metric without a joint that counts is left out.

    Args:
        thr: largest distance, in torsos.
        min_visibility: the lowest ``v`` of the annotation file that counts. 1 takes
            all annotated joints, 2 those that COCO calls visible.
        collect_device: ``'cpu'`` or ``'gpu'``, for several processes.
        prefix: put before the names of the metrics.

    Raises:
        ValueError: if the keypoints are not COCO's 17, nobody has a torso or a joint
            that counts, or ``min_visibility`` is not 1 or 2.

    References:
        PCK: Yang, Ramanan: "Articulated human detection with flexible mixtures of
        parts", PAMI 2013. In torsos, from a hip to the opposite shoulder: Sapp,
        Taskar: "MODEC", CVPR 2013.
    """

    def __init__(
        self,
        thr: float = 0.2,
        min_visibility: int = 1,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if min_visibility not in (1, 2):
            raise ValueError(f'min_visibility is 1 or 2, but it is {min_visibility}.')
        self.thr = thr
        self.min_visibility = min_visibility

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keeps for each person which joints count, and which are found."""
        for sample in data_samples:
            annotated = sample['gt_instances']
            points = np.asarray(annotated['keypoints'])[0]
            visible = np.asarray(annotated['keypoints_visible'])
            seen = visible.reshape(len(points), -1)[:, 0] > 0
            found = np.asarray(sample['pred_instances']['keypoints'])[0]
            distances = np.linalg.norm(found - points, axis=-1)
            torso = _torso(points, seen)
            right = distances <= self.thr * torso
            if self.min_visibility == 2:
                # MMPose's data sets clip the `v` of the file to 1.
                stored = np.reshape(sample['raw_ann_info']['keypoints'], (-1, 3))
                seen = seen & (stored[:, 2] == 2)
            self.results.append((seen & (torso > 0), right))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The shares, in percent, over everybody's joints that count."""
        seen, right = (np.array(values) for values in zip(*results))
        body = [joint for left in PAIRS.values() for joint in (left, left + 1)]
        out = (~seen[:, body].any(1)).sum()
        what = f'{out} of {len(seen)} people have not all of their shoulders and hips '
        what += 'annotated, or no joint that counts'
        if out == len(seen):
            raise ValueError(f'PCK in torsos cannot be measured: {what}.')
        if out:
            print_log(f'PCK leaves them out: {what}.', 'current', logging.WARNING)

        def share(joints: list[int]) -> float | None:
            counted = seen[:, joints]
            return 100 * right[:, joints][counted].mean() if counted.any() else None

        shares = {f'{name} PCK': share([i, i + 1]) for name, i in PAIRS.items()}
        shares['PCK'] = share(body)
        return {
            name: float(value) for name, value in shares.items() if value is not None
        }


def _torso(points: np.ndarray, seen: np.ndarray) -> float:
    """A person's torso, in the units of the points (17, 2), or 0 if it is not known."""
    if len(points) != NUM_KEYPOINTS:
        raise ValueError(
            f"TorsoPCKAccuracy is for COCO's {NUM_KEYPOINTS} keypoints, but the data "
            f'set has {len(points)}. Choose another evaluator in the config.'
        )
    corners = (LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP)
    if not seen[list(corners)].all():
        return 0.0
    return max(
        np.linalg.norm(points[LEFT_SHOULDER] - points[RIGHT_HIP]),
        np.linalg.norm(points[RIGHT_SHOULDER] - points[LEFT_HIP]),
    )

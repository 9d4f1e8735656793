"""xtcocotools on pycocotools: the three names that MMPose imports from it.

xtcocotools 1.14 has wheels for numpy 1 only and cannot be built on Python 3.13 or
newer (jin-s13/xtcocoapi#44). It is pycocotools with seven more kinds of keypoint
evaluation. Here each kind becomes pycocotools' ``keypoints`` evaluation of
rewritten annotations, with exactly the same statistics.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval, mask

__all__ = ['COCO', 'COCOeval', 'mask']

# Of each kind: the fields of its keypoints, in the order of the sigmas, and the
# field of a detection's score. Detections without that field have `score`.
KINDS = {
    'keypoints': (('keypoints',), 'score'),
    'keypoints_crowd': (('keypoints',), 'score'),
    'keypoints_body': (('keypoints',), 'score'),
    'keypoints_foot': (('foot_kpts',), 'foot_score'),
    'keypoints_face': (('face_kpts',), 'face_score'),
    'keypoints_lefthand': (('lefthand_kpts',), 'lefthand_score'),
    'keypoints_righthand': (('righthand_kpts',), 'righthand_score'),
    'keypoints_wholebody': (
        ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts'),
        'wholebody_score',
    ),
}


class COCO(coco.COCO):
    """pycocotools' index of annotations, which also takes what MMPose may give it.

    Annotations without ``iscrowd`` are not crowds. Results may be empty.
    """

    def createIndex(self) -> None:
        """Indexes the data set and fills in ``iscrowd``."""
        for annotation in self.dataset.get('annotations', ()):
            annotation.setdefault('iscrowd', False)
        super().createIndex()

    def loadRes(self, resFile: Any) -> coco.COCO:
        """Indexes detections, a list or a file of it, on these images."""
        if isinstance(resFile, str):
            with open(resFile, encoding='utf-8') as file:
                resFile = json.load(file)
        if len(resFile):
            return super().loadRes(resFile)
        empty = COCO()
        empty.dataset = dict(images=self.dataset['images'], annotations=[])
        empty.createIndex()
        return empty


class COCOeval(cocoeval.COCOeval):
    """Evaluation of keypoints by object keypoint similarity (OKS).

    Args:
        cocoGt: ground truth.
        cocoDt: detections.
        iouType: one of :data:`KINDS`.
        sigmas: (K,), the spread of each keypoint as a share of the person's scale.
            Those of COCO by default.
        use_area: Whether ground truth has ``area``. Otherwise a person's area is
            0.53 of the box.
    """

    def __init__(
        self,
        cocoGt: coco.COCO | None = None,
        cocoDt: coco.COCO | None = None,
        iouType: str = 'keypoints',
        sigmas: Sequence[float] | None = None,
        use_area: bool = True,
    ) -> None:
        if iouType not in KINDS:
            raise ValueError(f'iouType must be one of {[*KINDS]}, got {iouType!r}')
        super().__init__(cocoGt, cocoDt, 'keypoints')
        self.kind = iouType
        self.use_area = use_area
        if sigmas is not None:
            self.params.kpt_oks_sigmas = np.asarray(sigmas)

    def _prepare(self) -> None:
        """Rewrites the annotations that ``params`` asks for."""
        print(f'{self.kind}:')
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        self.evalImgs, self.eval = defaultdict(list), {}
        for truth, keypoints, seen in self._people(self.cocoGt):
            if self.kind == 'keypoints_crowd':
                seen = truth['num_keypoints']  # hidden ones do not count there
            changed = dict(keypoints=keypoints, ignore=truth['iscrowd'] or seen == 0)
            if not self.use_area:
                changed['area'] = truth['bbox'][2] * truth['bbox'][3] * 0.53
            _add(self._gts, truth, changed)
        score = KINDS[self.kind][1]
        for found, keypoints, seen in self._people(self.cocoDt):
            if seen:
                changed = dict(
                    keypoints=keypoints, score=found.get(score, found['score'])
                )
                _add(self._dts, found, changed)

    def _people(self, index: coco.COCO) -> Iterator[tuple[dict, np.ndarray, int]]:
        """Annotations, their keypoints of this kind and how many are labelled."""
        ids = index.getAnnIds(imgIds=self.params.imgIds, catIds=self.params.catIds)
        for person in index.loadAnns(ids):
            keypoints = np.concatenate([person[field] for field in KINDS[self.kind][0]])
            yield person, keypoints, np.count_nonzero(keypoints[2::3] > 0)

    def summarize(self) -> None:
        """Prints the statistics and keeps them in ``stats``."""
        super().summarize()
        if self.kind == 'keypoints_crowd':
            edges = (-np.inf, 0.2, 0.8, np.inf)  # of the crowd index
            crowding = [self._ap_between(*ends) for ends in pairwise(edges)]
            self.stats = np.array([*self.stats[[0, 1, 2, 5, 6, 7]], *crowding])
            print(' AP of easy, medium and hard images:', *crowding)

    def _ap_between(self, low: float, high: float) -> float:
        """AP on the images whose crowd index lies in [low, high)."""
        images = self.cocoGt.dataset['images']
        self.params.imgIds = [x['id'] for x in images if low <= x['crowdIndex'] < high]
        self.evaluate()
        self.accumulate()
        return round(np.mean(self.eval['precision'][:, :, :, 0, :]), 4)


def _add(people: dict[Any, list], person: dict, changed: dict) -> None:
    """Adds a person. Ids start at 1, as pycocotools takes 0 for "no match"."""
    group = people[person['image_id'], person['category_id']]
    group.append(person | changed | dict(id=len(group) + 1))

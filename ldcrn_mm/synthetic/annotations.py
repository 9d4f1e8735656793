"""The ground truth of scenes in the formats of COCO and of MPII.

References:
    Lin et al.: "Microsoft COCO: Common Objects in Context", ECCV 2014; the
    format: https://cocodataset.org/#format-data.
    Andriluka et al.: "2D Human Pose Estimation: New Benchmark and State of the
    Art Analysis", CVPR 2014; as JSON it is that of Sun et al.: "Deep
    High-Resolution Representation Learning for Human Pose Estimation",
    CVPR 2019.
"""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from .scene import Person, Scene

COCO_NAMES = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
# Pairs of positions in COCO_NAMES, counted from 1, as in COCO's own files.
COCO_SKELETON = (
    (16, 14),
    (14, 12),
    (17, 15),
    (15, 13),
    (12, 13),
    (6, 12),
    (7, 13),
    (6, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (9, 11),
    (2, 3),
    (1, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (5, 7),
)
# COCO's annotators rarely guess what they do not see of a face, limbs more often:
# on 50 people of COCO 9 of 142 unseen facial points and 44 of 180 unseen joints
# of the body are labelled. Here all hidden joints of the body are, and no faces.
COCO_FACE = COCO_NAMES[:5]
# Name of the joint here -> its name in MPII's .mat file, in MPII's order.
MPII_NAMES = {
    'right_ankle': 'rank',
    'right_knee': 'rkne',
    'right_hip': 'rhip',
    'left_hip': 'lhip',
    'left_knee': 'lkne',
    'left_ankle': 'lank',
    'pelvis': 'pelv',
    'thorax': 'thor',
    'upper_neck': 'neck',
    'head_top': 'head',
    'right_wrist': 'rwri',
    'right_elbow': 'relb',
    'right_shoulder': 'rsho',
    'left_shoulder': 'lsho',
    'left_elbow': 'lelb',
    'left_wrist': 'lwri',
}
MPII_LEAST_JOINTS = 4  # people with fewer in the picture are left out
MPII_PIXELS = 200  # MPII's unit of scale
# MPII's centers lie above the middle of the joints by about this many pixels
# per unit of scale; its readers move them down again, by 15.
MPII_RISE = 12

Record = dict[str, Any]


def coco_annotations(scene: Scene, image_id: int) -> list[Record]:
    """COCO's annotations of the people of a picture.

    Args:
        scene: Picture and ground truth.
        image_id: Number of the picture; those of the annotations follow from it.

    Returns:
        One dict per person of whom at least a pixel is seen. As in COCO, people
        who hardly show have a box and an outline but no keypoints, and facial
        points that do not show are not labelled.
    """
    return [
        _coco_annotation(person, image_id, 100 * image_id + number)
        for number, person in enumerate(scene.people)
        if person.mask.any()
    ]


def _coco_annotation(person: Person, image_id: int, number: int) -> Record:
    keypoints: list[float] = []
    for name in COCO_NAMES:
        state = person.visibility[name] if person.labelled else 0
        if state == 1 and name in COCO_FACE:
            state = 0
        x, y = person.points[name] if state else (0, 0)
        keypoints += [round(x, 2), round(y, 2), state]
    columns, rows = (np.flatnonzero(person.mask.any(axis)) for axis in (0, 1))
    x, y = int(columns[0]), int(rows[0])
    return dict(
        segmentation=outlines(person.mask),
        num_keypoints=sum(state > 0 for state in keypoints[2::3]),
        area=int(person.mask.sum()),
        iscrowd=0,
        keypoints=keypoints,
        image_id=image_id,
        bbox=[x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        category_id=1,
        id=number,
    )


def outlines(mask: np.ndarray) -> list[list[float]]:
    """Polygons around a mask, as lists of x and y from the image's corner.

    Holes are filled, as they are by COCO's annotators.
    """
    finer = 3  # OpenCV joins the centres of pixels: of finer ones, near the edges
    grown = np.kron(mask.astype(np.uint8), np.ones((finer, finer), np.uint8))
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 2.0, closed=True).reshape(-1, 2)
        if len(points) < 3:  # specks: all corners
            points = contour.reshape(-1, 2)
        if len(points) >= 3:
            polygons.append(np.round((points + 0.5) / finer, 2).ravel().tolist())
    return polygons


def coco_file(images: list[Record], annotations: list[Record], split: str) -> Record:
    """The content of a ``person_keypoints_*.json``."""
    return dict(
        info=dict(
            description=f'People drawn by program, {split}',
            url='',
            version='1.0',
            year=2025,
            contributor='ldcrn_mm',
            date_created='2025/01/01',
        ),
        licenses=[dict(url='', id=1, name='No known copyright restrictions')],
        images=images,
        annotations=annotations,
        categories=[
            dict(
                supercategory='person',
                id=1,
                name='person',
                keypoints=list(COCO_NAMES),
                skeleton=[list(pair) for pair in COCO_SKELETON],
            )
        ],
    )


def coco_image(scene: Scene, image_id: int, file_name: str) -> Record:
    """COCO's description of a picture."""
    height, width = scene.image.shape[:2]
    return dict(
        license=1,
        file_name=file_name,
        coco_url='',
        height=height,
        width=width,
        date_captured='2025-01-01 00:00:00',
        flickr_url='',
        id=image_id,
    )


def imitate_detections(
    annotations: list[Record], image: Record, rng: Generator
) -> list[Record]:
    """Boxes as a person detector would give them.

    Args:
        annotations: COCO's, of one picture.
        image: COCO's description of the picture.
        rng: Source of randomness.

    Returns:
        Most people with a shaken box and a high score, some of them twice, and
        boxes around nothing with low scores.
    """
    limits = np.array([image['width'], image['height']], float)
    found = []
    for annotation in annotations:
        x, y, *size = annotation['bbox']
        for copy in range(1 + (rng.random() < 0.12)):
            score = rng.uniform(0.6, 0.99) if copy == 0 else rng.uniform(0.1, 0.5)
            shift, grow = rng.normal(0, 0.025, 2), np.exp(rng.normal(0, 0.05, 2))
            missed = rng.random() < (0.03 if annotation['num_keypoints'] else 0.6)
            if not missed:
                middle = np.array([x, y]) + (0.5 + shift) * size
                found.append((middle, grow * size, score))
    for _ in range(rng.choice(4, p=[0.45, 0.3, 0.15, 0.1])):
        size = rng.uniform(0.1, 0.6, 2) * limits
        found.append((rng.random(2) * limits, size, rng.uniform(0.02, 0.4)))
    detections = []
    for middle, size, score in sorted(found, key=lambda box: -box[2]):
        low = np.clip(middle - np.asarray(size) / 2, 0, limits - 2)
        high = np.clip(middle + np.asarray(size) / 2, low + 2, limits)
        detections.append(
            dict(
                image_id=image['id'],
                category_id=1,
                bbox=np.round([*low, *(high - low)], 2).tolist(),
                score=round(float(score), 4),
            )
        )
    return detections


def mpii_records(scene: Scene, file_name: str) -> list[Record]:
    """MPII's annotations of the people of a picture, and their head boxes.

    Positions count from 1, as in MATLAB. ``scale`` is the height that the
    person has upright, over 200 pixels; joints outside the picture are missing.

    Args:
        scene: Picture and ground truth.
        file_name: Of the picture.

    Returns:
        One dict per person: ``image``, ``center``, ``scale``, ``joints``
        (16 x 2), ``joints_vis`` (16), and ``headbox`` (left, top, right,
        bottom), which goes to the .mat file.
    """
    records = []
    for person in scene.people:
        inside = [int(person.visibility[name] > 0) for name in MPII_NAMES]
        if not person.labelled or sum(inside) < MPII_LEAST_JOINTS:
            continue
        joints = [
            [round(v + 1, 2) for v in person.points[name]] if seen else [-1.0, -1.0]
            for name, seen in zip(MPII_NAMES, inside)
        ]
        shown = np.array([joint for joint, seen in zip(joints, inside) if seen])
        middle = (shown.min(0) + shown.max(0)) / 2
        scale = person.stature / MPII_PIXELS
        middle[1] -= MPII_RISE * scale
        records.append(
            dict(
                joints_vis=inside,
                joints=joints,
                image=file_name,
                scale=round(scale, 6),
                center=np.round(middle, 1).tolist(),
                headbox=[round(edge + 1, 2) for edge in person.head_box],
            )
        )
    return records


def mpii_mat(records: list[Record]) -> dict[str, np.ndarray]:
    """The variables of a ``mpii_gt_val.mat``, in the order of ``records``."""
    count, joints = len(records), len(MPII_NAMES)
    seen = np.array([record['joints_vis'] for record in records], float)
    places = np.array([record['joints'] for record in records], float)
    boxes = np.array([record['headbox'] for record in records], float)
    names = np.empty((1, joints), object)
    names[0] = list(MPII_NAMES.values())
    return dict(
        dataset_joints=names,
        jnt_missing=1 - seen.reshape(count, joints).T,
        pos_gt_src=places.reshape(count, joints, 2).transpose(1, 2, 0),
        headboxes_src=boxes.reshape(count, 2, 2).transpose(1, 2, 0),
    )

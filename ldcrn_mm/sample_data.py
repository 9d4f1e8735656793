"""Sample data: pictures of puppets with keypoints, in COCO's and MPII's formats.

A puppet is a person of thick lines. It faces the viewer, so its left side is on the
right of the picture. Positions are in pixels from the centre of the first pixel.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.fileio import dump
from numpy.random import Generator
from scipy.io import savemat

FORMATS = ('coco', 'mpii')
WIDTH, HEIGHT = 320, 256
FIRST_IDS = {'train': 1, 'val': 500_001}
SIDES = {'left': 1, 'right': -1}  # direction in the picture
PAIRS = ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
COCO_JOINTS = ('nose', *(f'{side}_{part}' for part in PAIRS for side in SIDES))
MPII_JOINTS = (
    *(f'right_{part}' for part in ('ankle', 'knee', 'hip')),
    *(f'left_{part}' for part in ('hip', 'knee', 'ankle')),
    *('pelvis', 'thorax', 'upper_neck', 'head_top'),
    *(f'right_{part}' for part in ('wrist', 'elbow', 'shoulder')),
    *(f'left_{part}' for part in ('shoulder', 'elbow', 'wrist')),
)
# Joint, its parent, the least and the greatest angle from the parent's bone in degrees
# (positive is outwards), length in statures. A star stands for both sides.
BONES = (
    ('thorax', 'pelvis', -15, 15, 0.29),
    ('upper_neck', 'thorax', -12, 12, 0.06),
    ('head', 'upper_neck', 0, 0, 0.08),
    ('crown', 'head', 0, 0, 0.02),
    ('head_top', 'head', 0, 0, 0.09),
    ('nose', 'head', -180, 180, 0.02),
    ('*_eye', 'head', -70, -70, 0.035),
    ('*_ear', 'head', -90, -90, 0.065),
    ('*_shoulder', 'thorax', -105, -105, 0.09),
    ('*_elbow', '*_shoulder', -70, 90, 0.16),
    ('*_wrist', '*_elbow', -100, 100, 0.15),
    ('*_hip', 'pelvis', -90, -90, 0.055),
    ('*_knee', '*_hip', -98, -55, 0.24),
    ('*_ankle', '*_knee', -40, 20, 0.23),
    ('*_toe', '*_ankle', 70, 70, 0.05),
)
# Two joints, thickness in statures, colour, brightness; in drawing order
LINES = [
    (start.replace('*', side), end.replace('*', side), *style)
    for start, end, *style in (
        ('head', 'crown', 0.14, 'hair', 0.5),
        ('*_ankle', '*_toe', 0.05, 'shoes', 0.5),
        ('*_knee', '*_ankle', 0.06, 'trousers', 1),
        ('*_hip', '*_knee', 0.075, 'trousers', 1),
        ('thorax', 'pelvis', 0.12, 'shirt', 1),
        ('*_shoulder', '*_hip', 0.08, 'shirt', 1),
        ('thorax', 'upper_neck', 0.06, 'skin', 1),
        ('head', 'upper_neck', 0.115, 'skin', 1),
        ('*_ear', '*_ear', 0.045, 'skin', 0.85),
        ('*_eye', '*_eye', 0.028, 'skin', 0.15),
        ('nose', 'nose', 0.028, 'skin', 0.7),
        ('*_shoulder', '*_elbow', 0.06, 'shirt', 0.85),
        ('*_elbow', '*_wrist', 0.045, 'skin', 1),
    )
    for side in (SIDES if '*' in start else ['none'])
]


class Puppet(NamedTuple):
    """What the annotations of a puppet are made of."""

    joints: dict[str, tuple[float, float, int]]  # x, y, COCO's visibility
    bbox: tuple[int, int, int, int]  # left, top, width, height of what is visible
    area: int  # number of visible pixels
    stature: float  # height of the upright body in pixels


def make_sample_data(
    out: str | Path,
    formats: Collection[str] = FORMATS,
    num_train: int = 800,
    num_val: int = 200,
    seed: int = 0,
) -> None:
    """Writes pictures and annotations where MMPose's configs expect them.

    The same arguments give the same bytes. The folder of a format appears when it is
    complete::

        coco/{train,val}2017/*.jpg
        coco/annotations/person_keypoints_{train,val}2017.json
        coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json
        mpii/images/*.jpg
        mpii/annotations/mpii_{train,val}.json, mpii_gt_val.mat

    Args:
        out: Folder for the folders of the formats.
        formats: Some of :data:`FORMATS`.
        num_train: Number of pictures for training.
        num_val: Number of pictures for validation.
        seed: Seed of all random numbers.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If the folder of a format exists.
    """
    numbers = {'train': num_train, 'val': num_val}
    for split, number in numbers.items():
        if not 1 <= number < FIRST_IDS['val']:
            raise ValueError(f'num_{split} must be in [1, 500000], got {number}')
    if seed < 0:
        raise ValueError(f'seed must be at least 0, got {seed}')
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f'formats must be some of {FORMATS}, got {formats}')
    out = Path(out)
    for path in (out / name for name in formats):
        if path.exists():
            raise FileExistsError(f'{path} exists: remove it or choose another folder')
    out.mkdir(parents=True, exist_ok=True)
    writers = {'coco': write_coco, 'mpii': write_mpii}
    with TemporaryDirectory(dir=out, prefix='.') as unfinished:
        for name in formats:
            for split, number in numbers.items():
                writers[name](Path(unfinished, name), split, number, seed)
            Path(unfinished, name).rename(out / name)


def write_coco(folder: Path, split: str, number: int, seed: int) -> None:
    """Writes a split in COCO's format, with the true boxes as detections."""
    images, people, detections = [], [], []
    pictures = draw_split(folder / f'{split}2017', split, number, seed)
    for image_id, name, puppets in pictures:
        images.append(dict(id=image_id, file_name=name, width=WIDTH, height=HEIGHT))
        for joints, bbox, area, _ in puppets:
            person = dict(image_id=image_id, category_id=1, bbox=bbox)
            detections.append(person | dict(score=0.9))
            person |= dict(id=len(people) + 1, area=area, iscrowd=0)
            keypoints = [value for name in COCO_JOINTS for value in joints[name]]
            labelled = sum(visibility > 0 for visibility in keypoints[2::3])
            people.append(person | dict(keypoints=keypoints, num_keypoints=labelled))
    category = dict(id=1, name='person', keypoints=COCO_JOINTS, skeleton=[])
    annotations = dict(images=images, annotations=people, categories=[category])
    dump(annotations, folder / f'annotations/person_keypoints_{split}2017.json')
    if split == 'val':
        name = 'COCO_val2017_detections_AP_H_56_person.json'
        dump(detections, folder / 'person_detection_results' / name)


def write_mpii(folder: Path, split: str, number: int, seed: int) -> None:
    """Writes a split in MPII's format, which counts pixels from 1."""
    people, heads = [], []
    for _, name, puppets in draw_split(folder / 'images', split, number, seed):
        for puppet in puppets:
            joints = np.array([puppet.joints[joint] for joint in MPII_JOINTS])
            inside = joints[:, 2] > 0
            joints = np.where(inside[:, None], np.round(joints[:, :2] + 1, 2), -1)
            scale = puppet.stature / 200
            center = (joints[inside].min(0) + joints[inside].max(0)) / 2
            center[1] -= 15 * scale  # readers of MPII add it
            person = dict(image=name, scale=scale, center=center, joints=joints)
            people.append(person | dict(joints_vis=inside.astype(int)))
            head, half = np.array(puppet.joints['head'][:2]) + 1, 16 * scale
            heads.append([head - half, head + half])
    dump(people, folder / f'annotations/mpii_{split}.json')
    if split == 'val':
        path = folder / 'annotations/mpii_gt_val.mat'
        savemat(path, dict(headboxes_src=np.transpose(heads, (1, 2, 0))))
        with path.open('r+b') as file:  # the header contains the time of day
            file.write(b'MATLAB 5.0 MAT-file'.ljust(116))


def draw_split(
    folder: Path, split: str, number: int, seed: int
) -> Iterator[tuple[int, str, list[Puppet]]]:
    """Writes pictures, each from its own random numbers. Yields id, name, puppets."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in range(FIRST_IDS[split], FIRST_IDS[split] + number):
        image, puppets = draw_picture(np.random.default_rng((seed, image_id)))
        name = f'{image_id:012d}.jpg'
        (folder / name).write_bytes(cv2.imencode('.jpg', image)[1])
        yield image_id, name, puppets


def draw_picture(rng: Generator) -> tuple[np.ndarray, list[Puppet]]:
    """Draws one to three puppets over shapes and noise.

    Returns:
        The picture, (256, 320, 3) uint8 BGR, and its puppets.
    """
    shapes = rng.integers(5, 13)
    colours = rng.uniform(70, 200, (shapes, 1)) + rng.uniform(-40, 40, (shapes, 3))
    image = np.full((HEIGHT, WIDTH, 3), colours[0], np.uint8)
    for colour in colours[1:]:
        ends = rng.uniform(0, (WIDTH, HEIGHT), (2, 2))
        draw_line(image, ends, colour, int(rng.integers(2, 60)))
    drawn = []
    count = rng.integers(1, 4)
    for i in range(count):
        stature = HEIGHT * rng.uniform(0.6, 0.8)
        pelvis = WIDTH * (i + rng.uniform(0.3, 0.7)) / count, HEIGHT / 2
        pose = {name: pelvis + stature * xy for name, xy in sample_pose(rng).items()}
        lines = draw_puppet(image, pose, stature, rng)
        for _, _, behind in drawn:
            behind[lines >= 0] = -1
        drawn.append((pose, stature, lines))
    noise = rng.integers(-10, 11, image.shape, np.int16)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image, [describe(*puppet) for puppet in drawn]


def sample_pose(rng: Generator) -> dict[str, np.ndarray]:
    """Draws random joint angles.

    Returns:
        Name to position (x, y) from the pelvis in statures, y pointing down.
    """
    points, angles = {'pelvis': np.zeros(2)}, {'pelvis': 180.0}  # degrees, 0 is down
    for name, parent, low, high, length in BONES:
        for side, sign in SIDES.items() if '*' in name else [('', 1)]:
            joint, start = name.replace('*', side), parent.replace('*', side)
            angles[joint] = angles[start] + sign * rng.uniform(low, high)
            angle = np.radians(angles[joint])
            step = np.array([np.sin(angle), np.cos(angle)])
            points[joint] = points[start] + length * step
    return points


def draw_puppet(
    image: np.ndarray, pose: dict[str, np.ndarray], stature: float, rng: Generator
) -> np.ndarray:
    """Draws a puppet with an outline, in random colours.

    Returns:
        (H, W), for each pixel the index of its line in :data:`LINES`, or -1.
    """
    clothes = ('hair', 'shoes', 'shirt', 'trousers')
    colours = dict(zip(clothes, rng.uniform(40, 240, (4, 3))))
    colours['skin'] = np.array([150, 180, 225]) * rng.uniform(0.4, 1.05)
    lines = np.full(image.shape[:2], -1, np.int16)
    for margin, light in ((2, 0.4), (0, 1)):
        for i, (start, end, thickness, colour, brightness) in enumerate(LINES):
            ends, width = np.stack([pose[start], pose[end]]), round(thickness * stature)
            shade = light * brightness * colours[colour]
            draw_line(image, ends, shade, width + margin, cv2.LINE_AA)
            draw_line(lines, ends, i, width)
    return lines


def draw_line(image: np.ndarray, ends: np.ndarray, *style: object) -> None:
    """Draws a line with an accuracy of 1/16 pixel."""
    cv2.line(image, *np.rint(16 * ends).astype(int).tolist(), *style, shift=4)


def describe(pose: dict[str, np.ndarray], stature: float, lines: np.ndarray) -> Puppet:
    """Finds what is visible of a puppet. A joint is visible where its line is."""
    joints = {}
    for name, (x, y) in pose.items():
        column, row = round(x), round(y)
        joints[name] = (0, 0, 0)  # outside
        if 0 <= column < WIDTH and 0 <= row < HEIGHT:
            line = lines[row, column]
            visible = line >= 0 and name in LINES[line][:2]
            joints[name] = (round(float(x), 2), round(float(y), 2), 1 + int(visible))
    mask = (lines >= 0).astype(np.uint8)
    return Puppet(joints, cv2.boundingRect(mask), int(mask.sum()), stature)

"""The paper's data: where COCO and MPII are, MPII's annotations, its submission."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmpose.registry import METRICS
from scipy.io import loadmat, savemat

NUM_JOINTS = 16
COCO = 'from https://cocodataset.org/#download'
MPII = 'from http://human-pose.mpi-inf.mpg.de/#download'
KEYPOINTS = f'annotations_trainval2017 {COCO}'
KEYPOINT_FILES = ('person_keypoints_train2017.json', 'person_keypoints_val2017.json')
DETECTIONS = 'https://github.com/leoxiaobin/deep-high-resolution-net.pytorch links it. \
Only tests on detected boxes need it.'
MPII_JSON = f"mpii_annotations.tar of MMPose's data sets, or \
mpii_human_pose_v1_u12_2.zip {MPII}, which this tool converts"
# Where MMPose looks, where the original has it, and where to get it
NEEDS = {
    'coco': [
        *((f'annotations/{x}', f'annot/{x}', KEYPOINTS) for x in KEYPOINT_FILES),
        ('train2017', 'images/train2017', f'train2017.zip {COCO}'),
        ('val2017', 'images/val2017', f'val2017.zip {COCO}'),
        (
            'person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
            'COCO_val2017_detections_AP_H_56_person.json',
            DETECTIONS,
        ),
    ],
    'mpii': [
        ('images', 'mpii_human_pose_v1/images', f'mpii_human_pose_v1.tar.gz {MPII}'),
        ('annotations/mpii_train.json', 'annot/train.json', MPII_JSON),
        ('annotations/mpii_val.json', 'annot/valid.json', MPII_JSON),
        ('annotations/mpii_gt_val.mat', 'annot/gt_valid.mat', MPII_JSON),
    ],
}


def link_layout(data: str, folder: str | Path) -> tuple[list[str], dict[str, str]]:
    """Links what lies in the original's layout to where MMPose looks.

    Args:
        data: ``'coco'`` or ``'mpii'``.
        folder: of the data set, such as ``data/coco``.

    Returns:
        The links that were made, and for each missing file where to get it.

    Raises:
        FileExistsError: if a broken link lies in the way.
    """
    made, missing = [], {}
    for name, other_name, source in NEEDS[data]:
        path, original = Path(folder, name), Path(folder, other_name)
        if path.is_symlink() and not path.exists():
            raise FileExistsError(f'{path} is a broken link: remove it')
        if not path.exists() and not original.exists():
            missing[name] = source
        elif not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(original.resolve(), path.parent.resolve()))
            made.append(f'{path} -> {original}')
    return made, missing


class MpiiPerson(NamedTuple):
    """A person in MPII's release, which counts pixels from 1."""

    place: tuple[int, int]  # of the image in its part, of the person in the image
    video: int
    train: bool
    single: bool  # far enough from others for the single-person benchmark
    head: list[list[float]]  # left top, right bottom, or empty
    annotation: dict[str, Any]  # in the form that MMPose reads


def read_mpii(mat_file: str | Path) -> Iterator[MpiiPerson]:
    """Reads the people with a position and a scale from MPII's release.

    Args:
        mat_file: ``mpii_human_pose_v1_u12_1.mat``.

    Raises:
        ValueError: if it is another file.
    """
    counts = [0, 0]
    for image, train, single in _images(mat_file):
        place = counts[train]
        counts[train] += 1
        for k, person in enumerate(_structs(image.get('annorect'))):
            center = person.get('objpos')
            if not isinstance(center, dict) or np.size(person.get('scale', [])) != 1:
                continue
            points = person.get('annopoints')
            joints = np.full((NUM_JOINTS, 2), -1.0)
            for point in _structs(points['point'] if isinstance(points, dict) else []):
                joints[int(point['id'])] = point['x'], point['y']
            head = np.hstack([person.get(key, []) for key in ('x1', 'y1', 'x2', 'y2')])
            annotation = dict(
                image=image['image']['name'],
                scale=float(person['scale']),
                center=[float(center['x']), float(center['y'])],
                joints=joints.tolist(),
                joints_vis=(joints[:, 0] >= 0).astype(int).tolist(),
            )
            yield MpiiPerson(
                place=(place, k),
                video=int(image['vididx']) if np.size(image.get('vididx', [])) else 0,
                train=bool(train),
                single=k + 1 in np.atleast_1d(single),
                head=head.reshape(2, 2).tolist() if head.size == 4 else [],
                annotation=annotation,
            )


def _images(mat_file: str | Path) -> list[tuple[dict, int, Any]]:
    """Images, whether they are for training, and who in them is alone."""
    try:
        release = loadmat(mat_file, simplify_cells=True)['RELEASE']
        fields = (release[key] for key in ('annolist', 'img_train', 'single_person'))
        return list(zip(*fields))
    except Exception as error:  # of any type, from a broken file
        raise ValueError(
            f'{mat_file} is not mpii_human_pose_v1_u12_1.mat: {error}'
        ) from error


def _structs(value: Any) -> list[dict]:
    """A MATLAB struct array, which SciPy reads as one dict if there is one member."""
    return [value] if isinstance(value, dict) else list(np.atleast_1d(value))


def convert_mpii(
    mat_file: str | Path, folder: str | Path, val_images: Collection[str] = ()
) -> dict[str, int]:
    """Writes MPII's annotations as MMPose reads them.

    ``mpii_train.json``, ``mpii_val.json`` and ``mpii_gt_val.mat`` (head boxes) hold
    the training images, ``mpii_test.json`` the single people of the test images.

    Args:
        mat_file: ``mpii_human_pose_v1_u12_1.mat``.
        folder: of the files to write.
        val_images: names of the images to validate on. MPII does not choose them. By
            default they are those of every ninth video.

    Returns:
        The number of people in each part.

    Raises:
        FileExistsError: if one of the files exists.
        ValueError: if ``mat_file`` is another file, or a part is empty.
    """
    parts: dict[str, list[dict]] = dict(train=[], val=[], test=[])
    heads = []
    for person in read_mpii(mat_file):
        one = person.annotation
        if person.train and person.head and any(one['joints_vis']):
            chosen = one['image'] in val_images if val_images else person.video % 9 == 0
            parts['val' if chosen else 'train'].append(one)
            heads += [person.head] if chosen else []
        elif person.single and not person.train:
            # MMPose leaves out people whose coordinates are all negative
            parts['test'].append(one | dict(joints=[one['center']] * NUM_JOINTS))
    files = {
        Path(folder, f'mpii_{part}.json'): people for part, people in parts.items()
    }
    boxes = Path(folder, 'mpii_gt_val.mat')
    for path in (*files, boxes):
        if path.exists():
            raise FileExistsError(f'{path} exists: remove it to convert {mat_file}')
        if not files.get(path, True):
            raise ValueError(f'{mat_file} has nobody for {path.name}')
    for path, people in files.items():
        dump(people, path)
    savemat(boxes, dict(headboxes_src=np.transpose(heads, (1, 2, 0))))
    return {part: len(people) for part, people in parts.items()}


def names_in(file: str | Path) -> set[str]:
    """The images of a JSON of MPII, or the lines of a text."""
    text = Path(file).read_text(encoding='utf-8')
    if Path(file).suffix == '.json':
        return {person['image'] for person in json.loads(text)}
    return {*text.split()}


@METRICS.register_module()
class MpiiSubmission(BaseMetric):
    """Writes predictions for ``mpii_test.json`` as MPII's evaluation takes them.

    The file has the variable ``pred``, the images of the test with ``annopoints`` for
    the people of the single-person benchmark.

    Args:
        mat_file: ``mpii_human_pose_v1_u12_1.mat``, from which the JSON was converted.
        out_file: file to write, such as ``pred_keypoints_mpii.mat``.
        collect_device: ``'cpu'`` or ``'gpu'``, for several processes.

    Raises:
        ValueError: at the end, if predictions are not those of the people in the test.
    """

    def __init__(
        self, mat_file: str, out_file: str, collect_device: str = 'cpu'
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='mpii')
        self.mat_file, self.out_file = mat_file, out_file

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keeps the keypoints of each person."""
        for sample in data_samples:
            points = np.asarray(sample['pred_instances']['keypoints'])[0] + 1
            self.results.append((sample['id'], Path(sample['img_path']).name, points))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Writes the file. Returns the number of people."""
        people = [p for p in read_mpii(self.mat_file) if p.single and not p.train]
        expected = [(i, person.annotation['image']) for i, person in enumerate(people)]
        found = {(index, image): points for index, image, points in results}
        if sorted(found) != expected:
            raise ValueError(
                f'expected the {len(people)} people of mpii_test.json as converted '
                f'from {self.mat_file}, got {len(found)} others'
            )
        images = [image for image, train, _ in _images(self.mat_file) if not train]
        rects = [[([],) for _ in _structs(image.get('annorect'))] for image in images]
        for person, points in zip(people, (found[key] for key in expected)):
            rows = [(x, y, joint) for joint, (x, y) in enumerate(points.tolist())]
            image, k = person.place
            annopoints = _struct_array(
                [(_struct_array(rows, 'x', 'y', 'id'),)], 'point'
            )
            rects[image][k] = (annopoints,)
        rows = [
            (dict(name=image['image']['name']), _struct_array(rect, 'annopoints'))
            for image, rect in zip(images, rects)
        ]
        savemat(self.out_file, dict(pred=_struct_array(rows, 'image', 'annorect')))
        return dict(people=len(found))


def _struct_array(rows: Sequence[tuple], *fields: str) -> np.ndarray:
    """A MATLAB struct array, (1, N)."""
    array = np.empty((1, len(rows)), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = row
    return array

"""Annotation files in COCO's and MPII's format, checked before MMPose reads them."""

import json
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from math import isfinite
from os.path import exists, join
from random import Random
from reprlib import repr as short
from typing import Any

import numpy as np
from mmengine.config import ConfigDict
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.registry import DATASETS
from scipy.io import loadmat

PICTURES = 1000  # that are looked for on the disk
HEAD = [8, 9]  # MPII's upper neck and top of the head
MISSING = object()
Rules = Mapping[str, tuple[Callable[[Any], bool], str]]  # a test, what it expects


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _are_numbers(value: Any, count: int | None) -> bool:
    try:
        return (
            isinstance(value, list)
            and count in (None, len(value))
            and isfinite(sum(value))
        )
    except (OverflowError, TypeError):
        return False


ID = (lambda value: type(value) is int, 'a whole number')
NUMBER = (_is_number, 'a number')
SIZE = (lambda value: _is_number(value) and value > 0, 'a number above 0')
TEXT = (lambda value: isinstance(value, str) and value != '', 'text')
BOX = (lambda value: _are_numbers(value, 4), '4 finite numbers: x, y, width, height')
NAMES = (
    lambda value: isinstance(value, list) and all(map(TEXT[0], value)),
    'a list of names',
)
POINT = (lambda value: _are_numbers(value, 2), '2 finite numbers: x, y')


def inspect_dataset(
    dataset: ConfigDict,
    evaluator: Mapping[str, Any] | None = None,
    details: bool = False,
) -> tuple[Counter, list[str]]:
    """Counts what a data set's files hold, and finds what is wrong with them.

    Args:
        dataset: config of a data set. Formats other than COCO's and MPII's are not
            looked at.
        evaluator: the ``CocoMetric`` of these annotations, if there is one.
        details: Whether to count joints outside the picture and duplicates, too.

    Returns:
        The counts, and sentences with the file, the annotation and what is expected.
    """
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    root = dataset.get('data_root') or ''
    path = join(root, dataset.get('ann_file') or '')
    reader = getattr(kind, '_load_annotations', None)
    is_coco = reader is BaseCocoStyleDataset._load_annotations
    is_mpii = getattr(kind, '__name__', '') == 'MpiiDataset'
    if not path.endswith('.json') or '://' in path or not (is_coco or is_mpii):
        return Counter(), []
    meta = kind._load_metainfo(dataset.get('metainfo'))
    names = [*meta['keypoint_id2name'].values()]
    if kind.parse_data_info is not BaseCocoStyleDataset.parse_data_info:
        names = None  # they are stored in another way
    counts, problems, pictures = Counter(), [], set()
    try:
        content = _load(path)
        if is_mpii:
            _inspect_mpii(content, dataset, counts, problems, pictures)
        else:
            boxes_only = evaluator is None and bool(dataset.get('bbox_file'))
            left = _inspect_coco(content, names, evaluator, counts, boxes_only)
            by_id = {image['id']: image for image in content['images']}
            pictures = {by_id[person['image_id']]['file_name'] for person in left}
            if details:
                _count_details(left, by_id, counts)
        if is_coco and dataset.get('bbox_file') and not problems:
            _inspect_boxes(dataset.bbox_file, by_id.keys(), problems)
    except ValueError as error:
        problems.append(str(error))
    folder = join(root, dataset.get('data_prefix', {}).get('img', ''))
    missing = _missing_pictures(folder, sorted(pictures))
    counts['missing pictures'] = len(missing)
    if missing:
        problems.append(f'{len(missing)} pictures are missing, such as {missing[0]}')
    return counts, [f'{path}: {problem}' for problem in problems]


def _load(path: str) -> Any:
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f'this is not JSON: {error}') from error


def _require_list(value: Any, what: str) -> list:
    if not isinstance(value, list) or not value:
        raise ValueError(f'expected a list of {what}, got {short(value)}')
    return value


def _require(records: list, what: str, rules: Rules, optional: Sequence[str]) -> None:
    """Raises ``ValueError`` for records that break the rules, once for each rule."""
    wrong: dict[str, list[str]] = {}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            wrong.setdefault('must be a dict', []).append(f'{i}, got {short(record)}')
            continue
        for key, (is_good, expected) in rules.items():
            value = record.get(key, MISSING)
            if is_good(value) or (value is MISSING and key in optional):
                continue
            found = 'none' if value is MISSING else short(value)
            if isinstance(value, list):
                found += f' ({len(value)} values)'
            name = record.get('id', f'at place {i}')
            wrong.setdefault(f'{key} must be {expected}', []).append(
                f'{name}, got {found}'
            )
    if wrong:
        raise ValueError(
            '; '.join(
                f'{len(found)} {what} are wrong: {rule} (first: {found[0]})'
                for rule, found in wrong.items()
            )
        )


def _require_unique(records: list[dict], what: str) -> None:
    twice = [i for i, n in Counter(record['id'] for record in records).items() if n > 1]
    if twice:
        raise ValueError(
            f'{len(twice)} ids of {what} are there more than once, such as {twice[0]}. '
            'MMPose would lose all but one.'
        )


def _inspect_coco(
    content: Any,
    names: list[str] | None,
    evaluator: Mapping[str, Any] | None,
    counts: Counter,
    boxes_only: bool,
) -> list[dict]:
    """Counts, and returns the people that MMPose takes."""
    if not isinstance(content, dict):
        raise ValueError(f"expected COCO's dict, got {short(content)}")
    evaluated = evaluator is not None
    images = _require_list(content.get('images'), 'images')
    people = content.get('annotations') or []
    if people or not boxes_only:  # COCO's test-dev has images alone
        _require_list(people, 'annotations')
    of_image = dict(id=ID, file_name=TEXT, width=SIZE, height=SIZE)
    if evaluated and evaluator.get('iou_type') == 'keypoints_crowd':
        of_image['crowdIndex'] = NUMBER
    _require(images, 'images', of_image, ())
    optional = ['bbox', 'keypoints', 'area', 'num_keypoints', 'iscrowd']
    if evaluated and evaluator.get('use_area', True):
        optional.remove('area')
    length = names and 3 * len(names)
    values = f'{length or ""} finite numbers: x, y, v of every keypoint'.lstrip()
    points = (lambda value: _are_numbers(value, length), values)
    of_person = dict(id=ID, image_id=ID, category_id=ID, bbox=BOX, keypoints=points)
    of_person |= dict(area=NUMBER, num_keypoints=ID, iscrowd=NUMBER)
    _require(people, 'annotations', of_person, optional)
    _require_unique(images, 'images')
    _require_unique(people, 'annotations')
    _inspect_categories(content, people, names, evaluated)
    by_id = {image['id']: image for image in images}
    counts.update(images=len(images), annotations=len(people))
    left = [
        x for x in people if not (why := _left_out(x, by_id)) or counts.update([why])
    ]
    counts['people'] = len(left)
    if not left and not boxes_only:
        raise ValueError(
            f'no person is left of {len(people)} annotations '
            f'({", ".join(f"{n} {why}" for why, n in counts.items() if n)})'
        )
    return left


def _count_details(left: list[dict], images: dict[int, dict], counts: Counter) -> None:
    looks = Counter(str([x['image_id'], x['bbox'], x['keypoints']]) for x in left)
    counts['duplicates'] = len(left) - len(looks)
    for person in left:
        image, points = images[person['image_id']], person['keypoints']
        counts['joints outside the picture'] += sum(
            v > 0 and not (0 <= x <= image['width'] and 0 <= y <= image['height'])
            for x, y, v in zip(points[::3], points[1::3], points[2::3])
        )


def _left_out(person: dict, images: dict[int, dict]) -> str:
    """Why MMPose takes no account of a person, or nothing."""
    image = images.get(person['image_id'])
    if image is None:
        return 'of unknown images'
    if 'bbox' not in person or 'keypoints' not in person:
        return 'without box or keypoints'
    if person.get('iscrowd'):
        return 'crowds'
    points = person['keypoints']
    if not person.get('num_keypoints', 1) or max(*points[::3], *points[1::3]) <= 0:
        return 'without keypoints'
    x, y, width, height = person['bbox']
    right, bottom = image['width'] - 1, image['height'] - 1
    if min(x + width, right) <= max(x, 0) or min(y + height, bottom) <= max(y, 0):
        return 'boxes of no area'
    return ''


def _inspect_categories(
    content: dict, people: list[dict], names: list[str] | None, evaluated: bool
) -> None:
    if 'categories' not in content and not evaluated:
        return
    categories = _require_list(content.get('categories'), 'categories')
    _require(categories, 'categories', dict(id=ID, keypoints=NAMES), ['keypoints'])
    unknown = {x['category_id'] for x in people} - {x['id'] for x in categories}
    if unknown:
        raise ValueError(f'annotations have unknown categories: {short(unknown)}')
    for category in categories:
        own = category.get('keypoints')
        if not own or not names:
            continue
        if len(own) != len(names) or (sorted(own) == sorted(names) and own != names):
            raise ValueError(
                f'category {category["id"]} has the keypoints {", ".join(own)}. The '
                f'data set expects {", ".join(names)}.'
            )


def _inspect_mpii(
    content: Any,
    dataset: ConfigDict,
    counts: Counter,
    problems: list[str],
    pictures: set[str],
) -> None:
    people = _require_list(content, 'people')
    joints = (
        lambda value: (
            isinstance(value, list)
            and len(value) == 16
            and all(_are_numbers(point, 2) for point in value)
        ),
        '16 pairs of finite numbers',
    )
    seen = (lambda value: _are_numbers(value, 16), '16 numbers')
    image = (
        lambda value: TEXT[0](value) and value.split('.')[0].isdecimal(),
        'a name that is a number, as in 015601864.jpg',
    )
    rules = dict(image=image, center=POINT, scale=SIZE, joints=joints, joints_vis=seen)
    _require(people, 'people', rules, ())
    points = np.array([person['joints'] for person in people])
    left = points.max((1, 2)) > 0
    counts.update({'people': left.sum(), 'without keypoints': (~left).sum()})
    pictures.update(person['image'] for person in people)
    counts['images'] = len(pictures)
    if not left.any():
        raise ValueError('no person has keypoints')
    if dataset.get('headbox_file'):
        _inspect_heads(dataset.headbox_file, points, people, problems)


def _inspect_heads(
    path: str, points: np.ndarray, people: list[dict], problems: list[str]
) -> None:
    """MMPose takes the sizes of heads by place. So the boxes must be of these heads."""
    heads = loadmat(path)['headboxes_src'].transpose(2, 0, 1)  # (N, 2, 2), corners
    if len(heads) != len(people):
        problems.append(f'{len(people)} people, but {path} has {len(heads)} heads')
        return
    seen = np.array([person['joints_vis'] for person in people])[:, HEAD].all(1)
    corners = np.stack([heads.min(1), heads.max(1)])
    margin = corners[1] - corners[0]
    middle = points[:, HEAD].mean(1)
    inside = (middle > corners[0] - margin) & (middle < corners[1] + margin)
    wrong = np.flatnonzero(seen & ~inside.all(1))
    if len(wrong) > 0.2 * seen.sum():
        problems.append(
            f'the heads of {path} are of other people, the first at place {wrong[0]} '
            f'({people[wrong[0]]["image"]}): both files must have the same order'
        )


def _inspect_boxes(path: str, images: Container[int], problems: list[str]) -> None:
    boxes = _require_list(_load(path), 'detections')
    rules = dict(image_id=ID, category_id=ID, score=NUMBER)
    rules['bbox'] = (lambda value: _are_numbers(value, None) and len(value) > 3, BOX[1])
    try:
        _require(boxes, 'detections', rules, ())
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    unknown = [b['image_id'] for b in boxes if b['image_id'] not in images]
    if unknown:
        problems.append(f'{path} has boxes of unknown images, such as {unknown[0]}')
    if not any(box['category_id'] == 1 for box in boxes):
        problems.append(f'{path} has no box of category 1, which MMPose takes')


def _missing_pictures(folder: str, names: list[str]) -> list[str]:
    """Those of at most ``PICTURES`` names that are no files."""
    if '://' in folder:
        return []
    if len(names) > PICTURES:
        names = Random(0).sample(names, PICTURES)
    return [path for name in names if not exists(path := join(folder, name))]

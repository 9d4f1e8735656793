"""Annotation files in COCO's and MPII's format, checked before MMPose reads them."""

import json
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from math import isfinite
from os import environ, stat
from os.path import expanduser, getsize, isfile, join, realpath
from pathlib import Path
from random import Random
from reprlib import repr as short
from typing import Any

import cv2
import numpy as np
from mmengine.config import ConfigDict
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from PIL import Image
from scipy.io import loadmat

from ..checkpoint.files import write_whole

PICTURES = 1000  # that are looked for on the disk
LARGE = 10_000_000  # bytes: reading takes longer than keeping the result
HEAD = [8, 9]  # MPII's upper neck and top of the head
LARGEST = 1e300
ORIENTATION = 0x0112  # in EXIF
MISSING = object()
Rules = Mapping[str, tuple[Callable[[Any], bool], str]]  # a test, what it expects
Picture = tuple[str, int, int]  # name, width and height, or 0 if they are not said


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and -LARGEST < value < LARGEST


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
AREA = (lambda value: _is_number(value) and value >= 0, 'a number of at least 0')
TEXT = (lambda value: isinstance(value, str) and value != '', 'text')
BOX = (lambda value: _are_numbers(value, 4), '4 finite numbers: x, y, width, height')
NAMES = (
    lambda value: isinstance(value, list) and all(map(TEXT[0], value)),
    'a list of names',
)
OF_MPII = dict(
    image=(
        lambda value: TEXT[0](value) and value.split('.')[0].isdecimal(),
        'a name that is a number, as in 015601864.jpg',
    ),
    center=(lambda value: _are_numbers(value, 2), '2 finite numbers: x, y'),
    scale=SIZE,
    joints=(
        lambda value: (
            isinstance(value, list)
            and len(value) == 16
            and all(_are_numbers(point, 2) for point in value)
        ),
        '16 pairs of finite numbers',
    ),
    joints_vis=(lambda value: _are_numbers(value, 16), '16 numbers'),
)


def _kind(dataset: ConfigDict) -> Any:
    kind = dataset.get('type')
    return DATASETS.get(kind) if isinstance(kind, str) else kind


def keypoint_names(dataset: ConfigDict) -> list[str]:
    """Names of a data set's keypoints, or of what it is combined to.

    Raises:
        ValueError: its ``metainfo`` is not MMPose's.
    """
    meta = dataset.get('metainfo') or getattr(_kind(dataset), 'METAINFO', None)
    if not meta:
        return []
    try:
        parsed = parse_pose_metainfo(deepcopy(meta))
        if dataset.get('metainfo'):
            _require_order(parsed)
        return [*parsed['keypoint_id2name'].values()]
    except Exception as error:  # of any type, as MMPose checks little
        own = meta if isinstance(meta, dict) else {}
        what = own.get('from_file', f'{dataset.get("type")}.metainfo')
        raise ValueError(
            f'{what} does not describe keypoints as in docs/custom.md: {error!r}'
        ) from error


def _require_order(meta: Mapping[str, Any]) -> None:
    names, flip = [*meta['keypoint_id2name'].values()], meta['flip_indices']
    if [*meta['keypoint_id2name']] != [*range(len(names))]:
        raise ValueError('the numbers of keypoints must be 0, 1, 2, ... in this order')
    for name, other in zip(names, flip):
        if names[flip[other]] != name:
            raise ValueError(f'{name} swaps with {names[other]}, which swaps otherwise')
    if len(meta['sigmas']) not in (0, len(names)):  # most of faces have none
        raise ValueError(f'{len(names)} keypoints have {len(meta["sigmas"])} sigmas')


def inspect_dataset(
    dataset: ConfigDict, evaluator: Mapping[str, Any] | None = None
) -> tuple[Counter, list[str]]:
    """Counts what a data set's files hold, and finds what is wrong with them.

    Args:
        dataset: config of a data set. Formats other than COCO's and MPII's are not
            looked at.
        evaluator: the ``CocoMetric`` of these annotations, if there is one.

    Returns:
        The counts, and sentences with the file, the annotation and what is expected.
    """
    kind = _kind(dataset)
    root = dataset.get('data_root') or ''
    path = join(root, dataset.get('ann_file') or '')
    reader = getattr(kind, '_load_annotations', None)
    is_coco = reader is BaseCocoStyleDataset._load_annotations
    is_mpii = getattr(kind, '__name__', '') == 'MpiiDataset'
    if not path.endswith('.json') or '://' in path or not (is_coco or is_mpii):
        return Counter(), []
    counts: Counter = Counter()
    boxes, heads = dataset.get('bbox_file'), dataset.get('headbox_file')
    try:
        names = None if is_mpii else keypoint_names(dataset)
        if kind.parse_data_info is not BaseCocoStyleDataset.parse_data_info:
            names = None  # they are stored in another way
        asked = evaluator and (evaluator.get('iou_type'), evaluator.get('use_area', 1))
        record = _record([path, boxes, heads], is_mpii, names, asked)
        kept = _kept(record)
        if kept:
            counts, pictures = Counter(kept[0]), kept[1]
        elif is_mpii:
            pictures = _some(_inspect_mpii(_load(path), heads, counts))
        else:
            found = _inspect_coco(_load(path), names, evaluator, boxes, counts)
            pictures = _some(found)
        folder = dataset.get('data_prefix', {}).get('img', '')
        # MMPose reads pictures upright, unless LoadImage.color_type says otherwise
        upright = '_ignore_orientation' not in str(dataset.get('pipeline'))
        _require_files(join(root, folder), pictures, upright)
    except ValueError as error:
        return counts, [f'{path}: {error}']
    if record and not kept:
        with suppress(OSError):
            write_whole(json.dumps([counts, pictures]).encode(), record)
    return counts, []


def _record(files: Sequence[str | None], *settings: Any) -> Path | None:
    """Where the result of a large file is kept, until that file or a rule changes."""
    paths = [realpath(file) for file in (*files, __file__) if file]
    states = [stat(path) for path in paths]
    if states[0].st_size < LARGE:
        return None
    times = [(state.st_size, state.st_mtime_ns) for state in states]
    key = sha256(repr((paths, times, settings)).encode()).hexdigest()
    # Not Path.expanduser, which fails for a user without a home
    cache = Path(environ.get('XDG_CACHE_HOME') or expanduser('~/.cache'))
    if not cache.is_absolute():
        return None
    return cache / 'ldcrn_mm' / f'{key}.json'


def _kept(record: Path | None) -> Any:
    """Counts and some pictures of a file that was right, or nothing."""
    try:
        return json.loads(record.read_bytes()) if record else None
    except (OSError, ValueError):
        return None


def _some(pictures: set[Picture]) -> list[Picture]:
    """The pictures to look for: all, or ``PICTURES`` of them."""
    ordered = sorted(pictures)
    return Random(0).sample(ordered, PICTURES) if len(ordered) > PICTURES else ordered


def _load(path: str) -> Any:
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except (RecursionError, ValueError) as error:
            raise ValueError(f'this is not JSON: {error}') from error


def _require(
    records: Any, what: str, rules: Rules, optional: Container[str] = ()
) -> list[dict]:
    """The records, which keep the rules.

    Raises:
        ValueError: names the first of those that break a rule, for each rule.
    """
    if not isinstance(records, list) or not records:
        raise ValueError(f'expected a list of {what}, got {short(records)}')
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
    return records


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
    bbox_file: str | None,
    counts: Counter,
) -> set[Picture]:
    """Counts, and returns the pictures that MMPose reads."""
    if not isinstance(content, dict):
        raise ValueError(f"expected COCO's dict, got {short(content)}")
    of_image = dict(id=ID, file_name=TEXT, width=SIZE, height=SIZE)
    if evaluator and evaluator.get('iou_type') == 'keypoints_crowd':
        of_image['crowdIndex'] = NUMBER
    images = _require(content.get('images'), 'images', of_image)
    _require_unique(images, 'images')
    counts['images'] = len(images)
    by_id = {image['id']: image for image in images}
    boxes_only = evaluator is None and bool(bbox_file)
    people = []
    if content.get('annotations') or not boxes_only:  # COCO's test-dev has images alone
        _require_people(content, names, evaluator)
        reasons = [_left_out(one, by_id) for one in content['annotations']]
        people = [x for x, why in zip(content['annotations'], reasons) if not why]
        counts['people with keypoints'] = len(people)
        counts.update(filter(None, reasons))
        counts['joints outside the picture'] = _count_outside(people, by_id)
        different = {(x['image_id'], *x['bbox'], *x['keypoints']) for x in people}
        counts['duplicates'] = len(people) - len(different)
        if not people and not boxes_only:
            why = ', '.join(f'{n} {why}' for why, n in Counter(reasons).items())
            raise ValueError(f'no person is left of {len(reasons)} annotations ({why})')
    if bbox_file:
        _inspect_boxes(bbox_file, by_id)
    read = [by_id[person['image_id']] for person in people]
    return {(x['file_name'], x['width'], x['height']) for x in read}


def _require_people(
    content: dict, names: list[str] | None, evaluator: Mapping[str, Any] | None
) -> None:
    """Checks the annotations, and the categories that they name."""
    optional = {'bbox', 'keypoints', 'area', 'num_keypoints', 'iscrowd'}
    if evaluator is not None:  # it also reads whom MMPose leaves out
        optional -= {'bbox', 'keypoints'}
        if evaluator.get('use_area', True):
            optional.remove('area')
        if evaluator.get('iou_type') == 'keypoints_crowd':
            optional.remove('num_keypoints')
    length = names and 3 * len(names)
    values = f'{length or ""} finite numbers: x, y, v of every keypoint'.lstrip()
    points = (
        lambda value: (
            _are_numbers(value, length) and min(value[2::3], default=0) >= 0
        ),  # else a weight below 0
        f'{values}, v at least 0',
    )
    rules = dict(id=ID, image_id=ID, category_id=ID, bbox=BOX, keypoints=points)
    rules |= dict(area=AREA, num_keypoints=ID, iscrowd=NUMBER)
    people = _require(content.get('annotations'), 'annotations', rules, optional)
    _require_unique(people, 'annotations')
    if 'categories' in content or evaluator is not None:
        _inspect_categories(content.get('categories'), people, names)


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
    highest = max([*points[::3], *points[1::3]], default=0)
    if not person.get('num_keypoints', 1) or highest <= 0:
        return 'without keypoints'
    x, y, width, height = person['bbox']
    right, bottom = image['width'] - 1, image['height'] - 1
    if min(x + width, right) <= max(x, 0) or min(y + height, bottom) <= max(y, 0):
        return 'boxes of no area'
    return ''


def _count_outside(people: list[dict], images: dict[int, dict]) -> int:
    count = 0
    for person in people:
        image, points = images[person['image_id']], person['keypoints']
        width, height = image['width'], image['height']
        for x, y, v in zip(points[::3], points[1::3], points[2::3]):
            count += v > 0 and not (0 <= x <= width and 0 <= y <= height)
    return count


def _inspect_categories(
    categories: Any, people: list[dict], names: list[str] | None
) -> None:
    rules = dict(id=ID, keypoints=NAMES)
    categories = _require(categories, 'categories', rules, ['keypoints'])
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
    content: Any, headbox_file: str | None, counts: Counter
) -> set[Picture]:
    """Counts, and returns the pictures."""
    people = _require(content, 'people', OF_MPII)
    points = np.array([person['joints'] for person in people])
    has_points = points.max((1, 2)) > 0
    pictures = {(person['image'], 0, 0) for person in people}
    counts['images'] = len(pictures)
    counts['people with keypoints'] = int(has_points.sum())
    if not has_points.any():
        raise ValueError('no person has keypoints')
    if headbox_file:
        seen = np.array([person['joints_vis'] for person in people])[:, HEAD].all(1)
        _inspect_heads(headbox_file, points[:, HEAD].mean(1), seen)
    return pictures


def _inspect_heads(path: str, middles: np.ndarray, seen: np.ndarray) -> None:
    """MMPose takes the sizes of heads by place. So the boxes must be of these heads."""
    try:
        heads = loadmat(path)['headboxes_src'].transpose(2, 0, 1)  # (N, 2, 2), corners
    except Exception as error:  # of any type, from a broken file
        raise ValueError(f'{path} has no boxes of heads: {error!r}') from error
    if len(heads) != len(middles):
        raise ValueError(f'{len(middles)} people, but {path} has {len(heads)} heads')
    margin = 1.5 * np.abs(heads[:, 1] - heads[:, 0])
    away = ~(np.abs(middles - heads.mean(1)) <= margin).all(1)  # true for NaN
    wrong = np.flatnonzero(seen & away)
    if len(wrong) > 0.2 * seen.sum():
        raise ValueError(
            f'the heads of {path} are of other people, the first at place {wrong[0]}: '
            'both files must have the same order'
        )


def _inspect_boxes(path: str, images: Container[int]) -> None:
    rules = dict(image_id=ID, category_id=ID, score=NUMBER)
    rules['bbox'] = (lambda value: _are_numbers(value, None) and len(value) > 3, BOX[1])
    try:
        boxes = _require(_load(path), 'detections', rules)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    unknown = [b['image_id'] for b in boxes if b['image_id'] not in images]
    if unknown:
        raise ValueError(f'{path} has boxes of unknown images, such as {unknown[0]}')
    if not any(box['category_id'] == 1 for box in boxes):
        raise ValueError(f'{path} has no box of category 1, which MMPose takes')


def _require_files(folder: str, pictures: Sequence[Picture], upright: bool) -> None:
    if '://' in folder:
        return
    said = {join(folder, name): tuple(size) for name, *size in pictures}
    missing = [path for path in said if not _is_picture(path)]
    if missing:
        raise ValueError(
            f'{len(missing)} pictures are missing or no pictures, such as {missing[0]}'
        )
    sizes = {path: _size(path, upright) for path, size in said.items() if any(size)}
    other = [path for path, size in sizes.items() if size and size != said[path]]
    turned = [path for path in other if sizes[path] == said[path][::-1]]
    # A few must not stop a training on a large public data set. Those of another scale
    # do little harm: MMPose only limits the boxes to these sizes.
    wrong = turned if 20 * len(turned) > len(said) else []
    if wrong := wrong or (other if 2 * len(other) > len(said) else []):
        path = wrong[0]
        raise ValueError(
            f'{len(wrong)} pictures have other sizes than the annotations say, such as '
            f'{path}: MMPose reads it {"upright by EXIF, " if upright else ""}with a '
            f'width and height of {sizes[path]}, not {said[path]}'
        )


def _is_picture(path: str) -> bool:
    """Whether a file is there and, by its beginning, no web page or pointer."""
    if not (isfile(path) and getsize(path)):
        return False
    try:
        Image.open(path).close()
    except Exception:  # of any type, also for formats that only OpenCV knows
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is not None
    return True


def _size(path: str, upright: bool) -> tuple[int, int] | None:
    """Width and height of a picture, if Pillow knows its format."""
    try:
        with Image.open(path) as image:
            if image.getexif().get(ORIENTATION, 1) < 5:
                return image.size
            if image.format not in ('JPEG', 'MPO'):  # libraries differ on the others
                return None
            return image.size[::-1] if upright else image.size
    except Exception:  # of any type, from a broken file
        return None

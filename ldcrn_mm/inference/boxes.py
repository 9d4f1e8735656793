"""Bounding boxes from users: corners x1, y1, x2, y2 in pixels."""

import itertools
import json
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .inputs import PICTURE, InputWarning, path_of

# (N, 4), or (N, 5) with scores
Boxes = np.ndarray | Sequence[Sequence[float]]

SMALLEST, LARGEST = 1e-3, 1e6  # sides in pixels: others would become NaN in a crop
# What reading a file of another format raises
FORMAT_ERRORS = (
    *(AttributeError, LookupError, RecursionError, TypeError),
    *(json.JSONDecodeError, UnicodeDecodeError),
)
NO_BOX = 'without a box of four numbers'
PERSON = ('person', 'persons', 'people', 'pedestrian', 'pedestrians', 'human', 'humans')


def boxes_per_picture(
    bboxes: Boxes | Iterable[Boxes], num_pictures: int | None
) -> Iterator[Boxes]:
    """Boxes of one picture after the other.

    Args:
        bboxes: an (N, 4) array for every picture, or one for each picture, which may
            come from an iterator.
        num_pictures: number of pictures, ``None`` if unknown.

    Raises:
        ValueError: if there are not as many arrays as pictures.
    """
    if isinstance(bboxes, Iterator):
        return bboxes
    listed = isinstance(bboxes, Sequence) and not isinstance(bboxes, str)
    if not listed and not getattr(bboxes, 'ndim', 0):
        raise ValueError(f'Expected boxes, got {bboxes!r:.50}')
    first = _array(bboxes[0]) if len(bboxes) else None
    if first is None or (first.ndim == 1 and first.size):
        return itertools.repeat(bboxes)
    if num_pictures not in (None, len(bboxes)):
        raise ValueError(
            'Expected an (N, 4) array of boxes, or one for each of '
            f'{num_pictures} pictures, got {len(bboxes)}'
        )
    return iter(bboxes)


def check_boxes(boxes: Boxes | None, width: int, height: int, name: str) -> np.ndarray:
    """Boxes of one picture with scores, (N, 5), float32.

    Args:
        boxes: (N, 4) or (N, 5), N may be 0. They may reach over the edges of the
            picture. A score that is not given is 1.
        width: of the picture.
        height: of the picture.
        name: of the picture, for errors.

    Raises:
        ValueError: if boxes are missing, of another shape, not finite, empty, too
            large, shares of the picture, or outside it.
    """
    if boxes is None:
        raise ValueError(f'There are no boxes for {name}. Give [] if nobody is in it.')
    array = _array(boxes)
    if array.shape in ((0,), (0, 4), (0, 5)):
        return np.zeros((0, 5), np.float32)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(
            'Expected boxes of shape (N, 4), corners x1, y1, x2, y2, or (N, 5) with '
            f'scores, got {array.shape or boxes!r:.50} for {name}'
        )
    x1, y1, x2, y2 = array[:, :4].T
    inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
    sides = np.stack([x2 - x1, y2 - y1], axis=1)
    sized = ((sides > SMALLEST) & (sides < LARGEST)).all(1)
    in_pixels = (sides > 1).any(1) | (x2 > 2) | (y2 > 2)  # not shares of the picture
    for box in array[~(np.isfinite(array).all(1) & sized & inside & in_pixels)]:
        corners = ','.join(f'{value:g}' for value in box[:4])
        raise ValueError(
            f'The box {corners} in {name} is empty, not finite, not in pixels or '
            f'outside the picture of {width}x{height}. Expected the corners '
            'x1,y1,x2,y2 in pixels.'
        )
    scores = np.ones((len(array), 5 - array.shape[1]), np.float32)
    return np.concatenate([array, scores], axis=1)


def _array(boxes: Any) -> np.ndarray:
    """As float32, of no dimension if that cannot be."""
    try:
        with np.errstate(over='ignore', invalid='ignore'):
            return np.asarray(boxes, np.float32)
    except (OverflowError, TypeError, ValueError):
        return np.zeros((), np.float32)


def read_boxes(
    path: str | Path, pictures: Sequence[str], score_thr: float = 0.0
) -> list[Boxes | None]:
    """Reads boxes of people from COCO annotations or from a detector's results.

    Annotations name pictures by path. Folders have to agree as far as both paths have
    them. The category is ``person`` or a synonym, and crowds are left out. Results name
    pictures by number, or by path with or without suffix. The category is 1, or 0 in a
    file that counts from 0. A warning counts people who are left out because their box
    is missing or empty, or their picture or category is not in the file.

    Args:
        path: json file.
        pictures: paths of the pictures whose boxes are wanted.
        score_thr: results have to score more.

    Returns:
        For each picture its boxes (N, 4), or (N, 5) with scores, or ``None`` if
        annotations do not know it.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it has another format, no category of people or no valid box, or
            if it knows none of the pictures.
    """
    left_out: Counter[str] = Counter()
    try:
        content = json.loads(Path(path).read_bytes())
        annotated = isinstance(content, dict)
        if annotated:
            boxes = _annotated(content, left_out)
        else:
            boxes = _detected(content, score_thr, left_out)
        if left_out[NO_BOX] and not any(boxes.values()):
            raise TypeError('no `bbox` has four numbers')
    except FORMAT_ERRORS as error:
        raise ValueError(
            f'`{path}` has none of the formats of COCO: `images` and `annotations`, or '
            'a list of `image_id`, `category_id`, `bbox` and `score` '
            f'({type(error).__name__}: {error})'
        ) from error
    if left_out:
        counts = ', '.join(f'{count} {why}' for why, count in left_out.items())
        text = f'`{path}`: people were left out: {counts}.'
        warnings.warn(text, InputWarning, stacklevel=2)
    found = _look_up(boxes, pictures, annotated)
    if pictures and all(people is None for people in found):
        raise ValueError(
            f'`{path}` does not know the picture {pictures[0]}. It knows '
            f'{", ".join(itertools.islice(boxes, 3)) or "none"}.'
        )
    return found if annotated else [people or [] for people in found]


def _annotated(content: dict, left_out: Counter[str]) -> dict[str, list]:
    """Boxes of people by file name."""
    categories = {_id(c['id']): str(c['name']) for c in content.get('categories', [])}
    people = [label for label, name in categories.items() if name.lower() in PERSON]
    if categories and not people:
        raise ValueError(
            'Expected a category `person`, or a synonym of it, got '
            f'{", ".join(categories.values())}. Rename the one that is meant.'
        )
    names: dict[str, str] = {}
    for image in content['images']:
        name = str(image['file_name'])
        if names.setdefault(_id(image['id']), name) != name:
            raise ValueError(
                f'Expected an id for each picture, got {image["id"]} for '
                f'{names[_id(image["id"])]} and {name}. Were files joined?'
            )
    boxes: dict[str, list] = {name: [] for name in names.values()}
    for one in content['annotations']:
        label = _id(one['category_id']) if people else None
        if one.get('iscrowd') or (label in categories and label not in people):
            continue
        name = names.get(_id(one['image_id']))
        if people and label not in categories:
            left_out['of unknown categories'] += 1
        elif name is None:
            left_out['of unknown pictures'] += 1
        elif box := _corners(one, left_out):
            boxes[name].append(box)
    return boxes


def _detected(
    content: list[dict], score_thr: float, left_out: Counter[str]
) -> dict[str, list]:
    """Boxes of people by number or path."""
    labels = {_id(one['category_id']) for one in content}
    person = '0' if '0' in labels else '1'
    if labels and person not in labels:
        raise ValueError(f'Expected category_id 1 for people, got {sorted(labels)}')
    boxes: dict[str, list] = {}
    for one in content:
        people = boxes.setdefault(_id(one['image_id']), [])
        score = _number(one['score'])
        if _id(one['category_id']) != person:
            continue
        if not math.isfinite(score):
            left_out['without a score'] += 1
        elif score > score_thr and (box := _corners(one, left_out)):
            people.append([*box, score])
    return boxes


def _corners(one: dict, left_out: Counter[str]) -> list[float] | None:
    """The box of a person if it has one."""
    box = one.get('bbox')
    x, y, width, height = (
        map(_number, box) if isinstance(box, list) and len(box) == 4 else [math.nan] * 4
    )
    if not math.isfinite(x + y + width + height):
        left_out[NO_BOX] += 1
    elif width <= 0 or height <= 0:
        left_out['with an empty box'] += 1
    else:
        return [x, y, x + width, y + height]
    return None


def _id(value: Any) -> str:
    """An id as text. Tables of numbers with gaps are written as 7.0."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _number(value: Any) -> float:
    """A number, which may be text, or NaN."""
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _look_up(
    boxes: dict[str, list], pictures: Sequence[str], with_suffix: bool
) -> list[list | None]:
    """The boxes of each picture, ``None`` if it is unknown."""
    by_file = defaultdict(list)
    for name, people in boxes.items():
        path = _path(name, with_suffix)
        by_file[path.name].append((f'/{path}', people))
    found = []
    for picture in pictures:
        path = _path(str(path_of(picture)), with_suffix)
        same = [
            people
            for name, people in by_file[path.name]
            if name.endswith(f'/{path}') or f'/{path}'.endswith(name)
        ]
        if len(same) > 1:
            raise ValueError(f'There are boxes of {len(same)} pictures {picture}.')
        found.append(same[0] if same else None)
    return found


def _path(name: str, with_suffix: bool) -> PurePosixPath:
    path = PurePosixPath(name.replace('\\', '/'))
    if with_suffix:
        return path
    stem = PICTURE.sub('', path.name)
    return path.with_name(stem.lstrip('0') or '0')  # 000000000790 is 790

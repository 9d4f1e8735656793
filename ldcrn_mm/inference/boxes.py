"""Bounding boxes from users: corners x1, y1, x2, y2 in pixels."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from .inputs import PICTURE, path_of

# (N, 4), or (N, 5) with scores
Boxes = np.ndarray | Sequence[Sequence[float]]

PERSON = ('person', 'persons', 'people', 'pedestrian', 'pedestrians', 'human', 'humans')


def boxes_per_picture(
    bboxes: Boxes | Sequence[Boxes], num_pictures: int | None
) -> Iterator[Boxes]:
    """Boxes of one picture after the other.

    Args:
        bboxes: an (N, 4) array for every picture, or one for each picture.
        num_pictures: number of pictures, ``None`` if unknown.

    Raises:
        ValueError: if there are not as many arrays as pictures.
    """
    first = np.asarray(bboxes[0]) if len(bboxes) else None
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
        ValueError: if boxes are missing, of another shape, not finite, empty, or
            outside the picture.
    """
    if boxes is None:
        raise ValueError(f'There are no boxes for {name}. Give [] if nobody is in it.')
    array = np.asarray(boxes, np.float32)
    if array.size == 0:
        return np.zeros((0, 5), np.float32)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(
            'Expected boxes of shape (N, 4), corners x1, y1, x2, y2, or (N, 5) with '
            f'scores, got {array.shape} for {name}'
        )
    x1, y1, x2, y2 = array[:, :4].T
    inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
    good = np.isfinite(array).all(1) & (x2 > x1) & (y2 > y1) & inside
    for box in array[~good]:
        corners = ','.join(f'{value:g}' for value in box[:4])
        raise ValueError(
            f'The box {corners} in {name} is empty, not finite or outside the picture '
            f'of {width}x{height}. Expected the corners x1,y1,x2,y2 in pixels.'
        )
    scores = np.ones((len(array), 5 - array.shape[1]), np.float32)
    return np.concatenate([array, scores], axis=1)


def read_boxes(
    path: str | Path, pictures: Sequence[str], score_thr: float = 0.0
) -> list[Boxes]:
    """Reads boxes of people from COCO annotations or from a detector's results.

    Annotations name pictures by path. Folders have to agree as far as both paths have
    them. The category is ``person`` or a synonym, and crowds are left out. Results name
    pictures by number, or by path with or without suffix. The category is 1, or 0 in a
    file that counts from 0.

    Args:
        path: json file.
        pictures: paths of the pictures whose boxes are wanted.
        score_thr: results have to score more.

    Returns:
        For each picture its boxes (N, 4), or (N, 5) with scores.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another format or no category of people, or if a picture
            is not in it.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        annotated = isinstance(content, dict)
        boxes = _annotated(content) if annotated else _detected(content, score_thr)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'`{path}` has none of the formats of COCO: `images` and `annotations`, or '
            'a list of `image_id`, `category_id`, `bbox` and `score` '
            f'({type(error).__name__}: {error})'
        ) from error
    found = _look_up(boxes, pictures, annotated)
    unknown = [name for name, people in zip(pictures, found) if people is None]
    if unknown and (annotated or len(unknown) == len(pictures)):
        raise ValueError(
            f'`{path}` does not know the picture {unknown[0]}. It knows '
            f'{", ".join(itertools.islice(boxes, 3)) or "none"}.'
        )
    return [people or [] for people in found]


def _annotated(content: dict) -> dict[str, list]:
    """Boxes of people by file name."""
    categories = {str(c['id']): str(c['name']) for c in content.get('categories', [])}
    people = [label for label, name in categories.items() if name.lower() in PERSON]
    if categories and not people:
        raise ValueError(
            'Expected a category `person`, or a synonym of it, got '
            f'{", ".join(categories.values())}. Rename the one that is meant.'
        )
    names = {image['id']: image['file_name'] for image in content['images']}
    boxes: dict[str, list] = {name: [] for name in names.values()}
    for one in content['annotations']:
        if one.get('iscrowd') or (people and str(one['category_id']) not in people):
            continue
        boxes[names[one['image_id']]].append(_corners(*one['bbox']))
    return boxes


def _detected(content: list[dict], score_thr: float) -> dict[str, list]:
    """Boxes of people by number or path."""
    labels = {str(one['category_id']) for one in content}
    person = '0' if '0' in labels else '1'
    if labels and person not in labels:
        raise ValueError(f'Expected category_id 1 for people, got {sorted(labels)}')
    boxes: dict[str, list] = {}
    for one in content:
        people = boxes.setdefault(str(one['image_id']), [])
        if str(one['category_id']) == person and one['score'] > score_thr:
            people.append([*_corners(*one['bbox']), one['score']])
    return boxes


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    x, y = float(x), float(y)  # numbers may be text
    return [x, y, x + float(width), y + float(height)]


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

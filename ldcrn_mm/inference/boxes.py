"""Bounding boxes as users give them: corners x1, y1, x2, y2 in pixels."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

# (N, 4), or (N, 5) with scores
Boxes = np.ndarray | Sequence[Sequence[float]]


def boxes_per_picture(
    bboxes: Boxes | Sequence[Boxes], num_pictures: int | None
) -> Iterable[Boxes]:
    """Boxes of one picture after the other.

    Args:
        bboxes: an (N, 4) array of boxes that are meant in every picture, or
            one such array for each picture.
        num_pictures: how many pictures there are, ``None`` where nobody knows.

    Raises:
        ValueError: where there are not as many arrays as pictures.
    """
    first = np.asarray(bboxes[0]) if len(bboxes) else None
    if first is None or (first.ndim == 1 and first.size):
        return itertools.repeat(bboxes)
    if num_pictures is not None and len(bboxes) != num_pictures:
        raise ValueError(
            'Expected an (N, 4) array of boxes, or one for each of '
            f'{num_pictures} pictures, but got {len(bboxes)}.'
        )
    return bboxes


def check_boxes(boxes: Boxes | None, width: int, height: int, name: str) -> np.ndarray:
    """Boxes of one picture with their scores, if they can be what was meant.

    Args:
        boxes: (N, 4), corners x1, y1, x2, y2 in pixels, or (N, 5) with a score
            each; N may be 0. A box may reach over the picture's edge.
        width: of the picture.
        height: of the picture.
        name: what to call the picture in errors.

    Returns:
        (N, 5), float32; scores that were not given are 1.

    Raises:
        ValueError: names the first box that has no area or nothing of the
            picture in it; or there are no boxes, not even an empty array.
    """
    if boxes is None:
        raise ValueError(f'The boxes end before {name}; those of nobody are [].')
    array = np.asarray(boxes, np.float32)
    if array.size == 0:
        return np.zeros((0, 5), np.float32)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(
            'Expected boxes of shape (N, 4), corners x1, y1, x2, y2, or (N, 5) '
            f'with scores, but those of {name} have shape {array.shape}.'
        )
    for box in array:
        problem = _problem(box, width, height)
        if problem:
            corners = ','.join(f'{value:g}' for value in box[:4])
            raise ValueError(
                f'The box {corners} in {name} {problem}. Expected the corners '
                'x1,y1,x2,y2 in pixels.'
            )
    scores = np.ones((len(array), 5 - array.shape[1]), np.float32)
    return np.concatenate([array, scores], axis=1)


def _problem(box: np.ndarray, width: int, height: int) -> str | None:
    x1, y1, x2, y2 = box[:4]
    if not np.isfinite(box).all():
        return 'is not finite'
    if x2 <= x1 or y2 <= y1:
        return 'is empty'
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return f'lies outside the picture, which is {width}x{height} (width x height)'
    return None


def read_boxes(
    path: str | Path, pictures: Sequence[str], score_thr: float = 0.0
) -> list[Boxes]:
    """Boxes of people from a json file in COCO's formats.

    Either annotations (``images`` and ``annotations``; crowds are left out),
    in which pictures go by their file names, or the list of a detector's
    results (``image_id``, ``bbox``, ``score``), for pictures that are named by
    their ids, as COCO's are. Where there are several categories, ``person``
    (in results, category 1) is taken.

    Args:
        path: the file.
        pictures: paths of the pictures whose boxes are wanted.
        score_thr: results must score more than this.

    Returns:
        For each picture its boxes (N, 4), or (N, 5) with scores.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is in neither format, or does not know a picture.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        boxes = (
            _of_annotations(content)
            if isinstance(content, dict)
            else _of_results(content, pictures, score_thr)
        )
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f'`{path}` is in none of the formats of COCO: `images` and '
            '`annotations`, or a list of `image_id`, `category_id`, `bbox` and '
            f'`score` ({type(error).__name__}: {error}).'
        ) from error
    names = [Path(picture).name for picture in pictures]
    unknown = [name for name in names if name not in boxes]
    if unknown:
        raise ValueError(f'`{path}` does not know the picture {unknown[0]}.')
    return [boxes[name] for name in names]


def _of_annotations(content: dict) -> dict[str, Boxes]:
    person = [c['id'] for c in content.get('categories', []) if c['name'] == 'person']
    names = {image['id']: Path(image['file_name']).name for image in content['images']}
    boxes: dict[str, Boxes] = {name: [] for name in names.values()}
    for one in content['annotations']:
        if one.get('iscrowd') or (person and one['category_id'] not in person):
            continue
        boxes[names[one['image_id']]].append(_corners(*one['bbox']))
    return boxes


def _of_results(
    content: list[dict], pictures: Sequence[str], score_thr: float
) -> dict[str, Boxes]:
    ids = {Path(p).name: int(Path(p).stem) for p in pictures if Path(p).stem.isdigit()}
    if {one['image_id'] for one in content}.isdisjoint(ids.values()):
        return {}
    found: dict[int, list] = defaultdict(list)
    for one in content:
        if one['category_id'] == 1 and one['score'] > score_thr:
            corners = _corners(*one['bbox'])
            found[one['image_id']].append([*corners, one['score']])
    return {name: found[i] for name, i in ids.items()}


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y + height]

"""``ldcrn_mm.predict``: the people in pictures, in one call."""

import functools
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Any

import numpy as np
from mmpose.structures import PoseDataSample

from .inferencer import BUILDING, TopdownInferencer
from .inputs import Inputs, Video, name_of, open_inputs
from .outputs import write_drawing


@dataclass(frozen=True, eq=False)
class Person:
    """One person in a picture.

    Attributes:
        keypoints: (K, 2), x and y in pixels, float32.
        scores: (K,), of the keypoints, float32.
        box: (4,), corners x1, y1, x2, y2 in pixels, float32.
        box_score: the detector's, or 1 for a box without one.
        track_id: the same in all frames, with ``tracking=True``.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    box_score: float
    track_id: int | None = None


def predict(
    inputs: Inputs,
    model: str | Path | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    det_model: str | Path | None = None,
    det_weights: str | Path | None = None,
    draw: str | Path | None = None,
    **options: Any,
) -> list[Person] | list[list[Person]]:
    """Finds the people in pictures and their keypoints.

    The models of the last calls stay loaded. For cameras, and where pictures may be
    broken, iterate over a :class:`TopdownInferencer`.

    Args:
        inputs: a picture as path, address or array (H, W, 3) of uint8 in BGR order;
            several of them, a folder or a video.
        model: name or config, by default the published LDCRN.
        weights: checkpoint or exported file.
        device: by default a GPU if there is one.
        det_model: detector, by default MMPose's for people. ``'none'`` takes the whole
            picture for one person.
        det_weights: its checkpoint.
        draw: file for the drawn picture (.jpg or .png), or folder for several pictures
            or a video.
        **options: of :meth:`TopdownInferencer.__call__`, such as ``bboxes``.

    Returns:
        The people in a picture. For several pictures a list of such lists.

    Raises:
        FileNotFoundError: if an input does not exist.
        OSError, ValueError: as :class:`TopdownInferencer`, and if one of several
            pictures cannot be used.
    """
    opened = open_inputs(inputs)
    one = isinstance(inputs, np.ndarray) or (
        isinstance(inputs, str | Path) and opened == [name_of(0, inputs)]
    )
    if isinstance(opened, Video) and opened.num_frames is None:
        raise ValueError('predict needs an end. Iterate over a TopdownInferencer.')
    suffix = '' if draw is None else Path(draw).suffix.lower()
    if draw is not None and not one:
        if suffix in ('.jpg', '.jpeg', '.png', '.mp4'):
            raise ValueError(
                f'draw must be a folder for several pictures or a video, got {draw}'
            )
        options['vis_out_dir'] = draw
    elif draw is not None:
        if suffix not in ('.jpg', '.jpeg', '.png'):
            raise ValueError(f'draw must end in .jpg or .png, got {draw}')
        if not isinstance(inputs, np.ndarray) and realpath(draw) == realpath(opened[0]):
            raise ValueError(f'The drawing would replace the input {inputs}.')
        options['return_vis'] = True
    names = [one and str(one) for one in (model, weights, det_model, det_weights)]
    written = [_time_of(name) for name in names]  # a new file is loaded anew
    with BUILDING:
        inferencer = _opened(*names, device, *written)
    found = []
    for result in inferencer(opened, return_datasamples=True, **options):
        if 'error' in result:
            raise ValueError(result['error'])
        found.append(_people(result['predictions'][0]))
        if one and draw is not None:
            write_drawing(Path(draw), result['visualization'][0])
    return found[0] if one else found


@functools.lru_cache(maxsize=4)
def _opened(
    model: str | None,
    weights: str | None,
    det_model: str | None,
    det_weights: str | None,
    device: str | None,
    *written: float | None,
) -> TopdownInferencer:
    options = dict(det_model=det_model, det_weights=det_weights)
    return TopdownInferencer(model, weights, device, **options)


def _time_of(name: str | None) -> float | None:
    return Path(name).stat().st_mtime if name and Path(name).is_file() else None


def _people(sample: PoseDataSample) -> list[Person]:
    found = sample.pred_instances
    columns = found.keypoints, found.keypoint_scores, found.bboxes, found.bbox_scores
    ids = found.get('track_ids', np.zeros(len(found), int)).tolist()
    return [
        Person(*one, float(score), number or None)
        for *one, score, number in zip(*columns, ids)
    ]

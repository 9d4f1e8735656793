"""Folders of sample data, laid out as MMPose's configs expect them.

::

    <out>/sample_data.json                  what is here, and whether it is whole
    <out>/coco/{train,val}2017/*.jpg
    <out>/coco/annotations/person_keypoints_{train,val}2017.json
    <out>/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json
    <out>/mpii/images/*.jpg
    <out>/mpii/annotations/mpii_{train,val}.json, mpii_gt_val.mat

Picture number ``i`` of a split depends on the seed, the split and ``i`` alone:
a larger set begins with the smaller one, whatever the number of processes.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from .annotations import (
    Record,
    coco_annotations,
    coco_file,
    coco_image,
    imitate_detections,
    mpii_mat,
    mpii_records,
)
from .scene import draw_scene

FORMATS = ('coco', 'mpii')
SPLITS = ('train', 'val')
MARKER = 'sample_data.json'
DRAWING = 1  # raise it when the same seed draws something else than before
FIRST_VAL_ID = 500_001  # below it are the pictures for training
DETECTIONS = 'COCO_val2017_detections_AP_H_56_person.json'


@dataclass(frozen=True)
class Contents:
    """What a folder of sample data holds.

    Args:
        formats: Of :data:`FORMATS`, sorted.
        num_train: Pictures to train on.
        num_val: Pictures to validate on.
        seed: Non-negative.
        simple: See :func:`~.scene.draw_scene`.
        drawing: Version of the drawing code.
    """

    formats: tuple[str, ...]
    num_train: int
    num_val: int
    seed: int
    simple: bool = False
    drawing: int = DRAWING

    def __post_init__(self) -> None:
        unknown = sorted(set(self.formats) - set(FORMATS))
        if unknown or not self.formats:
            raise ValueError(
                f'expected formats out of {", ".join(FORMATS)}; '
                f'got {", ".join(unknown) or "none"}'
            )
        for split in SPLITS:
            number = self.number(split)
            if not 1 <= number < FIRST_VAL_ID:
                raise ValueError(
                    f'num_{split} must be from 1 to {FIRST_VAL_ID - 1}, got {number}'
                )
        if self.seed < 0:
            raise ValueError(f'the seed must not be negative, got {self.seed}')

    def number(self, split: str) -> int:
        """How many pictures a split has."""
        return self.num_train if split == 'train' else self.num_val

    def image_folders(self, split: str) -> list[str]:
        """Where the pictures of a split go, relative to the folder."""
        places = {'coco': f'coco/{split}2017', 'mpii': 'mpii/images'}
        return [places[name] for name in self.formats]

    def annotation_files(self) -> list[str]:
        """All files but the pictures, relative to the folder."""
        files = {
            'coco': [
                *(f'coco/annotations/person_keypoints_{s}2017.json' for s in SPLITS),
                f'coco/person_detection_results/{DETECTIONS}',
            ],
            'mpii': [
                *(f'mpii/annotations/mpii_{s}.json' for s in SPLITS),
                'mpii/annotations/mpii_gt_val.mat',
            ],
        }
        return [path for name in self.formats for path in files[name]]


@dataclass(frozen=True)
class Drawn:
    """The annotations of one picture in all formats."""

    image: Record
    annotations: list[Record]
    detections: list[Record]
    mpii: list[Record]


def make_sample_data(
    out: str | Path,
    formats: Collection[str] = FORMATS,
    num_train: int = 800,
    num_val: int = 200,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    on_picture: Callable[[], None] | None = None,
    simple: bool = False,
) -> bool:
    """Draws people and writes them as COCO and MPII data sets.

    A folder that already holds what is asked for is left as it is. The files of
    annotations come last, so an interrupted run never looks complete, and the
    next one starts it anew.

    Args:
        out: Folder to write into: new, empty, or made by this function.
        formats: ``'coco'``, ``'mpii'`` or both.
        num_train: Pictures to train on.
        num_val: Pictures to validate on.
        seed: Non-negative; decides every byte.
        workers: Processes that draw; the result does not depend on it.
        overwrite: Whether to replace sample data of other arguments. Data that
            this function did not write is never replaced.
        on_picture: Called after every picture.
        simple: Whether to draw only what is easily learnt: one whole person to
            a picture, upright, towards the viewer, nothing before it.

    Returns:
        Whether anything had to be written.

    Raises:
        ValueError: If an argument is out of range.
        NotADirectoryError: If ``out`` is a file.
        FileExistsError: If ``out`` holds something else.
    """
    contents = Contents(tuple(sorted(set(formats))), num_train, num_val, seed, simple)
    if workers < 1:
        raise ValueError(f'expected at least one worker, got {workers}')
    out = Path(out)
    if _holds(out, contents, overwrite):
        return False
    for name in FORMATS:
        shutil.rmtree(out / name, ignore_errors=True)
    for path in (*contents.annotation_files(), MARKER):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
    _write_marker(out, contents, complete=False)
    for split in SPLITS:
        drawn = _draw_split(out, contents, split, workers, on_picture)
        _write_annotations(out, contents, split, drawn)
    _write_marker(out, contents, complete=True)
    return True


def _holds(out: Path, contents: Contents, overwrite: bool) -> bool:
    """Whether a folder already has the contents; raises where it has others."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'{out} is a file; give the name of a folder')
    marker = out / MARKER
    if not marker.exists():
        if out.is_dir() and any(out.iterdir()):
            raise FileExistsError(
                f'{out} is not empty and holds no sample data ({MARKER} is missing); '
                'choose another folder'
            )
        return False
    found = _read_marker(marker)
    complete = found.pop('complete', False)
    wanted = json.loads(json.dumps(asdict(contents)))
    if found == wanted:
        return complete and _all_there(out, contents)
    if complete and not overwrite:
        raise FileExistsError(
            f'{out} holds other sample data ({_describe(found)}) than asked for '
            f'({_describe(wanted)}); overwrite it (--overwrite) or choose another '
            'folder'
        )
    return False


def _read_marker(marker: Path) -> Record:
    try:
        return json.loads(marker.read_text(encoding='utf-8'))
    except ValueError as error:
        raise FileExistsError(
            f'{marker} is not what this program wrote ({error}); '
            'remove its folder or choose another one'
        ) from error


def _describe(contents: Record) -> str:
    return ', '.join(f'{name} {value}' for name, value in contents.items())


def _all_there(out: Path, contents: Contents) -> bool:
    """Whether no file has been lost since."""
    expected: dict[str, int] = {}
    for split in SPLITS:
        for folder in contents.image_folders(split):
            expected[folder] = expected.get(folder, 0) + contents.number(split)
    return all((out / path).is_file() for path in contents.annotation_files()) and all(
        sum(1 for _ in (out / folder).glob('*.jpg')) == number
        for folder, number in expected.items()
    )


def _draw_split(
    out: Path,
    contents: Contents,
    split: str,
    workers: int,
    on_picture: Callable[[], None] | None,
) -> list[Drawn]:
    folders = [out / folder for folder in contents.image_folders(split)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (contents.seed, split, index, contents.simple, folders)
        for index in range(contents.number(split))
    ]
    drawn = []
    with _mapper(workers) as mapper:
        for item in mapper(_draw_picture, jobs):
            drawn.append(item)
            if on_picture is not None:
                on_picture()
    return drawn


@contextmanager
def _mapper(workers: int) -> Iterator[Callable]:
    """``map``, in this process or over several; the order is kept.

    The processes are forked: started afresh, each would first import this
    package and with it PyTorch, which takes longer than drawing. OpenCV's
    threads would not survive a fork, so none may be running.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if workers == 1:
            yield map
        else:
            context = multiprocessing.get_context('fork')
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                yield lambda function, jobs: pool.map(function, jobs, chunksize=4)
    finally:
        cv2.setNumThreads(threads)


def _draw_picture(job: tuple[int, str, int, bool, list[Path]]) -> Drawn:
    """Draws one picture, writes it into every folder, returns what goes with it."""
    seed, split, index, simple, folders = job
    identity = (seed, SPLITS.index(split), index)
    scene = draw_scene(identity, simple=simple)
    image_id = (1 if split == 'train' else FIRST_VAL_ID) + index
    rng = np.random.default_rng((*identity, 1))
    quality = int(rng.integers(70, 97))
    _, encoded = cv2.imencode('.jpg', scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    file_name = f'{image_id:012d}.jpg'
    for folder in folders:
        (folder / file_name).write_bytes(encoded.tobytes())
    image = coco_image(scene, image_id, file_name)
    annotations = coco_annotations(scene, image_id)
    detections = imitate_detections(annotations, image, rng)
    return Drawn(image, annotations, detections, mpii_records(scene, file_name))


def _write_annotations(
    out: Path, contents: Contents, split: str, drawn: list[Drawn]
) -> None:
    if 'coco' in contents.formats:
        annotations = [record for item in drawn for record in item.annotations]
        images = [item.image for item in drawn]
        path = out / f'coco/annotations/person_keypoints_{split}2017.json'
        _write_json(path, coco_file(images, annotations, f'{split}2017'))
        if split == 'val':
            detections = [record for item in drawn for record in item.detections]
            _write_json(out / f'coco/person_detection_results/{DETECTIONS}', detections)
    if 'mpii' in contents.formats:
        records = [record for item in drawn for record in item.mpii]
        if split == 'val':
            _write_mat(out / 'mpii/annotations/mpii_gt_val.mat', mpii_mat(records))
        for record in records:
            del record['headbox']
        _write_json(out / f'mpii/annotations/mpii_{split}.json', records)


def _write_marker(out: Path, contents: Contents, complete: bool) -> None:
    _write_json(out / MARKER, dict(asdict(contents), complete=complete))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` that takes its place once it is whole."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(path: Path, content: Record | list[Record]) -> None:
    with _replacing(path) as temporary:
        text = json.dumps(content, separators=(',', ':'))
        temporary.write_text(text + '\n', encoding='utf-8')


def _write_mat(path: Path, variables: dict[str, np.ndarray]) -> None:
    from scipy.io import savemat  # only MPII needs scipy

    content = BytesIO()
    savemat(content, variables)
    # The first 116 bytes are free text, in which scipy puts the time of day.
    header = b'MATLAB 5.0 MAT-file, people drawn by program'.ljust(116)
    with _replacing(path) as temporary:
        temporary.write_bytes(header + content.getvalue()[116:])

"""Files with results: drawn pictures or a video, predictions, and all in COCO's format.

References:
    The format: https://cocodataset.org/#format-data
"""

import json
from collections.abc import Iterator, Mapping
from os.path import realpath  # of loops, too
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import cv2
import mmcv
import numpy as np

from ..checkpoint.files import write_whole
from .inputs import Picture, Video, name_of, path_of

HIGHEST_RATE = 240  # frames per second; a higher one is the unit of the times
USUAL_RATE = 60
LONGEST_STEP = 60  # seconds between two frames
LARGEST_JPEG = 65_500  # pixels of a side


class CocoResults:
    """All people of a call in one file, as annotations in COCO's format.

    A keypoint has v = 2 if its score reaches ``kpt_thr``, as when it is drawn, else 0.
    It keeps its coordinates. The score of a person is MMPose's: that of the box times
    the mean of the keypoints. The area is that of the box.

    Args:
        path: json file.
        meta: of the data set, with the names of keypoints and the skeleton.
        kpt_thr: lowest score of a visible keypoint.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any], kpt_thr: float) -> None:
        self._path, self._kpt_thr = path, kpt_thr
        names = meta.get('keypoint_id2name', {})
        links = meta.get('skeleton_links', [])
        self._person = dict(
            id=1,
            name='person',
            supercategory='person',
            keypoints=[names[i] for i in sorted(names)],
            skeleton=[[a + 1, b + 1] for a, b in links],  # COCO counts from 1
        )
        self._images: list[dict] = []
        self._annotations: list[dict] = []

    def add(self, name: str, size: tuple[int, int], people: list[dict]) -> None:
        """Adds a picture (width, height) and its people."""
        number = len(self._images) + 1
        image = dict(id=number, file_name=name, width=size[0], height=size[1])
        self._images.append(image)
        for one in people:
            scores = one['keypoint_scores']
            visible = [2 if score >= self._kpt_thr else 0 for score in scores]
            points = zip(one['keypoints'], visible)
            x1, y1, x2, y2 = one['bbox'][0]
            person = dict(
                id=len(self._annotations) + 1,
                image_id=number,
                category_id=1,
                keypoints=[value for (x, y), v in points for value in (x, y, v)],
                num_keypoints=sum(v > 0 for v in visible),
                score=one['bbox_score'] * sum(scores) / len(scores),
                keypoint_scores=scores,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if 'track_id' in one:
                person['track_id'] = one['track_id']
            self._annotations.append(person)

    def write(self) -> None:
        """Writes the file whole, if there are results."""
        if self._images:
            content = dict(
                images=self._images,
                annotations=self._annotations,
                categories=[self._person],
            )
            write_whole(json.dumps(content).encode(), self._path)


class Outputs:
    """The files of one call.

    Args:
        inputs: pictures or video of the call.
        vis_dir: folder for what is drawn, if that is saved.
        pred_dir: folder for predictions, if they are saved.
        results: file with all people, if it is saved.

    Raises:
        OSError: if nothing can be written there.
        ValueError: if a file would replace an input or another result.
    """

    def __init__(
        self,
        inputs: list[Picture] | Iterator[Picture] | Video,
        vis_dir: str | Path | None,
        pred_dir: str | Path | None,
        results: CocoResults | None = None,
    ) -> None:
        self._results = results
        self.vis_dir = Path(vis_dir) if vis_dir else None
        self.pred_dir = Path(pred_dir) if pred_dir else None
        self.video = inputs if isinstance(inputs, Video) else None
        self._writer: cv2.VideoWriter | None = None
        self._frames: list[dict] = []
        self._written = 0  # frames of the drawn video
        self._inputs: dict[str, Picture] = {}  # by place
        self._owners: dict[str, str] = {}  # names of pictures, by place of their result
        self._full: set[str] = set()  # names of results with the picture's suffix
        # Of pictures that come one after the other, add() does the same.
        self._known = self.video is not None or isinstance(inputs, list)
        sources = inputs if isinstance(inputs, list) else []
        sources = [self.video.source] if self.video else sources
        for source in sources:
            self._protect(source)
        for index, source in enumerate(sources):
            self._claim(self.video.name if self.video else name_of(index, source))
        for folder in filter(None, (self.vis_dir, self.pred_dir)):
            there = next(path for path in (folder, *folder.parents) if path.exists())
            with TemporaryFile(dir=there):  # an error before the first picture
                pass

    def _protect(self, source: Picture | int) -> None:
        """Remembers an input."""
        if isinstance(source, str | Path):
            self._inputs[realpath(source)] = source

    def _claim(self, name: str) -> None:
        """Takes the files of a picture, which nothing else may have.

        Beside ``a.jpg`` those of ``a.heic`` are ``a.heic.jpg`` and ``a.heic.json``.
        """
        places = {realpath(file) for file in self._files(name) if file}
        others = [self._owners[place] for place in places & self._owners.keys()]
        if any(path_of(other).name != path_of(name).name for other in others):
            self._full.add(name)
        for file in filter(None, self._files(name)):
            place = realpath(file)
            if place in self._inputs:
                owner = f'the input {self._inputs[place]}'
            elif place in self._owners:
                owner = f'those of {self._owners[place]}'
            else:
                self._owners[place] = name
                continue
            raise ValueError(
                f'The results of {name} would replace {owner} in {file}. '
                'Choose another folder, or rename one of them.'
            )

    def add(
        self,
        name: str,
        source: Picture,
        picture: np.ndarray,
        drawn: np.ndarray | None,
        people: list[dict],
    ) -> None:
        """Writes the results of a picture or of the next frame.

        Args:
            name: of the picture.
            source: what the picture was read from.
            picture: (H, W, 3).
            drawn: (H, W, 3), uint8, RGB, if that is saved.
            people: predictions in plain Python types.

        Raises:
            OSError: if a file cannot be written.
        """
        if not self._known:
            self._protect(source)
            self._claim(name)
        drawing, predictions = self._files(self.video.name if self.video else name)
        if self._results:
            path = path_of(name)
            if self.video:
                path = path.with_stem(f'{Path(self.video.name).stem}_{path.stem}')
            self._results.add(path.name, picture.shape[1::-1], people)
        if self.video:
            if predictions:  # else a camera would fill the memory
                frame = dict(frame_id=len(self._frames), instances=people)
                self._frames.append(frame)
            if drawing:
                self._write_frame(drawing, drawn)
            return
        if drawing:
            write_drawing(drawing, drawn)
        if predictions:
            _dump(people, predictions)

    def close(self) -> None:
        """Completes the files of a video and the file of all results."""
        if self._writer:
            self._writer.release()
        if self._frames:
            _dump(self._frames, self._files(self.video.name)[1])
        if self._results:
            self._results.write()
        if self._written:
            file = str(self._files(self.video.name)[0])
            if not cv2.VideoCapture(file).read()[0]:  # OpenCV only warns
                raise OSError(f'`{file}` cannot be played. Is the disk full?')

    def _files(self, name: str) -> tuple[Path | None, Path | None]:
        """Where a drawing and predictions go."""
        path = path_of(name)
        if name in self._full:
            path = path.with_name(f'{path.name}.jpg')
        kept = self.video or path.suffix.lower() in ('.jpg', '.jpeg', '.png')
        drawing = path.name if kept else f'{path.stem}.jpg'
        return (
            self.vis_dir and self.vis_dir / drawing,
            self.pred_dir and self.pred_dir / f'{path.stem}.json',
        )

    def _write_frame(self, file: Path, frame: np.ndarray) -> None:
        """Writes the next frame so often that it is seen at its time.

        OpenCV writes at a constant rate. Frames that come faster are left out.
        """
        frame = mmcv.rgb2bgr(frame)
        rate = self.video.fps if self.video.fps <= HIGHEST_RATE else USUAL_RATE
        if not self._writer:
            str(file).encode()  # an error: OpenCV crashes on names that are not UTF-8
            code = cv2.VideoWriter_fourcc(*'mp4v')
            size = frame.shape[1::-1]
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writer = cv2.VideoWriter(str(file), code, rate, size)
            if not self._writer.isOpened():
                raise OSError(f'OpenCV cannot write `{file}`')
        step = round(self.video.time * rate) - self._written
        if self.video.num_frames is None or abs(step) > LONGEST_STEP * rate:
            step = 0  # a camera, or times that cannot be right
        for _ in range(step):
            self._writer.write(self._last)
        if step >= 0:
            self._writer.write(frame)
        self._written += step + 1
        self._last = frame


def write_drawing(file: Path, drawn: np.ndarray) -> None:
    """Writes a picture (H, W, 3), uint8, RGB, smaller if JPEG cannot hold it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() != '.png' and max(drawn.shape) > LARGEST_JPEG:
        scale = LARGEST_JPEG / max(drawn.shape)
        size = [max(1, int(side * scale)) for side in drawn.shape[1::-1]]
        drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    file.write_bytes(cv2.imencode(file.suffix, mmcv.rgb2bgr(drawn))[1])


def _dump(content: list[dict], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent='  '))

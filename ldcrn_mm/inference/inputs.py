"""What can be given to the inferencer, opened and checked before it runs."""

import mimetypes
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np

Picture = str | np.ndarray


class Video:
    """The frames of a video file, a stream or a camera, to be read once.

    Iterating yields frames of shape (H, W, 3), uint8, in BGR order.

    Args:
        source: a path or address that OpenCV can open, or the number of a
            camera.

    Attributes:
        name: file name for what is made of this video, always an mp4.
        fps: frames per second, 25 where the source does not know.
        num_frames: as the container tells it, ``None`` where it has no end.

    Raises:
        ValueError: where not even one frame can be read.
    """

    def __init__(self, source: str | int) -> None:
        self._capture = cv2.VideoCapture(source)
        success, self._first = self._capture.read()
        if not success:
            what = f'camera {source}' if isinstance(source, int) else f'`{source}`'
            raise ValueError(
                f'OpenCV can read no frame of {what}. Expected a picture, a folder '
                'of pictures, a video, `webcam` or `webcam:NUMBER`.'
            )
        stem = 'webcam' if isinstance(source, int) else Path(source).stem
        self.name = f'{stem}.mp4'
        self.height, self.width = self._first.shape[:2]
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        success, frame = self._first is not None, self._first
        self._first = None
        try:
            while success:
                yield frame
                success, frame = self._capture.read()
        finally:
            self._capture.release()


Inputs = str | Path | int | np.ndarray | Sequence[str | Path | np.ndarray] | Video


def open_inputs(inputs: Inputs) -> list[Picture] | Video:
    """Finds out what was given, and whether it can be read.

    Args:
        inputs: a picture as path, address or array (H, W, 3) of uint8 in BGR
            order; several of them; a folder, of which all pictures are taken
            in the order of their names; a video, as path or address; a
            camera's number, ``'webcam:NUMBER'`` or ``'webcam'`` for the first.

    Returns:
        The pictures, not read yet, or the video.

    Raises:
        FileNotFoundError: where a file does not exist, or a folder has no
            pictures.
        ValueError: where a file is neither a picture nor a video.
    """
    if isinstance(inputs, Video):
        return inputs
    if isinstance(inputs, int):
        return Video(inputs)
    if isinstance(inputs, np.ndarray):
        return [_checked(inputs)]
    if not isinstance(inputs, str | Path):
        return [_checked(picture) for picture in inputs]
    name = str(inputs)
    camera = re.fullmatch(r'webcam(?::(\d+))?', name)
    if camera:
        return Video(int(camera[1] or 0))
    if Path(name).is_dir():
        return _pictures_of(Path(name))
    if '://' in name:
        return [name] if _is_named_picture(name) else Video(name)
    if not Path(name).exists():
        raise FileNotFoundError(f'There is no file or folder `{name}`.')
    return [name] if cv2.haveImageReader(name) else Video(name)


def read_picture(picture: Picture) -> np.ndarray:
    """A picture as MMPose's pipelines load it: (H, W, 3), uint8, BGR.

    Raises:
        FileNotFoundError: where the file does not exist (any more).
        ValueError: where OpenCV cannot decode it.
    """
    if isinstance(picture, np.ndarray):
        return picture
    try:
        image = mmcv.imread(picture, flag='color')
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f'`{picture}` is not a picture that OpenCV can read.')
    return image


def _pictures_of(folder: Path) -> list[Picture]:
    files = sorted(str(p) for p in folder.iterdir() if _is_named_picture(p.name))
    if not files:
        raise FileNotFoundError(f'There are no pictures in the folder `{folder}`.')
    return [_checked(file) for file in files]


def _is_named_picture(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or '').startswith('image/')


def _checked(picture: str | Path | np.ndarray) -> Picture:
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(
                'Expected a picture of shape (H, W, 3) and type uint8, in BGR '
                f'order, but got {picture.shape} and {picture.dtype}.'
            )
        return np.ascontiguousarray(picture)  # which OpenCV insists on
    name = str(picture)
    if '://' in name:
        return name
    if not Path(name).is_file():
        raise FileNotFoundError(f'There is no picture `{name}`.')
    if not cv2.haveImageReader(name):
        raise ValueError(f'`{name}` is not a picture that OpenCV can read.')
    return name

"""What can be given to the inferencer: pictures, folders, videos and cameras."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import urlopen

import cv2
import numpy as np

from ..checkpoint.files import TIMEOUT

Picture = str | np.ndarray


class InputWarning(UserWarning):
    """Something was left out or taken another way than might be expected."""


# Not from `mimetypes`, which depends on files of the system.
PICTURE = re.compile(
    r'\.(avif|bmp|dib|gif|hei[cf]|jfif|jp2|jpe?g|jp[ef]|p[bgnp]m|png|tiff?|webp)$',
    re.IGNORECASE,
)


class Video:
    """Frames of a video or a camera, (H, W, 3), uint8, BGR, to be read once.

    Args:
        source: path or address that OpenCV can open, or number of a camera.

    Attributes:
        name: file name for the drawn video, always an mp4.
        fps: frames per second, 25 if the source does not say.
        num_frames: as the container says, ``None`` for a stream or a camera.

    Raises:
        ValueError: if not even one frame can be read.
    """

    def __init__(self, source: str | int) -> None:
        self.source = source
        self._capture = cv2.VideoCapture(source)
        success, self._first = self._capture.read()
        if not success:
            what = f'camera {source}' if isinstance(source, int) else f'`{source}`'
            raise ValueError(
                f'OpenCV can read no frame of {what}. Expected a picture, a folder of '
                'pictures, a video, `webcam` or `webcam:NUMBER`.'
            )
        stem = 'webcam' if isinstance(source, int) else path_of(source).stem
        self.name = f'{stem}.mp4'
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
    """Finds out what was given. Pictures are not read yet.

    Args:
        inputs: a picture as path, address or array (H, W, 3) of uint8 in BGR order;
            several of them; a folder, for all its pictures by name; a video as path
            or address; a camera's number, ``'webcam:NUMBER'`` or ``'webcam'``.

    Raises:
        FileNotFoundError: if a file does not exist, or a folder has no pictures.
        ValueError: if it is neither a picture nor a video.
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
    if camera := re.fullmatch(r'webcam(?::(\d+))?', name):
        return Video(int(camera[1] or 0))
    if name and Path(name).is_dir():
        return _pictures_in(Path(name))
    is_file = '://' not in name
    if is_file and not (name and Path(name).exists()):
        raise FileNotFoundError(f'There is no file or folder `{name}`.')
    if PICTURE.search(path_of(name).name):
        return [name]
    name.encode()  # an error: OpenCV crashes on names that are not UTF-8
    return [name] if is_file and cv2.haveImageReader(name) else Video(name)


def read_picture(picture: Picture) -> np.ndarray:
    """A picture as MMPose's pipelines load it: (H, W, 3), uint8, BGR, upright.

    Raises:
        OSError: if the file or the address cannot be read.
        ValueError: if OpenCV cannot decode it.
    """
    if isinstance(picture, np.ndarray):
        return picture
    if '://' in picture:
        with urlopen(picture, timeout=TIMEOUT) as answer:
            content = answer.read()
    else:
        content = Path(picture).read_bytes()
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f'`{picture}` is not a picture that OpenCV can read.')
    return image


def name_of(index: int, picture: Picture) -> str:
    """Path or address of a picture, or a file name with the number of an array."""
    return picture if isinstance(picture, str) else f'{index:06d}.jpg'


def path_of(name: str) -> PurePath:
    """Path of a file, or of an address without its query."""
    return PurePath(urlsplit(name).path if '://' in name else name)


def _pictures_in(folder: Path) -> list[Picture]:
    files = [path for path in folder.iterdir() if PICTURE.search(path.name)]
    if not files:
        raise FileNotFoundError(f'There are no pictures in the folder `{folder}`.')
    return sorted(map(str, files))


def _checked(picture: str | Path | np.ndarray) -> Picture:
    if not isinstance(picture, np.ndarray):
        if '://' not in str(picture) and not Path(picture).is_file():
            raise FileNotFoundError(f'There is no picture `{picture}`.')
        return str(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            'Expected a picture of shape (H, W, 3) and type uint8, in BGR order, got '
            f'{picture.shape} and {picture.dtype}.'
        )
    return np.ascontiguousarray(picture)  # OpenCV needs it

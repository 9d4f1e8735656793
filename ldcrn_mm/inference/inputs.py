"""What can be given to the inferencer: pictures, folders, videos and cameras."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from os.path import abspath, exists
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import url2pathname, urlopen

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..checkpoint.files import TIMEOUT

Picture = str | Path | np.ndarray
FRAME_RATE = 25.0  # where a source does not say

# Not from `mimetypes`, which depends on files of the system.
PICTURE = re.compile(
    r'\.(avif|bmp|dib|gif|hei[cf]|jfif|jp2|jpe?g|jp[ef]|p[bgnp]m|png|tiff?|webp)$',
    re.IGNORECASE,
)
# FFmpeg reads the first tile of HEIF as a video, OpenCV a raw photograph's thumbnail.
HEIF = re.compile(rb'.{4}ftyp(avi[fs]|crx |he[iv][cmsx]|m[is]f\d)', re.DOTALL)
RAW = re.compile(r'\.(arw|cr[23w]|dng|nef|nrw|orf|pef|raf|rw2|srw)$', re.IGNORECASE)


class InputWarning(UserWarning):
    """Something was left out or taken another way than might be expected."""


class Video:
    """Frames of a video or a camera, (H, W, 3), uint8, BGR, to be read once.

    Iterating raises a ``ValueError`` after the last frame of a video that breaks off,
    and the second time.

    Args:
        source: path or address that OpenCV can open, or number of a camera.

    Attributes:
        name: file name for the drawn video, always an mp4.
        fps: frames per second, 25 if the source does not say.
        num_frames: as the container says, ``None`` for a stream or a camera.
        time: of the last frame, in seconds from the first one.

    Raises:
        ValueError: if not even one frame can be read.
    """

    def __init__(self, source: str | int) -> None:
        self.source = source
        self.time = 0.0
        is_file = isinstance(source, str) and exists(source)
        # FFmpeg takes 12:30.mp4 for an address, but no absolute path.
        self._capture = cv2.VideoCapture(abspath(source) if is_file else source)
        success, self._first = self._capture.read()
        if not success:
            what = f'camera {source}' if isinstance(source, int) else f'`{source}`'
            raise ValueError(
                f'OpenCV can read no frame of {what}. Expected a picture, a folder of '
                'pictures, a video, `webcam` or `webcam:NUMBER`.'
            )
        stem = 'webcam' if isinstance(source, int) else path_of(source).stem
        self.name = f'{stem}.mp4'
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or FRAME_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._first is None:
            raise ValueError(f'`{self.source}` was read before. Open it again.')
        success, frame = True, self._first
        self._first, frames = None, 0
        start = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        try:
            while success:
                self.time = (self._capture.get(cv2.CAP_PROP_POS_MSEC) - start) / 1000
                frames += 1
                yield frame
                success, frame = self._capture.read()
        finally:
            self._capture.release()
        if self._breaks_off(frames):
            raise ValueError(
                f'`{self.source}` breaks off: {frames} of {self.num_frames} frames '
                'could be read.'
            )

    def _breaks_off(self, frames: int) -> bool:
        if frames >= (self.num_frames or 0):
            return False
        # The number may be computed from the duration, perhaps of longer sound.
        duration = self.num_frames / self.fps
        return duration - self.time - 1 / self.fps > max(0.25, 0.02 * duration)


Inputs = str | Path | int | np.ndarray | Iterable[Picture] | Video


def open_inputs(inputs: Inputs) -> list[Picture] | Iterator[Picture] | Video:
    """Finds out what was given. Pictures are not read yet, nor files of a list sought.

    Args:
        inputs: a picture as path, address or array (H, W, 3) of uint8 in BGR order;
            a list of them, or another iterable, which may be endless; a folder, for
            all its pictures by name; a video or animated GIF as path or address; a
            camera's number, ``'webcam:NUMBER'`` or ``'webcam'``.

    Raises:
        FileNotFoundError: if a file does not exist, or a folder has no pictures.
        ValueError: if it is something else.
    """
    if isinstance(inputs, Video):
        return inputs
    if isinstance(inputs, int) and not isinstance(inputs, bool) and inputs >= 0:
        return Video(inputs)
    if isinstance(inputs, np.ndarray):
        return [_checked(inputs)]
    if isinstance(inputs, list | tuple):
        return [_checked(picture) for picture in inputs]
    if isinstance(inputs, str | Path):
        return _open(_local(str(inputs)))
    other = isinstance(inputs, bytes | Mapping) or hasattr(inputs, 'shape')
    if other or not isinstance(inputs, Iterable):
        raise ValueError(
            'Expected a path, an address, an array, several of these, a video, or the '
            f'number of a camera, got {inputs!r:.50} ({type(inputs).__name__}).'
        )
    return iter(inputs)


def _open(name: str) -> list[Picture] | Video:
    if camera := re.fullmatch(r'webcam(?::(\d+))?', name):
        return Video(int(camera[1] or 0))
    if name and Path(name).is_dir():
        return _pictures_in(Path(name))
    is_file = '://' not in name
    if is_file and not (name and Path(name).exists()):
        raise FileNotFoundError(f'There is no file or folder `{name}`.')
    path = path_of(name)
    if is_file and path.suffix.lower() == '.gif' and _count(Path(name)) > 1:
        return Video(name)
    if PICTURE.search(path.name) or RAW.search(path.name):
        return [name]
    name.encode()  # an error: OpenCV crashes on names that are not UTF-8
    if not is_file:
        return [name] if _leads_to_picture(name) else Video(name)
    with Path(name).open('rb') as file:
        is_picture = HEIF.match(file.read(12)) or cv2.haveImageReader(name)
    return [name] if is_picture else Video(name)


def read_picture(picture: Picture) -> np.ndarray:
    """A picture as MMPose's pipelines load it: (H, W, 3), uint8, BGR, upright.

    Warns if there are more pictures in a file than the first.

    Raises:
        OSError: if the file or the address cannot be read.
        ValueError: if it cannot be decoded.
    """
    picture = _checked(picture)
    if isinstance(picture, np.ndarray):
        return picture
    if '://' not in picture and not Path(picture).is_file():  # a pipe would wait
        raise FileNotFoundError(f'There is no picture `{picture}`.')
    if RAW.search(path_of(picture).name):
        raise ValueError(f'`{picture}` is a raw photograph. Convert it to JPEG.')
    content = _content(picture)
    image = _decode(content)
    if image is None and HEIF.match(content):
        raise ValueError(
            f'`{picture}` is in HEIF (HEIC, AVIF), which cannot be decoded here. '
            'Install a decoder (pip install pillow-heif), or convert it to JPEG.'
        )
    if image is None:
        raise ValueError(f'`{picture}` is not a picture that OpenCV can read.')
    if not content.startswith(b'\xff\xd8') and (count := _count(content)) > 1:
        text = f'`{picture}` has {count} pictures. Only the first one is used.'
        warnings.warn(text, InputWarning, stacklevel=2)
    return image


def _leads_to_picture(address: str) -> bool:
    """Whether an address without a picture's suffix has one."""
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:
            kind, start = answer.headers.get_content_type(), answer.read(12)
    except (HTTPException, OSError, ValueError):
        return False
    known = start.startswith((b'\xff\xd8\xff', b'\x89PNG')) or HEIF.match(start)
    return bool(known) or kind.startswith('image/')


def _content(picture: str) -> bytes:
    if '://' not in picture:
        return Path(picture).read_bytes()
    try:
        with urlopen(picture, timeout=TIMEOUT) as answer:
            return answer.read()
    except (HTTPException, OSError, ValueError) as error:
        raise OSError(f'cannot read {picture}: {error}') from error


def _decode(content: bytes) -> np.ndarray | None:
    if HEIF.match(content):  # OpenCV does not turn them upright
        try:
            from pillow_heif import register_heif_opener

            register_heif_opener()
        except ImportError:
            pass
        try:
            with Image.open(io.BytesIO(content)) as image:
                upright = ImageOps.exif_transpose(image).convert('RGB')
            return np.ascontiguousarray(np.asarray(upright)[..., ::-1])
        except Exception:  # Pillow raises any type on a broken file
            pass
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _count(source: Path | bytes) -> int:
    """Number of pictures in a file."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file) as image:
            return getattr(image, 'n_frames', 1)
    except Exception:  # Pillow raises any type on a broken file
        return 1


def name_of(index: int, picture: Picture) -> str:
    """Path or address of a picture, or a file name with the number of an array."""
    if isinstance(picture, str | Path):
        return _local(str(picture))
    return f'{index:06d}.jpg'


def _local(name: str) -> str:
    """Path of an address that begins with ``file:``, any other name as it is."""
    return url2pathname(urlsplit(name).path) if name.startswith('file://') else name


def path_of(name: str) -> PurePath:
    """Path of a file, or host and path of an address, without secrets."""
    if '://' not in name:
        return PurePath(name)
    address = urlsplit(name)
    return PurePath(f'{address.hostname}{address.path}')  # rtsp://host/ has no path


def _pictures_in(folder: Path) -> list[Picture]:
    files = [path for path in folder.iterdir() if PICTURE.search(path.name)]
    if not files:
        raise FileNotFoundError(f'There are no pictures in the folder `{folder}`.')
    return sorted(map(str, files))


def _checked(picture: Picture) -> str | np.ndarray:
    if isinstance(picture, str | Path):
        return _local(str(picture))
    shape, dtype = getattr(picture, 'shape', ()), getattr(picture, 'dtype', None)
    if not isinstance(picture, np.ndarray) or dtype != np.uint8 or shape[2:] != (3,):
        raise ValueError(
            'Expected a path, an address, or a picture of shape (H, W, 3) and type '
            f'uint8, in BGR order, got {shape or type(picture).__name__} and {dtype}.'
        )
    if not picture.size:
        raise ValueError(f'The picture is empty: its shape is {shape}.')
    return np.ascontiguousarray(picture)  # OpenCV needs it

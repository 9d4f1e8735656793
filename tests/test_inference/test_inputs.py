"""What users give: pictures, folders, videos, cameras."""

import mimetypes
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from ldcrn_mm.inference import Video, open_inputs
from ldcrn_mm.inference.inputs import read_picture


@pytest.fixture
def camera(picture, monkeypatch):
    """Stands in for OpenCV's camera: two frames, and it knows nothing of itself."""

    class Camera:
        opened: list = []  # noqa: RUF012
        frames = 2

        def __init__(self, source):
            self.opened.append(source)

        def read(self):
            self.frames -= 1
            return (True, picture) if self.frames >= 0 else (False, None)

        def get(self, what):
            return {cv2.CAP_PROP_FPS: 0.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}[what]

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    return Camera


def test_a_picture_by_path_or_as_an_array(folder, picture):
    file = folder / 'b.png'
    assert open_inputs(file) == open_inputs(str(file)) == [str(file)]
    assert open_inputs(picture)[0] is picture
    assert open_inputs((file, picture))[0] == str(file)
    np.testing.assert_array_equal(read_picture(str(file)), picture)
    (flipped,) = open_inputs(picture[:, ::-1])
    assert flipped.flags.c_contiguous


def test_a_picture_with_another_suffix_is_known_by_its_content(folder):
    renamed = (folder / 'b.png').rename(folder / 'b.dat')
    assert open_inputs(renamed) == [str(renamed)]


@pytest.mark.parametrize('channels', ['gray', 'transparent'])
def test_pictures_become_bgr(tmp_path, picture, channels):
    gray, file = picture[..., 0], str(tmp_path / 'a.png')
    cv2.imwrite(file, gray if channels == 'gray' else np.dstack([picture, gray]))
    expected = np.dstack([gray] * 3) if channels == 'gray' else picture
    np.testing.assert_array_equal(read_picture(file), expected)


def test_photographs_are_upright_also_from_the_web(picture, tmp_path, web):
    photo = Image.fromarray(picture)
    exif = photo.getexif()
    exif[0x0112] = 6  # the orientation of a phone held upright
    photo.save(tmp_path / 'phone.jpg', exif=exif)
    for source in (tmp_path / 'phone.jpg', f'{web}/phone.jpg?token=abc&x=1.5'):
        (found,) = open_inputs(source)
        assert read_picture(found).shape == (160, 120, 3)


def test_a_folder_gives_its_pictures_by_name(folder, monkeypatch):
    monkeypatch.setattr(mimetypes, 'knownfiles', [])  # as in small containers
    names = ['A.WEBP', 'a.jpg', 'b.png', 'c.jfif', 'd.jp2', 'e.pgm', 'f.heic', 'g.tif']
    for name in names:
        (folder / name).touch()
    (folder / 'movie.mp4').touch()
    assert open_inputs(folder) == [str(folder / name) for name in names]


def test_a_file_name_that_is_not_utf8(folder, tmp_path):
    odd = os.fsencode(folder) + b'/a\xe9.png'
    os.replace(folder / 'b.png', odd)
    (folder / 'a.jpg').unlink()
    assert read_picture(*open_inputs(folder)).shape == (120, 160, 3)
    os.replace(odd, odd.replace(b'png', b'avi'))
    with pytest.raises(ValueError, match='surrogates'):
        open_inputs(os.fsdecode(odd.replace(b'png', b'avi')))


@pytest.mark.parametrize('content', [b'', b'not a picture', b'\x89PNG\r\n\x1a\n\0\0'])
def test_a_picture_that_cannot_be_decoded_is_an_error(tmp_path, content):
    (tmp_path / 'broken.heic').write_bytes(content)
    (file,) = open_inputs(tmp_path)
    with pytest.raises(ValueError, match=r'broken\.heic` is not a picture'):
        read_picture(file)


@pytest.mark.parametrize('given', ['nowhere.jpg', '', ['a.png', 'nowhere.jpg'], '.'])
def test_what_is_not_there_is_an_error(given, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if given != '.':
        cv2.imwrite('a.png', picture)
    with pytest.raises(FileNotFoundError, match='no'):
        open_inputs(given)


@pytest.mark.parametrize('name', ['notes.txt', 'video.mp4'])
def test_neither_picture_nor_video_is_an_error(name, tmp_path):
    (tmp_path / name).write_text('something else')
    with pytest.raises(ValueError, match=f'no frame of .*{name}'):
        open_inputs(tmp_path / name)


@pytest.mark.parametrize(
    'array',
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))],
)
def test_arrays_must_be_color_pictures(array):
    with pytest.raises(ValueError, match=r'\(H, W, 3\) and type uint8'):
        open_inputs(array)


def test_a_video_knows_its_rate_and_its_end(video):
    opened = open_inputs(video)
    assert isinstance(opened, Video)
    assert (opened.fps, opened.num_frames, opened.name) == (10, 3, 'walk.mp4')
    means = [frame.mean() for frame in open_inputs(opened)]
    np.testing.assert_allclose(means, [0, 100, 200], atol=3)


@pytest.mark.parametrize(
    ('name', 'number'), [('webcam', 0), ('webcam:0', 0), ('webcam:12', 12), (3, 3)]
)
def test_a_webcam_is_a_video_without_end(name, number, camera):
    video = open_inputs(name)
    assert camera.opened.pop() == number
    assert (video.fps, video.num_frames, video.name) == (25, None, 'webcam.mp4')
    assert len(list(video)) == 2


def test_a_webcam_that_is_not_there_is_an_error(camera, monkeypatch):
    monkeypatch.setattr(camera, 'frames', 0)
    with pytest.raises(ValueError, match='camera 3'):
        open_inputs('webcam:3')


def test_addresses_of_pictures_and_streams(camera):
    assert open_inputs('http://host/a.jpg') == ['http://host/a.jpg']
    assert open_inputs(['http://host/a']) == ['http://host/a']
    for address in ('rtsp://host/live', 'http://host/v.mp4?token=a.jpg'):
        assert isinstance(open_inputs(address), Video)
        assert camera.opened.pop() == address

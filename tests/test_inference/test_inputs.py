"""What users give: pictures, folders, videos, cameras."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ldcrn_mm.inference import Video, open_inputs
from ldcrn_mm.inference.inputs import read_picture


@pytest.fixture
def file(picture, tmp_path):
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), picture)
    return path


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


def test_a_picture_by_path_or_as_an_array(file, picture):
    assert open_inputs(file) == [str(file)]
    assert open_inputs(str(file)) == [str(file)]
    assert open_inputs(picture)[0] is picture
    assert open_inputs((file, picture))[0] == str(file)
    np.testing.assert_array_equal(read_picture(str(file)), picture)


def test_views_of_arrays_become_whole(picture):
    (flipped,) = open_inputs(picture[:, ::-1])
    np.testing.assert_array_equal(flipped, picture[:, ::-1])
    assert flipped.flags.c_contiguous


def test_a_picture_is_known_by_its_content(file):
    renamed = file.rename(file.with_suffix('.dat'))
    assert open_inputs(renamed) == [str(renamed)]


def test_gray_and_transparent_pictures_become_bgr(file, picture):
    cv2.imwrite(str(file), picture[..., 0])
    np.testing.assert_array_equal(
        read_picture(str(file)), picture[..., :1].repeat(3, axis=2)
    )
    cv2.imwrite(str(file), np.dstack([picture, picture[..., 0]]))
    np.testing.assert_array_equal(read_picture(str(file)), picture)


def test_photographs_are_turned_as_the_camera_says(picture, tmp_path):
    photo = Image.fromarray(picture)
    exif = photo.getexif()
    exif[0x0112] = 6  # the orientation of a phone held upright
    photo.save(tmp_path / 'phone.jpg', exif=exif)
    assert read_picture(str(tmp_path / 'phone.jpg')).shape == (160, 120, 3)


def test_a_folder_gives_its_pictures_by_name(file, picture):
    for name in ('b.JPG', 'a.webp', 'c.bmp'):
        cv2.imwrite(str(file.with_name(name)), picture)
    file.with_name('labels.txt').write_text('0')
    file.with_name('README').write_text('0')
    names = [file.with_name(n) for n in ('a.webp', 'b.JPG', 'c.bmp', 'picture.png')]
    assert open_inputs(file.parent) == [str(name) for name in names]


def test_a_broken_picture_in_a_folder_is_an_error_at_once(file):
    file.with_name('broken.jpg').write_text('not a picture')
    with pytest.raises(ValueError, match=r'broken\.jpg` is not a picture'):
        open_inputs(file.parent)


def test_a_picture_that_breaks_off_is_an_error_when_read(file):
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match='not a picture that OpenCV can read'):
        read_picture(str(file))
    file.write_bytes(b'')
    with pytest.raises(ValueError, match='not a picture that OpenCV can read'):
        read_picture(str(file))


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no pictures in the folder'):
        open_inputs(tmp_path)


def test_what_is_not_there_is_an_error(file):
    with pytest.raises(FileNotFoundError, match='no file or folder'):
        open_inputs('nowhere.jpg')
    with pytest.raises(FileNotFoundError, match='no picture'):
        open_inputs([file, 'nowhere.jpg'])


@pytest.mark.parametrize('name', ['notes.txt', 'video.mp4', 'picture.jpg'])
def test_neither_picture_nor_video_is_an_error(name, tmp_path):
    (tmp_path / name).write_text('something else')
    with pytest.raises(ValueError, match=f'can read no frame of .*{name}'):
        open_inputs(tmp_path / name)


@pytest.mark.parametrize(
    'array',
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))],
)
def test_arrays_must_be_color_pictures(array):
    with pytest.raises(ValueError, match=r'\(H, W, 3\) and type uint8'):
        open_inputs(array)


def test_a_video_knows_its_rate_and_its_end(picture, tmp_path):
    file = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 12, (160, 120))
    for brightness in (0, 100, 200):
        writer.write(np.full_like(picture, brightness))
    writer.release()
    video = open_inputs(file)
    assert isinstance(video, Video)
    assert (video.fps, video.num_frames, video.name) == (12, 3, 'video.mp4')
    assert (video.width, video.height) == (160, 120)
    means = [frame.mean() for frame in open_inputs(video)]
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
    assert isinstance(open_inputs('rtsp://host/live'), Video)
    assert camera.opened.pop() == 'rtsp://host/live'

"""What users give: pictures, folders, videos, cameras."""

import itertools
import mimetypes
import os
import socket
import sys
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, features

from ldcrn_mm.inference import InputWarning, Video, open_inputs
from ldcrn_mm.inference.inputs import name_of, read_picture


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
            return -1.0 if what == cv2.CAP_PROP_FRAME_COUNT else 0.0

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


@pytest.mark.parametrize('error', [SyntaxError, RuntimeError, TypeError, IndexError])
def test_pillow_may_raise_anything(tmp_path, picture, monkeypatch, error):
    monkeypatch.setattr(Image, 'open', Mock(side_effect=error))
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    np.testing.assert_array_equal(read_picture(str(tmp_path / 'a.png')), picture)
    (tmp_path / 'a.gif').write_bytes(b'GIF89a')
    (tmp_path / 'a.heic').write_bytes(heif(b'heic'))
    for name in ('a.gif', 'a.heic'):
        with pytest.raises(ValueError, match=name):
            read_picture(*open_inputs(tmp_path / name))


@pytest.mark.parametrize('given', ['nowhere.jpg', '', '.'])
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


ARRAYS = [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8)]
ARRAYS += [np.zeros((9, 9, 3)), torch.zeros(1, 8, 8, 3), np.float64(0)]


@pytest.mark.parametrize('given', [*ARRAYS, True, None, 1.5, -1, b'a.png', {}])
def test_other_things_are_errors(given):
    with pytest.raises(ValueError, match='Expected'):
        open_inputs(given)


EMPTY = np.zeros((0, 9, 3), np.uint8)


@pytest.mark.parametrize('element', [None, 7, True, b'a.png', [], EMPTY])
def test_other_things_among_pictures_are_errors(element, picture):
    for read, given in ((open_inputs, [picture, element]), (read_picture, element)):
        with pytest.raises(ValueError, match=r'Expected|empty'):
            read(given)


def test_pictures_may_come_one_after_the_other(picture, folder):
    stream = open_inputs(itertools.cycle([picture, folder / 'b.png']))
    for _ in range(3):
        np.testing.assert_array_equal(read_picture(next(stream)), picture)


def heif(brand):
    return b'\0\0\0\x18ftyp' + brand + b'\0' * 100


@pytest.mark.parametrize('name', ['IMG_1', 'a.mov', 'a.heic', 'a.jpg'])
@pytest.mark.parametrize('brand', [b'heic', b'mif1', b'avif'])
def test_heif_is_a_picture_and_no_video(tmp_path, monkeypatch, name, brand):
    (tmp_path / name).write_bytes(heif(brand))
    (found,) = open_inputs(tmp_path / name)
    with pytest.raises(ValueError, match='pillow-heif'):
        read_picture(found)


def test_heif_is_read_upright_where_there_is_a_decoder(tmp_path, monkeypatch, picture):
    class Decoder:
        n_frames = 1

        def __init__(self, content):
            exif = Image.Exif()
            exif[0x0112] = 6
            self.image = Image.fromarray(picture[..., ::-1])
            self.image.info['exif'] = exif.tobytes()

        def __enter__(self):
            return self.image

        def __exit__(self, *error):
            pass

    registered = []
    module = SimpleNamespace(register_heif_opener=lambda: registered.append(1))
    monkeypatch.setitem(sys.modules, 'pillow_heif', module)
    monkeypatch.setattr('ldcrn_mm.inference.inputs.Image.open', Decoder)
    (tmp_path / 'a.heic').write_bytes(heif(b'heic'))
    found = read_picture(str(tmp_path / 'a.heic'))
    np.testing.assert_array_equal(found, cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
    assert registered


@pytest.mark.skipif(not features.check('avif'), reason='Pillow without AVIF')
def test_avif(tmp_path, picture):
    Image.fromarray(picture[..., ::-1]).save(tmp_path / 'a', 'AVIF', quality=100)
    found = read_picture(*open_inputs(tmp_path / 'a'))
    assert np.abs(found.astype(int) - picture).mean() < 15


def test_a_raw_photograph_is_not_its_thumbnail(tmp_path, picture):
    cv2.imwrite(str(tmp_path / 'a.tif'), picture)
    (tmp_path / 'a.tif').rename(tmp_path / 'a.DNG')
    with pytest.raises(ValueError, match='raw'):
        read_picture(*open_inputs(tmp_path / 'a.DNG'))


def animation(file):
    frames = [Image.new('RGB', (90, 60), (i * 50,) * 3) for i in range(4)]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=200)
    return file


def test_all_frames_of_an_animated_gif(tmp_path):
    video = open_inputs(animation(tmp_path / 'a.gif'))
    assert (video.num_frames, video.name) == (4, 'a.mp4')
    assert [round(frame.mean()) for frame in video] == [0, 50, 100, 150]


@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.tif', 'a.webp'])
def test_among_pictures_the_first_frame_and_a_warning(tmp_path, name):
    file = animation(tmp_path / name)
    with pytest.warns(InputWarning, match='4 pictures'):
        assert read_picture(*open_inputs([file])).mean() < 2


@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (heif(b'heic'), 'application/octet-stream'),
        (b'\xff\xd8\xff', 'application/octet-stream'),
        (b'\x89PNG', 'text/plain'),
        (b'anything', 'image/webp'),
    ],
)
def test_an_address_without_a_suffix(web, tmp_path, monkeypatch, content, kind):
    monkeypatch.setattr(SimpleHTTPRequestHandler, 'guess_type', lambda *_: kind)
    (tmp_path / 'photo').write_bytes(content)
    assert open_inputs(f'{web}/photo?size=9') == [f'{web}/photo?size=9']


def test_an_address_without_a_suffix_may_lead_to_a_video(web, tmp_path, camera):
    (tmp_path / 'clip').write_bytes(b'\0\0\0\x18ftypisom')
    for address in (f'{web}/clip', f'{web}/nowhere'):
        assert isinstance(open_inputs(address), Video)


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr('ldcrn_mm.inference.inputs.TIMEOUT', 0.2)
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'http://127.0.0.1:{server.getsockname()[1]}/a.jpg'
        with pytest.raises(OSError, match=f'{address}.*timed out'):
            read_picture(address)


def test_an_address_without_a_picture(web):
    with pytest.raises(OSError, match=r'http://.*/nowhere\.jpg.*404'):
        read_picture(f'{web}/nowhere.jpg')


@pytest.mark.parametrize('suffix', ['avi', 'mkv'])
def test_a_video_that_breaks_off_gives_its_frames(tmp_path, suffix, picture):
    file = str(tmp_path / f'whole.{suffix}')
    code = 'MJPG' if suffix == 'avi' else 'mp4v'
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*code), 25, (160, 120))
    for i in range(30):
        writer.write(np.roll(picture, 9 * i, axis=1))
    writer.release()
    assert len(list(open_inputs(file))) == 30
    content = Path(file).read_bytes()
    cut = tmp_path / f'cut.{suffix}'
    cut.write_bytes(content[: int(0.55 * len(content))])
    frames = []
    with pytest.raises(ValueError, match=r'cut\..* breaks off: \d+ of 30 frames'):
        frames.extend(open_inputs(cut))  # keeps what came before the error
    assert 5 < len(frames) < 25


def test_longer_sound_is_no_break(camera, monkeypatch):
    what = {cv2.CAP_PROP_FPS: 10, cv2.CAP_PROP_FRAME_COUNT: 3}
    monkeypatch.setattr(camera, 'get', lambda self, name: what.get(name, 100))
    assert len(list(Video('a.webm'))) == 2  # 0.1 s is missing


def test_a_video_knows_its_rate_and_its_end(video):
    opened = open_inputs(video)
    assert isinstance(opened, Video)
    assert (opened.fps, opened.num_frames, opened.name) == (10, 3, 'walk.mp4')
    means = [frame.mean() for frame in open_inputs(opened)]
    np.testing.assert_allclose(means, [0, 100, 200], atol=3)
    with pytest.raises(ValueError, match=r'walk\.avi` was read before'):
        next(iter(opened))


@pytest.mark.parametrize('name', ['12:30.avi', 'file:a.avi', '%02d.avi', 'a?#.avi'])
def test_a_video_of_any_name(video, monkeypatch, name):
    monkeypatch.chdir(video.parent)
    video.rename(name)
    assert len(list(open_inputs(name))) == 3


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


def test_an_address_of_a_local_file_is_its_path(tmp_path):
    file = tmp_path / 'a b.png'
    cv2.imwrite(str(file), np.zeros((2, 3, 3), np.uint8))
    assert open_inputs(file.as_uri()) == [str(file)] == open_inputs([file.as_uri()])
    assert name_of(0, file.as_uri()) == str(file)
    assert read_picture(file.as_uri()).shape == (2, 3, 3)


def test_addresses_of_pictures_and_streams(camera):
    assert open_inputs('http://host/a.jpg') == ['http://host/a.jpg']
    assert open_inputs(['http://host/a']) == ['http://host/a']
    for address in ('rtsp://host/live', 'http://host/v.mp4?token=a.jpg'):
        assert isinstance(open_inputs(address), Video)
        assert camera.opened.pop() == address
    assert open_inputs('rtsp://me:secret@cam:554/').name == 'cam.mp4'

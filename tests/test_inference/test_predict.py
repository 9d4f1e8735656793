"""``ldcrn_mm.predict``. The inferencer is the oracle."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

import ldcrn_mm
from ldcrn_mm.inference import Person
from ldcrn_mm.inference import predict as module_function
from ldcrn_mm.inference.predict import _opened

BOXES = [[10, 5, 70, 110, 0.5], [60.5, 20.25, 150, 100, 0.25]]


@pytest.fixture
def options(config, checkpoint):
    return dict(model=config, weights=checkpoint, device='cpu', det_model='none')


def assert_same(people, expected):
    assert len(people) == len(expected)
    for person, one in zip(people, expected):
        assert isinstance(person, Person)
        np.testing.assert_array_equal(person.keypoints, one['keypoints'])
        np.testing.assert_array_equal(person.scores, one['keypoint_scores'])
        np.testing.assert_array_equal(person.box, one['bbox'][0])
        assert person.box_score == one['bbox_score']


def test_the_package_has_it_when_asked():
    assert ldcrn_mm.predict is module_function
    with pytest.raises(AttributeError, match="'ldcrn_mm' has no attribute 'predcit'"):
        _ = ldcrn_mm.predcit


def test_the_people_of_a_picture(inferencer, folder, picture, options):
    ((expected,),) = (r['predictions'] for r in inferencer(picture, bboxes=BOXES))
    for one in (folder / 'b.png', str(folder / 'b.png'), picture):
        found = ldcrn_mm.predict(one, bboxes=BOXES, **options)
        assert_same(found, expected)
    assert found[0].keypoints.shape == (17, 2)
    assert ldcrn_mm.predict(picture, bboxes=[], **options) == []


def test_several_are_a_list_of_lists(inferencer, folder, picture, video, options):
    for given in (folder, [folder / 'b.png'], (picture, picture), video):
        expected = [result['predictions'][0] for result in inferencer(given)]
        found = ldcrn_mm.predict(given, **options)
        for people, one in zip(found, expected, strict=True):
            assert_same(people, one)
    (folder / 'a.jpg').write_text('not a picture')
    with pytest.raises(ValueError, match=r'a\.jpg'):
        ldcrn_mm.predict(folder, **options)


def test_drawings(inferencer, folder, options, tmp_path):
    (result,) = inferencer(folder / 'b.png', return_vis=True, kpt_thr=-9)
    file = tmp_path / 'new/drawn.png'
    ldcrn_mm.predict(folder / 'b.png', draw=file, kpt_thr=-9, **options)
    drawn = cv2.imread(str(file))[..., ::-1]
    np.testing.assert_array_equal(drawn, result['visualization'][0])
    mirrored = cv2.imread(str(folder / 'b.png'))[:, ::-1]  # not contiguous
    ldcrn_mm.predict(mirrored, draw=file, kpt_thr=-9, **options)
    assert (cv2.imread(str(file))[..., ::-1] != drawn).any()
    ldcrn_mm.predict(folder, draw=tmp_path / 'all', **options)
    assert sorted(os.listdir(tmp_path / 'all')) == ['a.jpg', 'b.png']
    for given in (folder, [folder / 'b.png']):
        with pytest.raises(ValueError, match='must be a folder'):
            ldcrn_mm.predict(given, draw=tmp_path / 'one.JPG', **options)
    for name, message in (('b.png', 'replace'), ('b.docx', 'docx'), ('b', r'\.jpg')):
        path = folder / 'b.png'
        for picture in (path, str(path), path.as_uri()):
            with pytest.raises(ValueError, match=message):
                ldcrn_mm.predict(picture, draw=folder / name, **options)


def test_models_stay_loaded(options, checkpoint, picture, tmp_path):
    file = options['weights'] = tmp_path / 'mine.pth'
    shutil.copy(checkpoint, file)
    before = _opened.cache_info()
    for _ in range(3):
        ldcrn_mm.predict(picture, **options)
    assert _opened.cache_info().misses == before.misses + 1
    os.utime(file, (1, 1))
    ldcrn_mm.predict(picture, **options)
    assert _opened.cache_info().misses == before.misses + 2


def test_the_first_calls_may_come_from_several_threads(options, picture):
    _opened.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(ldcrn_mm.predict, picture, bboxes=BOXES, **options)
            for _ in range(4)
        ]
    first, *others = (call.result() for call in calls)
    for found in others:
        np.testing.assert_array_equal(found[1].keypoints, first[1].keypoints)
    assert _opened.cache_info().misses == 1
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_cameras_have_no_end(options, monkeypatch, picture):
    monkeypatch.setattr(cv2, 'VideoCapture', lambda source: Camera(picture))
    with pytest.raises(ValueError, match='end'):
        ldcrn_mm.predict('webcam', **options)


class Camera:
    def __init__(self, picture):
        self.picture = picture

    def read(self):
        return True, self.picture

    def get(self, what):
        return -1

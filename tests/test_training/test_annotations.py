"""Annotation files with one thing wrong, and at random with anything wrong."""

import json
from copy import deepcopy
from random import Random

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmpose.registry import DATASETS
from PIL import Image
from scipy.io import savemat

from ldcrn_mm.training import annotations
from ldcrn_mm.training.annotations import inspect_dataset, keypoint_names

NAN = float('nan')
NAMES = ['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear']
PEOPLE = 'people with keypoints'
COCO = dict(type='CocoDataset', ann_file='people.json')
for part in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'):
    NAMES += [f'left_{part}', f'right_{part}']


PICTURE = cv2.imencode('.png', np.zeros((64, 64), np.uint8))[1].tobytes()


def person(i, **changes):
    points = [x for k in range(17) for x in (10 + i, 20 + k, 2)]
    usual = dict(id=i, image_id=i, category_id=1, bbox=[5, 5, 40, 50], area=900.0)
    return usual | dict(iscrowd=0, num_keypoints=17, keypoints=points) | changes


@pytest.fixture
def coco(tmp_path):
    """The findings on three people in three pictures, changed by a function."""
    for i in (1, 2, 3):
        (tmp_path / f'{i}.jpg').write_bytes(PICTURE)

    def inspect(change=lambda content: None, evaluator=None, **settings):
        size = dict(width=64, height=64)
        content = dict(
            images=[dict(id=i, file_name=f'{i}.jpg', **size) for i in (1, 2, 3)],
            annotations=[person(i) for i in (1, 2, 3)],
            categories=[dict(id=1, name='person', keypoints=[*NAMES])],
        )
        content = change(content) or content
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'people.json').write_text(text)
        dataset = dict(COCO, data_root=str(tmp_path)) | settings
        return inspect_dataset(ConfigDict(dataset), evaluator)

    return inspect


def of_image(**changes):
    return lambda content: content['images'][1].update(changes)


def of_person(**changes):
    return lambda content: content['annotations'][1].update(changes)


def without(part, key):
    return lambda content: content[part][1].pop(key) and None


def of_all(**changes):
    return lambda content: [x.update(changes) for x in content['annotations']] and None


def of_category(**changes):
    return lambda content: content['categories'][0].update(changes)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda _: 'no json', ['not JSON']),
        (lambda _: '[' * 100_000, ['not JSON']),
        (lambda _: [1], ['dict', '[1]']),
        (lambda content: content.update(images=[]), ['images']),
        (lambda content: content.update(annotations=None), ['list of annotations']),
        (lambda content: content.update(categories=None), ['categories']),
        (lambda content: content['images'].append('4.jpg'), ["3, got '4.jpg'"]),
        *((of_image(id=value), ['images', 'id', repr(value)]) for value in (2.0, '2')),
        (of_image(id=1), ['ids of images', 'such as 1']),
        (of_image(file_name=None), ['file_name', 'None', '2,']),
        (of_image(width='64'), ['width', "'64'"]),
        (of_image(height=0), ['height']),
        (of_image(height=10**400), ['height']),
        (without('images', 'width'), ['width', '2, got none']),
        (of_person(id='two'), ['id must be', "'two'"]),
        (of_person(id=1), ['ids of annotations', 'such as 1']),
        (of_person(image_id='2'), ['image_id']),
        (of_person(category_id=7), ['categories', '7']),
        (without('annotations', 'category_id'), ['category_id', 'none']),
        (of_person(bbox=[1, 2, NAN, 4]), ['bbox', '2, got']),
        (of_person(bbox=[1, 2, None, 4]), ['bbox', 'None']),
        (of_person(bbox=[1, 2, 3]), ['bbox', '3 values']),
        (of_person(bbox='box'), ['bbox']),
        (of_person(keypoints=[1, 2] * 17), ['keypoints must be 51', '34 values']),
        (of_person(keypoints=[1] * 48), ['keypoints must be 51', '48 values']),
        (of_person(keypoints=[[1, 2, 2]] * 17), ['keypoints']),
        (of_person(keypoints=[NAN] * 51), ['keypoints', '2, got']),
        (of_person(keypoints=[None] + [1] * 50), ['keypoints']),
        (of_person(keypoints=[5, 5, -1] * 17), ['v at least 0', '2, got']),
        (of_person(area='large'), ['area']),
        (of_person(area=-5), ['area must be', 'at least 0', 'got -5']),
        (of_person(num_keypoints=None), ['num_keypoints']),
        (of_all(num_keypoints=0), ['no person is left', '3 without keypoints']),
        (of_all(iscrowd=1), ['no person is left', '3 crowds']),
        (of_all(bbox=[1, 1, 0, 9]), ['no person is left', '3 boxes of no area']),
        (of_category(id=None), ['categories', 'id']),
        (of_category(keypoints=NAMES[:16]), ['keypoints', 'expects nose']),
        (of_category(keypoints=NAMES[::-1]), ['right_ankle, left_ankle']),
        (of_image(file_name='gone.jpg'), ['1 pictures are missing', 'gone.jpg']),
        (of_image(file_name='.'), ['1 pictures are missing']),
    ],
)
def test_what_is_wrong_is_named(coco, tmp_path, change, words):
    _, problems = coco(change)
    (problem,) = problems
    assert problem.startswith(f'{tmp_path}/people.json: ')
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    ('change', 'count'),
    [
        (lambda content: None, {PEOPLE: 3, 'images': 3}),
        (of_person(num_keypoints=0), {PEOPLE: 2, 'without keypoints': 1}),
        (of_person(keypoints=[0] * 51), {PEOPLE: 2, 'without keypoints': 1}),
        (of_person(iscrowd=1), {PEOPLE: 2, 'crowds': 1}),
        (of_person(bbox=[70, 5, 9, 9]), {PEOPLE: 2, 'boxes of no area': 1}),
        (of_person(image_id=9), {PEOPLE: 2, 'of unknown images': 1}),
        (of_person(keypoints=[65, 5, 2] * 17), {'joints outside the picture': 17}),
        (of_person(keypoints=[64, -1, 0] * 17), {'joints outside the picture': 0}),
        (
            lambda content: content['annotations'].append(
                content['annotations'][0] | dict(id=9)
            ),
            {PEOPLE: 4, 'duplicates': 1},
        ),
        (without('annotations', 'bbox'), {PEOPLE: 2, 'without box or keypoints': 1}),
        (without('annotations', 'area'), {PEOPLE: 3}),
        (lambda content: content.pop('categories') and None, {PEOPLE: 3}),
        (of_category(keypoints=['a'] * 17), {PEOPLE: 3}),
    ],
)
def test_what_mmpose_leaves_out_is_counted(coco, change, count):
    counts, problems = coco(change)
    assert not problems
    assert dict(counts).items() >= count.items()


@pytest.mark.parametrize(
    ('sizes', 'orientation', 'count'),
    [
        ([(64, 48)] * 3, 1, 0),
        ([(48, 64)] * 3, 6, 0),  # upright it is 64 x 48
        ([(64, 48)] * 3, 6, 3),
        ([(64, 48)] * 3, 3, 0),
        ([(48, 64), (64, 48), (64, 48)], 1, 1),  # width and height are exchanged
        ([(32, 24)] * 3, 1, 3),  # made smaller after they were annotated
        ([(65, 48), (64, 48), (64, 48)], 1, 0),  # does little harm
        ([(48, 64), *[(64, 48)] * 19], 1, 0),  # few
    ],
)
def test_pictures_have_the_annotated_size(coco, tmp_path, sizes, orientation, count):
    def change(content):
        image, person = content['images'][0], content['annotations'][0]
        for i in range(len(content['images']) + 1, len(sizes) + 1):
            content['images'].append(dict(image, id=900 + i, file_name=f'{i}.jpg'))
            content['annotations'].append(dict(person, id=900 + i, image_id=900 + i))
        for i, size in enumerate(sizes, 1):
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.new('RGB', size).save(tmp_path / f'{i}.jpg', exif=exif)
            content['images'][i - 1].update(width=64, height=48)

    _, problems = coco(change)
    as_stored = dict(type='LoadImage', color_type='color_ignore_orientation')
    same = orientation == 6  # then the annotations fit the one or the other
    assert len(coco(change, pipeline=[as_stored])[1]) == (same ^ bool(count))
    assert len(problems) == bool(count)
    assert not count or f'{count} pictures have other sizes' in problems[0]


CROWD = dict(use_area=False, iou_type='keypoints_crowd')


@pytest.mark.parametrize(
    ('metric', 'change', 'words'),
    [
        (dict(), without('annotations', 'area'), 'area'),
        (dict(), lambda content: content.pop('categories') and None, 'categories'),
        (dict(), without('annotations', 'bbox'), 'bbox must be'),
        (dict(), without('annotations', 'keypoints'), 'keypoints must be'),
        (dict(), without('annotations', 'num_keypoints'), None),
        (CROWD, without('images', 'crowdIndex'), 'crowdIndex'),
        (CROWD, without('annotations', 'num_keypoints'), 'num_keypoints must'),
        (dict(use_area=False), without('annotations', 'area'), None),
    ],
)
def test_an_evaluator_needs_more(coco, metric, change, words):
    def crowded(content):
        for image in content['images']:
            image['crowdIndex'] = 0.5
        return change(content)

    _, problems = coco(crowded, evaluator=metric)
    assert words in problems[0] if words else not problems


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(), None),
        (dict(image_id=9), 'unknown images, such as 9'),
        (dict(bbox=[1, 2, 3, None]), 'bbox'),
        (dict(category_id=0), 'no box of category 1'),
        (dict(score='0.9'), 'score'),
    ],
)
def test_detected_boxes(coco, tmp_path, change, words):
    box = dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4, 0.9], score=0.9) | change
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps([box]))
    _, problems = coco(bbox_file=str(path))
    assert words in problems[0] if words else not problems


def test_images_alone_are_enough_for_detected_boxes(coco, tmp_path):
    path = tmp_path / 'boxes.json'
    box = dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=1)
    path.write_text(json.dumps([box]))

    def change(content):
        del content['annotations']

    assert coco(change, bbox_file=str(path))[1] == []
    assert 'annotations' in coco(change, evaluator=dict(), bbox_file=str(path))[1][0]


@pytest.mark.parametrize(
    ('first', 'swaps', 'sigmas', 'words'),
    [
        (0, ('b', 'a'), [1, 1], None),
        (0, ('', ''), [], None),
        (0, ('b', ''), [1, 1], 'a swaps with b'),
        (0, ('c', 'a'), [1, 1], 'own.metainfo'),
        (0, ('b', 'a'), [1], '2 keypoints have 1 sigmas'),
        (1, ('b', 'a'), [1, 1], 'must be 0, 1, 2'),
    ],
)
def test_keypoints_of_ones_own(first, swaps, sigmas, words):
    points = [dict(name=name, swap=swap) for name, swap in zip('ab', swaps)]
    meta = dict(dataset_name='own', joint_weights=[1, 1], sigmas=sigmas)
    meta |= dict(skeleton_info={}, keypoint_info=dict(enumerate(points, first)))
    dataset = ConfigDict(type='own', metainfo=meta)
    if words is None:
        assert keypoint_names(dataset) == ['a', 'b']
        return
    with pytest.raises(ValueError, match=words):
        keypoint_names(dataset)


@pytest.fixture
def mpii(tmp_path):
    """The findings on five people, changed by a function, with their heads."""

    def inspect(change=lambda people: None, heads_of='heads.mat'):
        people, heads = [], np.zeros((2, 2, 5))
        for i in range(5):
            (tmp_path / f'00{i}.jpg').write_bytes(PICTURE)
            joints = np.add([[10 + k, 20.0] for k in range(16)], 100 * i)
            heads[:, :, i] = np.add(joints[8:10].mean(0), [[-9, -9], [9, 9]])
            people.append(
                dict(image=f'00{i}.jpg', center=[9, 9], scale=1.5)
                | dict(joints=joints.tolist(), joints_vis=[1] * 16)
            )
        path = tmp_path / 'mpii.json'
        path.write_text(json.dumps(change(people) or people))
        savemat(tmp_path / 'heads.mat', dict(headboxes_src=heads))
        dataset = dict(type='MpiiDataset', data_root=str(tmp_path))
        dataset |= dict(ann_file='mpii.json', headbox_file=str(tmp_path / heads_of))
        return inspect_dataset(ConfigDict(dataset))

    return inspect


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda people: None, None),
        (lambda people: {'images': []}, 'list of people'),
        (lambda people: people[::-1], 'other people'),
        (lambda people: people[:4], '4 people'),
        (lambda people: people[2].update(joints=[[1, 2]] * 15), '15 values'),
        (lambda people: people[2].update(joints=[[1, NAN]] * 16), 'joints'),
        (lambda people: people[2].update(image='two.jpg'), 'two.jpg'),
        (lambda people: people[2].update(scale=0), 'scale'),
        (lambda people: people[2].update(image='9.jpg'), '1 pictures'),
    ],
)
def test_mpii(mpii, change, words):
    _, problems = mpii(change)
    assert words in problems[0] if words else not problems


@pytest.mark.parametrize('content', [None, dict(heads=[1])])
def test_a_file_without_heads_is_named(tmp_path, mpii, content):
    path = tmp_path / 'other.mat'
    savemat(path, content) if content else path.touch()

    assert 'other.mat has no boxes of heads' in mpii(heads_of='other.mat')[1][0]


def test_other_formats_are_not_looked_at():
    dataset = ConfigDict(type='Human36mDataset', ann_file='nowhere.npz')
    assert inspect_dataset(dataset) == ({}, [])


VALUES = [None, NAN, float('inf'), -1, 0, 1, 2.5, 1e400, True, [], {}, [1]]
VALUES += ['', '1', 'x']


def mutate(content, random):
    """Replaces, removes or repeats a value at a random place."""
    parent, place = None, content
    while isinstance(place, dict | list) and place:
        if parent and random.random() >= 0.8:
            break
        parent = place
        keys = [*parent] if isinstance(parent, dict) else range(len(parent))
        key = random.choice(keys)
        place = parent[key]
    act = random.randrange(3)
    if act == 0:
        del parent[key]
    elif act == 1 and isinstance(parent, list):
        parent.append(deepcopy(place))
    else:
        parent[key] = random.choice(VALUES)


def test_findings_in_a_large_file_are_kept_until_it_changes(
    coco, tmp_path, monkeypatch
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(annotations, 'LARGE', 0)
    read, load = [], annotations._load
    monkeypatch.setattr(
        annotations, '_load', lambda path: read.append(path) or load(path)
    )
    dataset = ConfigDict(COCO, data_root=str(tmp_path))
    first = coco()
    assert inspect_dataset(dataset) == first
    assert len(read) == 1
    for content in (b'', b'<html>', PICTURE[:3]):
        (tmp_path / '2.jpg').write_bytes(content)
        problem = inspect_dataset(dataset)[1][0]
        assert '1 pictures are missing or no pictures' in problem
        assert '2.jpg' in problem
    (tmp_path / '2.jpg').write_bytes(PICTURE)
    inspect_dataset(dataset, dict(type='CocoMetric'))  # which needs more
    assert len(read) == 2
    for _ in range(2):  # what is wrong is not kept
        assert coco(of_person(bbox=[NAN] * 4))[1]
    assert len(read) == 4
    for file in (tmp_path / 'cache').rglob('*.json'):
        file.write_text('broken')
    assert coco() == first


def test_a_user_without_a_home_keeps_nothing(coco, tmp_path, monkeypatch):
    for name in ('HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('pwd.getpwuid', {}.__getitem__)
    monkeypatch.setattr(annotations, 'LARGE', 0)
    monkeypatch.chdir(tmp_path)
    assert coco()[1] == []
    assert not (tmp_path / '~').exists()


@pytest.mark.slow
def test_whatever_is_wrong_is_named_or_does_no_harm(coco, tmp_path):
    random, named = Random(0), 0
    for _ in range(600):
        _, problems = coco(lambda content: mutate(content, random))
        named += bool(problems)
        if not problems:
            dataset = DATASETS.build(dict(COCO, data_root=str(tmp_path)))
            assert len(dataset) > 0
            assert np.isfinite([x['keypoints'] for x in dataset]).all()
    assert 200 < named < 600

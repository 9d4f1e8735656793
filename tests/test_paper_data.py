"""COCO and MPII in both layouts, MPII's release and the submission, by MMPose."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmpose.datasets import MpiiDataset
from mmpose.evaluation import MpiiPCKAccuracy
from scipy.io import loadmat, savemat

from ldcrn_mm import paper_data
from ldcrn_mm.paper_data import MpiiSubmission, convert_mpii, link_layout, read_mpii

HEAD = np.array([[10, 20], [40, 60]])  # left top, right bottom


def structs(rows: list[dict]) -> np.ndarray:
    """A MATLAB struct array with the fields of the first member."""
    array = np.empty((1, len(rows)), [(key, object) for key in rows[0]])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def person(seed: int, joints: int = 16, **changes: object) -> dict:
    """As in the release. Joints are named by number, and not in order."""
    numbers = np.random.default_rng(seed).permutation(16)[:joints]
    points = [
        dict(x=9.0 * j + seed, y=100.5 + j, id=j, is_visible=j % 2) for j in numbers
    ]
    named = dict(zip(('x1', 'y1', 'x2', 'y2'), HEAD.ravel() + seed))
    return (
        dict(
            annopoints=dict(point=structs(points)) if joints else [],
            scale=1.5,
            objpos=dict(x=50 + seed, y=70),
            **named,
        )
        | changes
    )


@pytest.fixture
def release(tmp_path) -> Path:
    """Two videos to train on, one of them held out, and three test images."""
    unknown = dict(x1=[], y1=[], x2=[], y2=[])
    tested = dict(joints=0, **unknown)
    images = [  # name, video, train, who is alone, people
        ('000000001.jpg', 1, 1, [1], [person(1), person(2, joints=14)]),
        ('000000002.jpg', 9, 1, [], [person(3), person(4, scale=[], objpos=[])]),
        ('000000003.jpg', 2, 0, [2], [person(5, **tested), person(6, **tested)]),
        ('000000004.jpg', 2, 0, [], []),
        ('000000005.jpg', 9, 1, [1], [person(7, joints=3), person(8, **tested)]),
        ('000000006.jpg', 3, 0, [1], [person(9, **tested)]),
    ]
    alone = np.empty((len(images), 1), object)
    for i, image in enumerate(images):
        alone[i, 0] = np.array(image[3], float)
    annolist = [
        dict(image=dict(name=name), annorect=structs(people) if people else [],
             frame_sec=[], vididx=video)
        for name, video, _, _, people in images
    ]  # fmt: skip
    path = tmp_path / 'mpii_human_pose_v1_u12_1.mat'
    train = np.array([[image[2] for image in images]])
    content = dict(annolist=structs(annolist), img_train=train, single_person=alone)
    savemat(path, dict(RELEASE=content))
    return path


def data_set(folder: Path, part: str, **settings: str) -> MpiiDataset:
    return MpiiDataset(str(folder / f'mpii_{part}.json'), test_mode=True, **settings)


def test_mmpose_reads_the_people_of_the_release(release, tmp_path):
    assert convert_mpii(release, tmp_path) == dict(train=2, val=2, test=2)
    headbox_file = str(tmp_path / 'mpii_gt_val.mat')
    val = data_set(tmp_path, 'val', headbox_file=headbox_file)
    first, second = val[0], val[1]
    assert [first['img_id'], second['img_id']] == [2, 5]
    numbers = np.arange(16)
    joints = np.stack([9.0 * numbers + 3, 100.5 + numbers], 1)
    np.testing.assert_allclose(first['keypoints'][0], joints)
    assert second['keypoints_visible'].sum() == 3
    # MpiiDataset: 15 * scale down, and pixels from 0
    np.testing.assert_allclose(first['bbox_center'], [[53 - 1, 70 + 15 * 1.5 - 1]])
    np.testing.assert_allclose(first['bbox_scale'], [[300, 300]])
    assert first['head_size'] == pytest.approx(0.6 * 50)  # 30, 40, 50
    train = data_set(tmp_path, 'train')
    assert [one['keypoints_visible'].sum() for one in train] == [16, 14]
    assert [one['img_id'] for one in data_set(tmp_path, 'test')] == [3, 6]


def test_pckh_counts_in_the_heads_of_the_release(release, tmp_path):
    convert_mpii(release, tmp_path)
    val = data_set(tmp_path, 'val', headbox_file=str(tmp_path / 'mpii_gt_val.mat'))
    metric = MpiiPCKAccuracy(thr=0.5)
    for one in val:
        truth = dict(
            keypoints=one['keypoints'],
            keypoints_visible=one['keypoints_visible'][..., None],
            head_size=one['head_size'],
        )
        found = one['keypoints'] - 1
        found[0, ::2, 0] += 14.9  # half a head is 15 pixels
        found[0, 1::2, 0] += 15.1
        metric.process(
            [], [dict(gt_instances=truth, pred_instances=dict(keypoints=found))]
        )
    scores = metric.evaluate(len(val))
    assert scores['Head PCK'] == 0  # joint 9
    assert scores['Shoulder PCK'] == 50  # 12 and 13


def test_images_to_validate_on_can_be_named(release, tmp_path):
    (tmp_path / 'valid.json').write_text(json.dumps([dict(image='000000001.jpg')]))
    (tmp_path / 'names.txt').write_text('000000001.jpg\n')
    for file in ('valid.json', 'names.txt'):
        names = paper_data.names_in(tmp_path / file)
        folder = tmp_path / file.replace('.', '_')
        folder.mkdir()
        assert convert_mpii(release, folder, names)['val'] == 2
        images = [one['img_id'] for one in data_set(folder, 'val')]
        assert images == [1, 1]


def samples(folder: Path, points: np.ndarray) -> list[dict]:
    return [
        dict(
            id=one['id'],
            img_path=one['img_path'],
            pred_instances=dict(keypoints=p[None]),
        )
        for one, p in zip(data_set(folder, 'test'), points)
    ]


def test_the_submission_has_the_single_people_of_the_test(release, tmp_path):
    convert_mpii(release, tmp_path)
    points = np.random.default_rng(0).uniform(0, 99, (2, 16, 2))
    metric = MpiiSubmission(str(release), str(tmp_path / 'pred.mat'))
    metric.process([], samples(tmp_path, points)[::-1])
    assert metric.evaluate(2) == {'mpii/people': 2}
    pred = loadmat(tmp_path / 'pred.mat', squeeze_me=False, struct_as_record=False)[
        'pred'
    ]
    assert pred.shape == (1, 3)  # the test images
    names = [image.image[0, 0].name.item() for image in pred[0]]
    assert names == ['000000003.jpg', '000000004.jpg', '000000006.jpg']
    assert [image.annorect.size for image in pred[0]] == [2, 0, 1]
    assert pred[0, 0].annorect[0, 0].annopoints.size == 0
    for i, rect in enumerate((pred[0, 0].annorect[0, 1], pred[0, 2].annorect[0, 0])):
        found = rect.annopoints[0, 0].point[0]
        assert [point.id.item() for point in found] == [*range(16)]
        places = [[point.x.item(), point.y.item()] for point in found]
        np.testing.assert_allclose(places, points[i] + 1)  # MPII counts from 1


def test_exceptions(release, tmp_path):
    convert_mpii(release, tmp_path)
    with pytest.raises(FileExistsError, match='mpii_train'):
        convert_mpii(release, tmp_path)
    savemat(tmp_path / 'other.mat', dict(preds=[1]))
    with pytest.raises(ValueError, match=r'other\.mat'):
        [*read_mpii(tmp_path / 'other.mat')]
    (tmp_path / 'new').mkdir()
    with pytest.raises(ValueError, match='nobody for mpii_val'):
        convert_mpii(release, tmp_path / 'new', ['gone.jpg'])
    metric = MpiiSubmission(str(release), str(tmp_path / 'pred.mat'))
    metric.process([], samples(tmp_path, np.zeros((1, 16, 2))))
    with pytest.raises(ValueError, match='2 people'):
        metric.evaluate(1)


@pytest.mark.parametrize('data', ['coco', 'mpii'])
def test_either_layout_is_found_and_nothing_is_linked_twice(tmp_path, data):
    folder = tmp_path / data
    needs = paper_data.NEEDS[data]
    for name, original, _ in needs:
        path = folder / (name if name == 'images' else original)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    made, missing = link_layout(data, folder)
    assert made
    assert not missing
    moved = folder.rename(tmp_path / 'moved')
    assert [(moved / name).read_text() for name, _, _ in needs] == [
        n for n, *_ in needs
    ]
    assert link_layout(data, moved) == ([], {})


def test_what_is_missing_has_a_source(tmp_path):
    made, missing = link_layout('mpii', tmp_path)
    assert not made
    assert [*missing][:2] == ['images', 'annotations/mpii_train.json']
    assert all('http' in source for source in missing.values())
    (tmp_path / 'images').symlink_to('gone')
    with pytest.raises(FileExistsError, match='broken'):
        link_layout('mpii', tmp_path)
    assert link_layout('mpii', tmp_path / 'gone')[1] == missing

"""Sample data: the annotations fit the pictures, and MMPose reads and scores them."""

import json

import cv2
import numpy as np
import pytest
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, METRICS
from pycocotools.coco import COCO
from scipy.io import loadmat

from ldcrn_mm import sample_data
from ldcrn_mm.sample_data import (
    COCO_JOINTS,
    FORMATS,
    LINES,
    MPII_JOINTS,
    describe,
    draw_picture,
    draw_puppet,
    make_sample_data,
    sample_pose,
)

TRAIN, VAL = 2, 6
IDS = {'train': (1, 2), 'val': range(500_001, 500_007)}
BOXES = 'coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('sample') / 'new' / 'data'
    make_sample_data(out, num_train=TRAIN, num_val=VAL, seed=3)
    return out


@pytest.fixture
def drawn():
    """A clean picture of a puppet, its pose and the lines of the pixels."""
    pose = {
        name: np.array([160.0, 128]) + 170 * point
        for name, point in sample_pose(np.random.default_rng(4)).items()
    }
    image = np.full((256, 320, 3), 255, np.uint8)
    lines = draw_puppet(image, pose, 170, np.random.default_rng(4))
    return image, pose, lines


def contents(out):
    files = (path for path in out.rglob('*') if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def read(path):
    return json.loads(path.read_text())


# -- pictures ----------------------------------------------------------------------


@pytest.mark.parametrize('side', ['left', 'right'])
@pytest.mark.parametrize('limb', ['elbow wrist', 'knee ankle'])
def test_a_limb_has_its_colour_from_joint_to_joint(drawn, side, limb):
    image, pose, _ = drawn
    start, end = (pose[f'{side}_{joint}'] for joint in limb.split())
    along = np.linspace(start, end, 9).round().astype(int)
    colours = image[along[:, 1], along[:, 0]].astype(int)
    assert np.ptp(colours, axis=0).max() <= 1
    assert colours.max() < 255


@pytest.mark.parametrize('joint', ['nose', 'left_ear', 'right_ear'])
def test_dots_are_centred_on_their_joints(drawn, joint):
    _, pose, lines = drawn
    (number,) = (i for i, line in enumerate(LINES) if line[:2] == (joint, joint))
    rows, columns = np.nonzero(lines == number)
    np.testing.assert_allclose((columns.mean(), rows.mean()), pose[joint], atol=0.6)


def test_puppets_face_the_viewer_and_stand_upright():
    for seed in range(50):
        pose = sample_pose(np.random.default_rng(seed))
        for part in ('eye', 'ear', 'shoulder', 'hip'):
            assert pose[f'left_{part}'][0] > pose[f'right_{part}'][0]
        order = ['head_top', 'nose', 'upper_neck', 'thorax', 'pelvis', 'left_ankle']
        heights = [pose[name][1] for name in order]
        assert heights == sorted(heights)


def test_a_puppet_is_described_by_what_is_visible_of_it():
    wrist = [line[1] for line in LINES].index('left_wrist')
    lines = np.full((256, 320), -1, np.int16)
    lines[20:30, 50:90] = wrist
    pose = {
        'left_wrist': np.array([60.2, 25.75]),  # on its line
        'left_hip': np.array([70, 25]),  # under the arm
        'left_knee': np.array([5, 5]),  # under another puppet
        'left_ankle': np.array([-0.6, 5]),
        'right_ankle': np.array([5, 255.6]),
    }
    puppet = describe(pose, 80, lines)
    assert puppet.joints == {
        'left_wrist': (60.2, 25.75, 2),
        'left_hip': (70, 25, 1),
        'left_knee': (5, 5, 1),
        'left_ankle': (0, 0, 0),
        'right_ankle': (0, 0, 0),
    }
    assert puppet.bbox == (50, 20, 40, 10)
    assert (puppet.area, puppet.stature) == (400, 80)


def test_a_pixel_belongs_to_one_puppet(monkeypatch):
    monkeypatch.setattr(sample_data, 'describe', lambda *args: args[-1] >= 0)
    masks = [draw_picture(np.random.default_rng(i))[1] for i in range(20)]
    assert all(np.sum(mask, axis=0).max() == 1 for mask in masks)


def test_most_joints_are_visible_some_hidden_some_outside():
    pictures = [draw_picture(np.random.default_rng(i))[1] for i in range(40)]
    assert {len(puppets) for puppets in pictures} == {1, 2, 3}
    people = [puppet for puppets in pictures for puppet in puppets]
    states = [person.joints[name][2] for person in people for name in COCO_JOINTS]
    assert states.count(2) > 0.9 * len(states)
    assert states.count(1) > 10
    assert states.count(0) > 10
    assert min(person.area for person in people) > 2000


# -- files -------------------------------------------------------------------------


def test_layout_is_that_of_mmposes_configs(data):
    assert set(contents(data)) == {
        BOXES,
        *(f'coco/annotations/person_keypoints_{s}2017.json' for s in IDS),
        *(f'coco/{s}2017/{i:012d}.jpg' for s in IDS for i in IDS[s]),
        *(f'mpii/images/{i:012d}.jpg' for s in IDS for i in IDS[s]),
        *(f'mpii/annotations/mpii_{s}.json' for s in IDS),
        'mpii/annotations/mpii_gt_val.mat',
    }


def test_same_seed_same_bytes_other_seed_other_pictures(data, tmp_path):
    make_sample_data(tmp_path / 'same', num_train=TRAIN, num_val=VAL, seed=3)
    assert contents(tmp_path / 'same') == contents(data)
    make_sample_data(tmp_path / 'other', num_train=TRAIN, num_val=VAL, seed=4)
    other = contents(tmp_path / 'other')
    assert not set(other.values()) & set(contents(data).values())


def test_a_folder_of_any_name(tmp_path):
    out = tmp_path / 'd\udce9'  # not UTF-8
    make_sample_data(out, ['coco'], num_train=1, num_val=1)
    assert cv2.imdecode(np.fromfile(next(out.rglob('*.jpg')), np.uint8), 1).any()


def test_a_larger_set_begins_with_the_smaller_one(data, tmp_path):
    make_sample_data(tmp_path, ['mpii'], num_train=TRAIN + 1, num_val=1, seed=3)
    larger, smaller = contents(tmp_path), contents(data)
    assert not (tmp_path / 'coco').exists()
    assert len(larger) == TRAIN + 5
    for i in (*IDS['train'], IDS['val'][0]):
        name = f'mpii/images/{i:012d}.jpg'
        assert larger[name] == smaller[name]


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ({'num_train': 0}, 'num_train'),
        ({'num_val': -1}, 'num_val'),
        ({'num_train': 500_001}, 'num_train'),
        ({'seed': -1}, 'seed'),
        ({'formats': ['voc']}, 'voc'),
        ({'formats': []}, 'formats'),
    ],
)
def test_wrong_arguments_are_refused_at_once(tmp_path, arguments, named):
    with pytest.raises(ValueError, match=named):
        make_sample_data(tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', FORMATS)
def test_existing_data_is_never_touched(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'photograph.jpg').write_bytes(b'precious')
    with pytest.raises(FileExistsError, match=name):
        make_sample_data(tmp_path, num_train=1, num_val=1)
    assert contents(tmp_path) == {f'{name}/photograph.jpg': b'precious'}


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cv2, 'imencode', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_sample_data(tmp_path, num_train=1, num_val=1)
    assert not list(tmp_path.iterdir())


# -- what others make of them ------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'joints'), [('coco', COCO_JOINTS), ('mpii', MPII_JOINTS)]
)
def test_joints_have_mmposes_order(name, joints):
    info = parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))
    assert tuple(info['keypoint_id2name'][i] for i in range(len(joints))) == joints


def build(data, name, split, **changes):
    """The data set as the recipe for it builds it."""
    files = {
        'coco': (f'annotations/person_keypoints_{split}2017.json', f'{split}2017/'),
        'mpii': (f'annotations/mpii_{split}.json', 'images/'),
    }
    dataset = dict(type=f'{name.capitalize()}Dataset', data_root=str(data / name))
    dataset |= dict(ann_file=files[name][0], data_prefix=dict(img=files[name][1]))
    return DATASETS.build(dataset | changes)


@pytest.mark.parametrize('split', IDS)
@pytest.mark.parametrize('name', FORMATS)
def test_mmpose_reads_every_person(data, name, split):
    dataset = build(data, name, split)
    coco = data / f'coco/annotations/person_keypoints_{split}2017.json'
    assert len(dataset) == len(read(coco)['annotations'])
    assert {item['img_id'] for item in dataset} == set(IDS[split])
    for item in dataset:
        assert cv2.imread(item['img_path']).shape == (256, 320, 3)


def test_the_detections_are_the_people(data):
    found = build(data, 'coco', 'val', bbox_file=str(data / BOXES), test_mode=True)
    truth = build(data, 'coco', 'val', test_mode=True)
    for one, other in zip(found, truth, strict=True):
        assert one['img_id'] == other['img_id']
        np.testing.assert_allclose(one['bbox'], other['bbox'], atol=1)


def test_pycocotools_reads_the_annotations(data):
    coco = COCO(str(data / 'coco/annotations/person_keypoints_val2017.json'))
    assert sorted(coco.getImgIds()) == list(IDS['val'])
    for person in coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(['person']))):
        joints = np.reshape(person['keypoints'], (17, 3))
        labelled = joints[:, 2] > 0
        assert person['num_keypoints'] == labelled.sum()
        assert not joints[~labelled].any()
        x, y, width, height = person['bbox']
        inside = (joints[:, :2] >= (x, y)) & (joints[:, :2] <= (x + width, y + height))
        assert inside[joints[:, 2] == 2].all()
        assert 0 < person['area'] < width * height


def ap(data, shift):
    """AP of the truth, moved by a number of pixels."""
    dataset = build(data, 'coco', 'val', test_mode=True)
    ann_file = data / 'coco/annotations/person_keypoints_val2017.json'
    metric = METRICS.build(dict(type='CocoMetric', ann_file=str(ann_file)))
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        moved = item['keypoints'] + shift
        scores = np.ones((1, 17), np.float32)
        sample = dict(id=item['id'], img_id=item['img_id'])
        sample['pred_instances'] = dict(keypoints=moved, keypoint_scores=scores)
        sample['gt_instances'] = dict(bbox_scores=np.ones(1), bbox_scales=scores[:, :2])
        metric.process({}, [sample])
    return metric.evaluate(len(dataset))['coco/AP']


def test_the_truth_gets_an_ap_of_one(data):
    assert ap(data, 0) == pytest.approx(1)
    assert ap(data, 3) < 0.9
    assert ap(data, 30) == pytest.approx(0)


def pckh(data, shift):
    """PCKh of the truth, moved to the right by a number of head sizes."""
    boxes = str(data / 'mpii/annotations/mpii_gt_val.mat')
    dataset = build(data, 'mpii', 'val', headbox_file=boxes, test_mode=True)
    metric = METRICS.build(dict(type='MpiiPCKAccuracy'))
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        truth = {key: item[key] for key in ('keypoints', 'keypoints_visible')}
        truth = InstanceData(**truth, head_size=item['head_size']).to_dict()
        moved = item['keypoints'] - 1  # predictions count from 0
        moved[..., 0] += shift * item['head_size'][0, 0]
        sample = dict(gt_instances=truth, pred_instances=dict(keypoints=moved))
        metric.process([dict(inputs=None)], [sample])
    return metric.evaluate(len(dataset))


def test_the_truth_gets_a_pckh_of_100(data):
    assert pckh(data, 0)['PCK@0.1'] == pytest.approx(100)
    assert pckh(data, 0.45)['PCK'] == pytest.approx(100)
    assert pckh(data, 0.55)['PCK'] == pytest.approx(0)


def test_mpii_counts_from_1(data):
    people = read(data / 'mpii/annotations/mpii_val.json')
    coco = read(data / 'coco/annotations/person_keypoints_val2017.json')['annotations']
    common = [name for name in MPII_JOINTS if name in COCO_JOINTS]
    for person, other in zip(people, coco, strict=True):
        keypoints = np.reshape(other['keypoints'], (17, 3))
        for name in common:
            x, y, visibility = keypoints[COCO_JOINTS.index(name)]
            index = MPII_JOINTS.index(name)
            expected = (x + 1, y + 1) if visibility else (-1, -1)
            np.testing.assert_allclose(person['joints'][index], expected, atol=0.01)
            assert person['joints_vis'][index] == int(visibility > 0)


def test_mpii_boxes_hold_joints_and_heads(data):
    people = build(data, 'mpii', 'val')
    heads = loadmat(data / 'mpii/annotations/mpii_gt_val.mat')['headboxes_src']
    for item, (low, high) in zip(people, heads.transpose(2, 0, 1), strict=True):
        seen = item['keypoints'][item['keypoints_visible'] > 0]
        reach = 1.25 * item['bbox_scale'] / 2  # MMPose's padding
        assert (np.abs(seen - item['bbox_center']) <= reach).all()
        neck, top = item['keypoints'][0, 8:10]
        size = np.linalg.norm(neck - top)
        np.testing.assert_allclose((low + high) / 2, (neck + top) / 2, atol=0.1 * size)
        np.testing.assert_allclose(high - low, size, rtol=0.1)

"""Folders of sample data: the same bytes, readable by MMPose, never half done."""

import json

import cv2
import numpy as np
import pycocotools.coco
import pytest
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, METRICS
from scipy.io import loadmat
from xtcocotools.coco import COCO  # what MMPose reads with

from ldcrn_mm.synthetic import folder, make_sample_data

TRAIN, VAL = 3, 8


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('sample') / 'new' / 'data'
    assert make_sample_data(out, num_train=TRAIN, num_val=VAL, seed=3)
    return out


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob('*'))
        if path.is_file()
    }


def test_layout_is_that_of_mmposes_configs(data):
    files = contents(data)
    pictures = {name for name in files if name.endswith('.jpg')}
    assert set(files) - pictures == {
        'sample_data.json',
        'coco/annotations/person_keypoints_train2017.json',
        'coco/annotations/person_keypoints_val2017.json',
        'coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        'mpii/annotations/mpii_train.json',
        'mpii/annotations/mpii_val.json',
        'mpii/annotations/mpii_gt_val.mat',
    }
    numbers = {'coco/train2017': TRAIN, 'coco/val2017': VAL, 'mpii/images': TRAIN + VAL}
    for where, number in numbers.items():
        assert sum(name.startswith(where) for name in pictures) == number


def test_same_bytes_with_several_workers(data, tmp_path):
    make_sample_data(tmp_path, num_train=TRAIN, num_val=VAL, seed=3, workers=2)
    assert contents(tmp_path) == contents(data)


def test_a_larger_set_begins_with_the_smaller_one(data, tmp_path):
    make_sample_data(tmp_path, ['coco'], num_train=TRAIN + 2, num_val=1, seed=3)
    larger, smaller = contents(tmp_path), contents(data)
    for name in smaller:
        if name.startswith('coco/train2017'):
            assert larger[name] == smaller[name]
    name = 'coco/annotations/person_keypoints_train2017.json'
    first, second = json.loads(smaller[name]), json.loads(larger[name])
    for key in ('images', 'annotations'):
        assert second[key][: len(first[key])] == first[key]


def test_other_seeds_and_splits_give_other_pictures(data, tmp_path):
    make_sample_data(tmp_path, ['coco'], num_train=1, num_val=1, seed=4)
    other, files = contents(tmp_path), contents(data)
    name = 'coco/train2017/000000000001.jpg'
    assert other[name] != files[name]
    assert files[name] != files['coco/val2017/000000500001.jpg']


def test_format_decides_what_is_written(tmp_path):
    make_sample_data(tmp_path, ['mpii'], num_train=1, num_val=1)
    assert (tmp_path / 'mpii/annotations/mpii_gt_val.mat').is_file()
    assert not (tmp_path / 'coco').exists()


class Counter:
    def __init__(self, stop_at=None):
        self.count, self.stop_at = 0, stop_at

    def __call__(self):
        self.count += 1
        if self.count == self.stop_at:
            raise KeyboardInterrupt


def test_second_run_draws_nothing(data):
    before, counter = contents(data), Counter()
    arguments = dict(num_train=TRAIN, num_val=VAL, seed=3, on_picture=counter)
    assert not make_sample_data(data, **arguments)
    assert counter.count == 0
    assert contents(data) == before


@pytest.mark.parametrize('stop_at', [2, TRAIN + 1])
def test_an_interrupted_run_is_not_taken_for_a_whole_one(data, tmp_path, stop_at):
    arguments = dict(num_train=TRAIN, num_val=VAL, seed=3)
    with pytest.raises(KeyboardInterrupt):
        make_sample_data(tmp_path, on_picture=Counter(stop_at), **arguments)
    assert not list(tmp_path.rglob('*val*.json'))
    counter = Counter()
    assert make_sample_data(tmp_path, on_picture=counter, **arguments)
    assert counter.count == TRAIN + VAL
    assert contents(tmp_path) == contents(data)


def test_an_interrupted_run_may_be_followed_by_another_one(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_sample_data(tmp_path, num_train=4, on_picture=Counter(2))
    assert make_sample_data(tmp_path, ['coco'], num_train=1, num_val=1)
    assert not (tmp_path / 'mpii').exists()
    assert len(list(tmp_path.rglob('*.jpg'))) == 2


def test_lost_files_are_noticed(tmp_path):
    arguments = dict(formats=['coco'], num_train=1, num_val=1)
    make_sample_data(tmp_path, **arguments)
    (tmp_path / 'coco/train2017/000000000001.jpg').unlink()
    assert make_sample_data(tmp_path, **arguments)
    assert (tmp_path / 'coco/train2017/000000000001.jpg').is_file()


def test_other_sample_data_is_replaced_only_on_demand(tmp_path):
    make_sample_data(tmp_path, ['coco'], num_train=2, num_val=1)
    with pytest.raises(FileExistsError, match=r'num_train 2.*num_train 1.*overwrite'):
        make_sample_data(tmp_path, ['coco'], num_train=1, num_val=1)
    assert make_sample_data(tmp_path, ['coco'], num_train=1, num_val=1, overwrite=True)
    assert len(list(tmp_path.rglob('*.jpg'))) == 2


@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_data_is_never_replaced(tmp_path, overwrite):
    photograph = tmp_path / 'coco' / 'train2017' / '000000000009.jpg'
    photograph.parent.mkdir(parents=True)
    photograph.write_bytes(b'precious')
    with pytest.raises(FileExistsError, match=r'not empty.*another folder'):
        make_sample_data(tmp_path, num_train=1, num_val=1, overwrite=overwrite)
    assert photograph.read_bytes() == b'precious'


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / 'out').write_text('')
    with pytest.raises(NotADirectoryError, match='is a file'):
        make_sample_data(tmp_path / 'out')


def test_a_foreign_marker_is_refused(tmp_path):
    (tmp_path / folder.MARKER).write_text('not json')
    with pytest.raises(FileExistsError, match='not what this program wrote'):
        make_sample_data(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_train=0), 'num_train must be from 1'),
        (dict(num_val=-1), 'num_val must be from 1'),
        (dict(num_train=10**6), 'num_train must be from 1 to 500000'),
        (dict(seed=-1), 'seed must not be negative'),
        (dict(workers=0), 'at least one worker'),
        (dict(formats=['coco', 'voc']), 'out of coco, mpii; got voc'),
        (dict(formats=[]), 'out of coco, mpii; got none'),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        make_sample_data(tmp_path / 'out', **changes)
    assert not (tmp_path / 'out').exists()


# -- what MMPose makes of it -------------------------------------------------


def coco_dataset(data, split, **changes):
    return DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(data / 'coco'),
            ann_file=f'annotations/person_keypoints_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            **changes,
        )
    )


def mpii_dataset(data, split, **changes):
    return DATASETS.build(
        dict(
            type='MpiiDataset',
            data_root=str(data / 'mpii'),
            ann_file=f'annotations/mpii_{split}.json',
            data_prefix=dict(img='images/'),
            **changes,
        )
    )


def test_pycocotools_accepts_the_annotations(data):
    coco = pycocotools.coco.COCO(
        str(data / 'coco/annotations/person_keypoints_val2017.json')
    )
    assert len(coco.getImgIds()) == VAL
    for annotation in coco.loadAnns(coco.getAnnIds()):
        image = coco.loadImgs(annotation['image_id'])[0]
        mask = coco.annToMask(annotation)
        assert mask.shape == (image['height'], image['width'])
        picture = cv2.imread(str(data / 'coco/val2017' / image['file_name']))
        assert picture.shape[:2] == mask.shape


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmpose_reads_the_coco_set(data, split):
    dataset = coco_dataset(data, split)
    path = data / f'coco/annotations/person_keypoints_{split}2017.json'
    records = json.loads(path.read_text())['annotations']
    assert len(dataset) == sum(record['num_keypoints'] > 0 for record in records)
    item = dataset[0]
    assert item['keypoints'].shape == (1, 17, 2)
    assert cv2.imread(item['img_path']) is not None


def test_mmpose_reads_the_detections(data):
    boxes = 'coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json'
    dataset = coco_dataset(data, 'val', bbox_file=str(data / boxes), test_mode=True)
    assert len(dataset) == len(json.loads((data / boxes).read_text()))


def test_the_truth_gets_an_ap_of_one(data):
    dataset = coco_dataset(data, 'val', test_mode=True)
    path = data / 'coco/annotations/person_keypoints_val2017.json'
    metric = METRICS.build(dict(type='CocoMetric', ann_file=str(path)))
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        scores = np.ones((1, 17), np.float32)
        instances = dict(keypoints=item['keypoints'], keypoint_scores=scores)
        truth = dict(bbox_scores=np.ones(1), bbox_scales=np.ones((1, 2)))
        metric.process(
            {},
            [
                dict(
                    id=item['id'],
                    img_id=item['img_id'],
                    pred_instances=instances,
                    gt_instances=truth,
                )
            ],
        )
    assert metric.evaluate(len(dataset))['coco/AP'] == pytest.approx(1)


def mpii_scores(data, shift):
    """PCKh of the truth, moved by a share of the head size."""
    mat = str(data / 'mpii/annotations/mpii_gt_val.mat')
    dataset = mpii_dataset(data, 'val', headbox_file=mat, test_mode=True)
    metric = METRICS.build(dict(type='MpiiPCKAccuracy'))
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        truth = InstanceData(
            keypoints=item['keypoints'],
            keypoints_visible=item['keypoints_visible'],
            head_size=item['head_size'],
        )
        # The metric takes predictions that count from 0.
        moved = (
            item['keypoints'] - 1 + shift * item['head_size'][0, 0] * np.array([1, 0])
        )
        sample = dict(
            gt_instances=truth.to_dict(), pred_instances=dict(keypoints=moved)
        )
        metric.process([dict(inputs=None)], [sample])
    return metric.evaluate(len(dataset))


def test_the_truth_gets_a_pckh_of_100(data):
    scores = mpii_scores(data, shift=0.0)
    assert scores['PCK'] == pytest.approx(100)
    assert scores['PCK@0.1'] == pytest.approx(100)
    assert mpii_scores(data, shift=0.6)['PCK'] == pytest.approx(0)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmpose_reads_the_mpii_set(data, split):
    dataset = mpii_dataset(data, split)
    records = json.loads((data / f'mpii/annotations/mpii_{split}.json').read_text())
    assert len(dataset) == len(records)
    assert set(records[0]) == {'joints', 'joints_vis', 'image', 'center', 'scale'}
    assert cv2.imread(dataset[0]['img_path']) is not None


def test_both_formats_agree_on_positions(data):
    """COCO counts from 0, MPII from 1."""
    coco = COCO(str(data / 'coco/annotations/person_keypoints_val2017.json'))
    records = json.loads((data / 'mpii/annotations/mpii_val.json').read_text())
    compared = 0
    for record in records:
        people = coco.loadAnns(coco.getAnnIds(imgIds=int(record['image'][:-4])))
        ankle = np.array(
            [person['keypoints'][15 * 3 : 15 * 3 + 2] for person in people]
        )
        if record['joints_vis'][5]:
            away = np.abs(ankle + 1 - record['joints'][5]).max(1)
            assert away.min() < 0.02
            compared += 1
    assert compared > 3


def test_mat_has_the_order_of_the_json(data):
    records = json.loads((data / 'mpii/annotations/mpii_val.json').read_text())
    mat = loadmat(data / 'mpii/annotations/mpii_gt_val.mat')
    names = [entry.item() for entry in mat['dataset_joints'][0]]
    assert names.index('head') == 9
    for index, record in enumerate(records):
        np.testing.assert_array_equal(mat['pos_gt_src'][..., index], record['joints'])
        seen = 1 - mat['jnt_missing'][:, index]
        np.testing.assert_array_equal(seen, record['joints_vis'])
        (left, top), (right, bottom) = mat['headboxes_src'][..., index]
        assert left < right
        assert top < bottom


def test_simple_pictures_are_other_contents(tmp_path):
    sizes = dict(formats=['coco'], num_train=1, num_val=1)
    make_sample_data(tmp_path, simple=True, **sizes)
    assert not make_sample_data(tmp_path, simple=True, **sizes)
    with pytest.raises(FileExistsError):
        make_sample_data(tmp_path, **sizes)

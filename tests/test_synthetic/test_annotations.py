"""The formats of COCO and MPII."""

import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from pycocotools import mask as coco_mask

from ldcrn_mm.synthetic.annotations import (
    COCO_NAMES,
    MPII_NAMES,
    coco_annotations,
    coco_file,
    coco_image,
    imitate_detections,
    mpii_mat,
    mpii_records,
    outlines,
)
from ldcrn_mm.synthetic.scene import Person, Scene, draw_scene


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene((4, index)) for index in range(20)]


def one_person(visibility=2, shown=1.0):
    """A made-up person whose joints stand in a row."""
    mask = np.zeros((100, 120), bool)
    mask[20:90, 30:50] = True
    names = list(dict.fromkeys((*COCO_NAMES, *MPII_NAMES)))
    points = {name: (30.0 + i, 20.0 + 2 * i) for i, name in enumerate(names)}
    person = Person(
        points=points,
        visibility=dict.fromkeys(names, visibility),
        mask=mask,
        shown=shown,
        stature=80.0,
        head_box=(35.0, 20.0, 45.0, 31.0),
    )
    image = np.zeros((100, 120, 3), np.uint8)
    return Scene(image, [person], mask.astype(np.uint8), mask.astype(np.uint8))


def metainfo(name):
    return parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))


def test_coco_joints_and_skeleton_are_those_of_mmpose():
    info = metainfo('coco')
    assert [info['keypoint_id2name'][i] for i in range(17)] == list(COCO_NAMES)
    category = coco_file([], [], 'val2017')['categories'][0]
    pairs = {frozenset(i - 1 for i in pair) for pair in category['skeleton']}
    assert pairs == {frozenset(pair) for pair in info['skeleton_links']}


def test_mpii_joints_are_those_of_mmpose():
    info = metainfo('mpii')
    assert [info['keypoint_id2name'][i] for i in range(16)] == list(MPII_NAMES)


def test_coco_file_matches_the_official_one(sample_data):
    import json

    path = sample_data / 'coco/annotations/person_keypoints_val2017.json'
    official = json.loads(path.read_text())
    scene = one_person()
    images = [coco_image(scene, 1, '000000000001.jpg')]
    ours = coco_file(images, coco_annotations(scene, 1), 'val2017')
    assert set(ours) == set(official)
    assert ours['categories'] == official['categories']
    for key in ('images', 'annotations', 'licenses'):
        assert set(ours[key][0]) == set(official[key][0])


def test_coco_annotation_of_a_known_person():
    (annotation,) = coco_annotations(one_person(), image_id=7)
    assert annotation['bbox'] == [30, 20, 20, 70]
    assert annotation['area'] == 20 * 70
    assert annotation['num_keypoints'] == 17
    assert annotation['keypoints'][:6] == [30, 20, 2, 31, 22, 2]
    assert annotation['image_id'] == 7
    assert annotation['iscrowd'] == 0


def test_hidden_people_keep_a_box_but_no_keypoints():
    (annotation,) = coco_annotations(one_person(shown=0.05), image_id=7)
    assert annotation['num_keypoints'] == 0
    assert not any(annotation['keypoints'])
    assert annotation['bbox'] == [30, 20, 20, 70]


def test_hidden_joints_are_labelled_but_not_hidden_faces():
    (annotation,) = coco_annotations(one_person(visibility=2), image_id=7)
    assert annotation['keypoints'][2::3] == [2] * 17
    scene = one_person(visibility=1)
    scene.people[0].visibility['left_ankle'] = 2
    (annotation,) = coco_annotations(scene, image_id=7)
    assert annotation['keypoints'][2::3] == [0] * 5 + [1] * 10 + [2, 1]
    assert not any(annotation['keypoints'][:15])
    assert annotation['num_keypoints'] == 12


def test_people_without_a_pixel_are_left_out():
    scene = one_person()
    scene.people[0].mask[:] = False
    assert coco_annotations(scene, 7) == []


def test_numbers_of_annotations_are_unique(scenes):
    ids = [a['id'] for i, s in enumerate(scenes) for a in coco_annotations(s, i + 1)]
    assert len(set(ids)) == len(ids)


def test_boxes_are_the_tightest_around_the_silhouettes(scenes):
    for scene in scenes:
        shown = [person for person in scene.people if person.mask.any()]
        for person, record in zip(shown, coco_annotations(scene, 1)):
            x, y, w, h = record['bbox']
            assert person.mask[y : y + h, x : x + w].sum() == person.mask.sum()
            assert record['area'] == person.mask.sum()
            for edge in (np.s_[y], np.s_[y + h - 1], np.s_[:, x], np.s_[:, x + w - 1]):
                assert person.mask[edge].any()


def test_joints_outside_have_no_position(scenes):
    for scene in scenes:
        for record in coco_annotations(scene, 1):
            triplets = np.array(record['keypoints']).reshape(-1, 3)
            missing = triplets[:, 2] == 0
            assert not triplets[missing].any()
            assert record['num_keypoints'] == np.count_nonzero(~missing)


def test_outlines_enclose_the_masks(scenes):
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for person in scene.people:
            polygons = outlines(person.mask)
            if person.mask.sum() < 100:
                continue
            assert all(len(polygon) >= 6 for polygon in polygons)
            decoded = coco_mask.decode(
                coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
            ).astype(bool)
            # Outlines have no holes, masks do.
            assert np.mean(decoded[person.mask]) > 0.95
            assert np.count_nonzero(decoded & person.mask) / decoded.sum() > 0.6


def test_outline_of_a_rectangle_is_a_rectangle():
    mask = np.zeros((50, 60), bool)
    mask[10:30, 20:50] = True
    (polygon,) = outlines(mask)
    points = np.array(polygon).reshape(-1, 2)
    np.testing.assert_allclose(points.min(0), (20, 10), atol=0.2)
    np.testing.assert_allclose(points.max(0), (50, 30), atol=0.2)


def test_detections_are_near_people_or_weak(scenes):
    rng = np.random.default_rng(0)
    strong, people = 0, 0
    for number, scene in enumerate(scenes, 1):
        truth = coco_annotations(scene, number)
        image = coco_image(scene, number, 'x.jpg')
        boxes = imitate_detections(truth, image, rng)
        people += sum(record['num_keypoints'] > 0 for record in truth)
        scores = [box['score'] for box in boxes]
        assert scores == sorted(scores, reverse=True)
        for box in boxes:
            x, y, w, h = box['bbox']
            assert box['category_id'] == 1
            assert box['image_id'] == number
            assert 0 <= x < x + w <= image['width'] + 0.01
            assert 0 <= y < y + h <= image['height'] + 0.01
            if box['score'] > 0.6:
                overlaps = coco_mask.iou(
                    np.array([box['bbox']]),
                    np.array([record['bbox'] for record in truth], float),
                    [0] * len(truth),
                )
                assert overlaps.max() > 0.5
                strong += 1
    assert 0.85 < strong / people < 1.15


def test_mpii_record_of_a_known_person():
    (record,) = mpii_records(one_person(), '000000000007.jpg')
    assert record['image'] == '000000000007.jpg'
    assert record['scale'] == pytest.approx(80 / 200)
    # Positions count from 1: the left ankle is COCO's 16th joint.
    assert record['joints'][5] == [30 + 15 + 1, 20 + 30 + 1]
    shown = np.array(record['joints'])
    middle = (shown.min(0) + shown.max(0)) / 2
    # MMPose moves the center down by 15 per unit of scale; it must then be near
    # the middle, so that its box, 1.25 times the stature, holds the person.
    moved = np.add(record['center'], (0, 15 * record['scale']))
    np.testing.assert_allclose(moved, middle, atol=5 * record['scale'])
    assert record['headbox'] == [36.0, 21.0, 46.0, 32.0]


def test_mpii_joints_outside_are_missing():
    scene = one_person()
    scene.people[0].visibility['left_ankle'] = 0
    (record,) = mpii_records(scene, 'a.jpg')
    assert record['joints_vis'] == [1] * 5 + [0] + [1] * 10
    assert record['joints'][5] == [-1.0, -1.0]


def test_mpii_leaves_out_people_who_hardly_show():
    assert mpii_records(one_person(shown=0.05), 'a.jpg') == []
    assert mpii_records(one_person(visibility=0), 'a.jpg') == []


def test_mpii_boxes_hold_the_joints(scenes):
    held = []
    for scene in scenes:
        for record in mpii_records(scene, 'a.jpg'):
            seen = np.array(record['joints_vis'], bool)
            center = np.add(record['center'], (0, 15 * record['scale']))
            half = 1.25 * 200 * record['scale'] / 2
            away = np.abs(np.array(record['joints'])[seen] - center)
            held.append((away <= half).all())
    assert np.mean(held) > 0.97


def test_mpii_mat_follows_the_records(scenes):
    records = [r for scene in scenes for r in mpii_records(scene, 'a.jpg')]
    mat = mpii_mat(records)
    assert [str(name) for name in mat['dataset_joints'][0]] == list(MPII_NAMES.values())
    assert mat['jnt_missing'].shape == (16, len(records))
    assert mat['pos_gt_src'].shape == (16, 2, len(records))
    assert mat['headboxes_src'].shape == (2, 2, len(records))
    for index in (0, len(records) - 1):
        record = records[index]
        np.testing.assert_array_equal(
            mat['jnt_missing'][:, index], 1 - np.array(record['joints_vis'])
        )
        np.testing.assert_array_equal(mat['pos_gt_src'][..., index], record['joints'])
        np.testing.assert_array_equal(
            mat['headboxes_src'][..., index].ravel(), record['headbox']
        )

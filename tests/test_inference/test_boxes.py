"""Boxes from users, and from files in COCO's formats."""

import itertools
import json

import numpy as np
import pytest

from ldcrn_mm.inference.boxes import boxes_per_picture, check_boxes, read_boxes

ONE, TWO = [[1, 2, 30, 40]], [[5, 6, 20, 20], [1, 1, 9, 9]]


def first(boxes, count):
    return list(itertools.islice(boxes, count))


@pytest.mark.parametrize('same', [TWO, np.array(TWO), [], np.zeros((0, 4))])
def test_one_array_is_for_every_picture(same):
    assert all(boxes is same for boxes in first(boxes_per_picture(same, 3), 3))


@pytest.mark.parametrize(
    'each', [[ONE, TWO], [[], ONE], [np.zeros((0, 4)), np.array(ONE)]]
)
def test_a_list_of_arrays_has_one_for_each_picture(each):
    assert first(boxes_per_picture(each, 2), 3) == each
    assert first(boxes_per_picture(each, None), 3) == each


def test_there_must_be_as_many_arrays_as_pictures():
    with pytest.raises(ValueError, match='each of 3 pictures, but got 2'):
        boxes_per_picture([ONE, TWO], 3)


def test_boxes_without_scores_score_one():
    boxes = check_boxes(TWO, 100, 100, 'it')
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, [[5, 6, 20, 20, 1], [1, 1, 9, 9, 1]])


def test_boxes_with_scores_keep_them():
    boxes = check_boxes([[5, 6, 20, 20, 0.25]], 100, 100, 'it')
    np.testing.assert_array_equal(boxes, [[5, 6, 20, 20, 0.25]])


@pytest.mark.parametrize('none', [[], np.zeros((0, 4)), np.zeros((0, 5))])
def test_no_boxes_are_boxes(none):
    assert check_boxes(none, 100, 100, 'it').shape == (0, 5)


@pytest.mark.parametrize(
    'box', [[-20, -20, 1, 1], [99, 49, 200, 200], [-9, -9, 900, 900], [0.25, 0, 0.5, 1]]
)
def test_a_box_may_reach_over_the_edge(box):
    assert check_boxes([box], 100, 50, 'it').shape == (1, 5)


@pytest.mark.parametrize(
    ('box', 'problem'),
    [
        ([10, 10, 10, 20], 'is empty'),
        ([10, 30, 20, 20], 'is empty'),
        (
            [100, 10, 120, 20],
            r'outside the picture, which is 100x50 \(width x height\)',
        ),
        ([10, 50, 20, 60], 'outside'),
        ([-9, 10, 0, 20], 'outside'),
        ([10, -9, 20, 0], 'outside'),
        ([10, 10, float('nan'), 20], 'not finite'),
        ([10, 10, float('inf'), 20], 'not finite'),
    ],
)
def test_a_box_that_cannot_be_meant_is_named(box, problem):
    with pytest.raises(ValueError, match=f'The box .* in it .*{problem}') as caught:
        check_boxes([[0, 0, 100, 50], box], 100, 50, 'it')
    assert ','.join(f'{value:g}' for value in box) in str(caught.value)


@pytest.mark.parametrize('boxes', [[1, 2, 3, 4], [[1, 2, 3]], [[ONE]], 7])
def test_other_shapes_are_errors(boxes):
    with pytest.raises(ValueError, match=r'\(N, 4\)'):
        check_boxes(boxes, 100, 100, 'it')


def test_boxes_may_not_end_early():
    with pytest.raises(ValueError, match='end before frame 3'):
        check_boxes(None, 100, 100, 'frame 3')


def person(image, *box, **more):
    return dict(image_id=image, category_id=1, bbox=list(box), **more)


@pytest.fixture
def annotations(tmp_path):
    """Two people in a.jpg, besides a crowd and a dog, nobody in b.jpg."""
    people = [
        person(7, 10, 20, 30, 40),
        person(7, 0, 0, 600, 400, iscrowd=1),
        dict(person(7, 1, 2, 3, 4), category_id=18),
        person(7, 5, 5, 1.5, 2),
    ]
    content = dict(
        images=[dict(id=7, file_name='train/a.jpg'), dict(id=8, file_name='b.jpg')],
        annotations=people,
        categories=[dict(id=1, name='person'), dict(id=18, name='dog')],
    )
    file = tmp_path / 'annotations.json'
    file.write_text(json.dumps(content))
    return file


@pytest.fixture
def results(tmp_path):
    """Detections in the picture 7 only."""
    content = [
        person(7, 10, 20, 30, 40, score=0.9),
        person(7, 5, 5, 1.5, 2, score=0.2),
        dict(person(7, 1, 2, 3, 4, score=0.8), category_id=18),
    ]
    file = tmp_path / 'results.json'
    file.write_text(json.dumps(content))
    return file


def test_annotated_people_by_file_name(annotations):
    boxes = read_boxes(annotations, ['some/b.jpg', 'other/a.jpg'])
    assert boxes == [[], [[10, 20, 40, 60], [5, 5, 6.5, 7]]]


def test_without_a_category_of_people_all_are_taken(annotations):
    content = json.loads(annotations.read_text())
    del content['categories']
    annotations.write_text(json.dumps(content))
    assert len(read_boxes(annotations, ['a.jpg'])[0]) == 3


def test_detected_people_by_the_number_of_the_picture(results):
    boxes = read_boxes(results, ['000008.jpg', 'x/000000000007.jpg'], score_thr=0.2)
    assert boxes == [[], [[10, 20, 40, 60, 0.9]]]
    assert len(read_boxes(results, ['7.png'], score_thr=0.1)[0]) == 2


@pytest.mark.parametrize('name', ['annotations', 'results'])
def test_a_picture_that_the_file_does_not_know_is_an_error(name, request):
    file = request.getfixturevalue(name)
    with pytest.raises(ValueError, match=r'does not know the picture 9\.jpg'):
        read_boxes(file, ['9.jpg'])


@pytest.mark.parametrize('content', ['{', '{"images": []}', '[1]', '[{"image_id": 1}]'])
def test_other_content_is_an_error(content, tmp_path):
    file = tmp_path / 'boxes.json'
    file.write_text(content)
    with pytest.raises(ValueError, match='none of the formats of COCO'):
        read_boxes(file, ['1.jpg'])


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_boxes(tmp_path / 'nowhere.json', ['1.jpg'])


def test_real_annotations_and_results_agree(sample_data):
    pictures = sorted(map(str, (sample_data / 'coco/val2017').iterdir()))
    annotated = read_boxes(
        sample_data / 'coco/annotations/person_keypoints_val2017.json', pictures
    )
    detected = read_boxes(
        sample_data
        / 'coco/person_detection_results/COCO_val2017_detections_person.json',
        pictures,
        score_thr=0.3,
    )
    assert sum(map(len, annotated)) >= 10
    assert any(  # the best of the detections is close to a person
        np.abs(np.subtract(box[:4], person)).max() < 10
        for boxes, people in zip(detected, annotated)
        for box in boxes
        for person in people
    )

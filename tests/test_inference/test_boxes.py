"""Boxes from users, and from files in COCO's formats."""

import itertools
import json
import re

import numpy as np
import pytest

from ldcrn_mm.inference import InputWarning
from ldcrn_mm.inference.boxes import boxes_per_picture, check_boxes, read_boxes

ONE, TWO = [[1, 2, 30, 40]], [[5, 6, 20, 20], [1, 1, 9, 9]]


@pytest.mark.parametrize('same', [TWO, np.array(TWO), [], np.zeros((0, 4))])
def test_one_array_is_for_every_picture(same):
    assert all(b is same for b in itertools.islice(boxes_per_picture(same, 3), 3))


@pytest.mark.parametrize(
    'each', [[ONE, TWO], [[], ONE], [np.zeros((0, 4)), np.array(ONE)]]
)
def test_a_list_of_arrays_has_one_for_each_picture(each):
    assert list(boxes_per_picture(each, 2)) == each
    assert list(boxes_per_picture(each, None)) == each
    with pytest.raises(ValueError, match='3 pictures, got 2'):
        boxes_per_picture(each, 3)


@pytest.mark.parametrize(
    ('boxes', 'expected'),
    [
        (TWO, [[5, 6, 20, 20, 1], [1, 1, 9, 9, 1]]),
        ([[5, 6, 20, 20, 0.25]], [[5, 6, 20, 20, 0.25]]),
        ([], np.zeros((0, 5))),
        (np.zeros((0, 4)), np.zeros((0, 5))),
        ([[-20, -20, 1, 1]], [[-20, -20, 1, 1, 1]]),
        ([[99, 49, 200, 200]], [[99, 49, 200, 200, 1]]),
        ([[9.25, 0, 9.5, 1]], [[9.25, 0, 9.5, 1, 1]]),
    ],
)
def test_boxes_have_scores_and_may_reach_over_the_edge(boxes, expected):
    found = check_boxes(boxes, 100, 50, 'it')
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    'box',
    [
        [10, 10, 10, 20],
        [10, 30, 20, 20],
        [100, 10, 120, 20],
        [10, 50, 20, 60],
        [-9, 10, 0, 20],
        [10, -9, 20, 0],
        [10, 10, float('nan'), 20],
        [10, 10, float('inf'), 20],
        *([0, 0, far, 20] for far in (1e300, 2e6, 1e-40)),  # a crop would be NaN
        *([0.1, 0.2, 0.5, 0.9], [0.5, 0.5, 1.4, 1.5], [0, 0, 1, 1]),  # not in pixels
    ],
)
def test_a_box_that_cannot_be_meant_is_named(box):
    corners = ','.join(f'{value:g}' for value in np.float32(box))
    with pytest.raises(ValueError, match=rf'box {re.escape(corners)} in it .*100x50'):
        check_boxes([[0, 0, 100, 50], box], 100, 50, 'it')


OTHERS = [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, 4], [1, 2, 3]], [[]], [ONE]]
OTHERS += [[[1, 2, {}, 4]], [[1, 2, 10**400, 4]], ['1234'], {}, 7, None]


@pytest.mark.parametrize('boxes', OTHERS)
def test_other_shapes_and_none_are_errors(boxes):
    with pytest.raises(ValueError, match='for it'):
        check_boxes(boxes, 100, 100, 'it')


@pytest.mark.parametrize('boxes', [7, '1,2,3,4', {}, np.zeros(()), True])
def test_what_holds_no_boxes_is_an_error(boxes):
    with pytest.raises(ValueError, match='Expected boxes'):
        boxes_per_picture(boxes, 1)


def test_boxes_may_come_one_after_the_other():
    found = boxes_per_picture(itertools.cycle([ONE, TWO]), None)
    assert [next(found) for _ in range(3)] == [ONE, TWO, ONE]


def person(image, *box, category=1, **more):
    return dict(image_id=image, category_id=category, bbox=list(box), **more)


@pytest.fixture
def read(tmp_path):
    """Writes the file and reads the boxes."""

    def read(content, *pictures, **kwargs):
        file = tmp_path / 'boxes.json'
        text = content if isinstance(content, str) else json.dumps(content)
        file.write_text(text)
        return read_boxes(file, pictures, **kwargs)

    return read


def annotations(*names, categories=('person', 'dog'), people=None):
    """Images numbered from 7. In the first one: two people, a crowd and a dog."""
    content = dict(
        images=[dict(id=7 + i, file_name=name) for i, name in enumerate(names)],
        annotations=people
        or [
            person('7', 10, 20, 30, 40, category=1.0),
            person(7, 0, 0, 600, 400, iscrowd=1),
            person(7, 1, 2, 3, 4, category=2),
            person(7.0, *['5', '5', '1.5', '2'], category='1'),
        ],
    )
    if categories:
        content['categories'] = [
            dict(id=i, name=name) for i, name in enumerate(categories, 1)
        ]
    return content


PEOPLE = [[10, 20, 40, 60], [5, 5, 6.5, 7]]


@pytest.mark.parametrize(
    ('name', 'picture'),
    [
        ('a.jpg', 'some/a.jpg'),
        ('a.jpg', '/root/a.jpg'),
        ('train/a.jpg', '/root/train/a.jpg'),
        ('train/a.jpg', 'a.jpg'),
        ('train\\a.jpg', 'train/a.jpg'),
        ('a.jpg', 'https://host/a.jpg?size=1'),
    ],
)
def test_annotated_people_by_path(read, name, picture):
    assert read(annotations(name, 'b.jpg'), 'b.jpg', picture) == [[], PEOPLE]


def test_pictures_of_one_name_are_told_apart_by_their_folders(read):
    people = [person(7, 10, 20, 30, 40), person(8, 5, 5, 1.5, 2)]
    content = annotations('cam1/1.jpg', 'cam2/1.jpg', people=people)
    found = read(content, 'x/cam2/1.jpg', 'cam1/1.jpg')
    assert found == [[PEOPLE[1]], [PEOPLE[0]]]
    for picture, message in [('cam3/1.jpg', 'not know'), ('1.jpg', '2 pictures')]:
        with pytest.raises(ValueError, match=message):
            read(content, picture)


@pytest.mark.parametrize('name', ['Person', 'people', 'pedestrian'])
def test_the_category_of_people_by_name(read, name):
    assert read(annotations('a.jpg', categories=[name, 'dog']), 'a.jpg') == [PEOPLE]


def test_pictures_with_one_id_are_an_error(read):
    content = annotations('a.jpg')
    content['images'] += [dict(content['images'][0], file_name='b.jpg')]
    with pytest.raises(ValueError, match=r'a\.jpg and b\.jpg'):
        read(content, 'a.jpg')


def test_without_a_category_of_people(read):
    assert len(read(annotations('a.jpg', categories=()), 'a.jpg')[0]) == 3
    with pytest.raises(ValueError, match='athlete, dog'):
        read(annotations('a.jpg', categories=['athlete', 'dog']), 'a.jpg')


@pytest.mark.parametrize(
    ('image', 'picture'),
    [
        (7, '7.png'),
        (7.0, '7.png'),  # from a table with gaps
        (7, 'x/000000000007.jpg'),
        ('000000000007', '7.jpg'),
        ('a1', 'x/a1.jpg'),
        ('v1.2', 'v1.2.jpg'),
        ('cam1/a1.jpg', 'x/cam1/a1.jpg'),
    ],
)
@pytest.mark.parametrize(
    ('category', 'other'), [(1, 18), ('1', '2'), (0, 1), (1.0, 2.0)]
)
def test_detected_people(read, image, picture, category, other):
    results = [
        person(image, 10, 20, 30, 40, category=category, score=0.9),
        person(image, 5, 5, 1.5, 2, category=category, score=0.2),
        person(image, 1, 2, 3, 4, category=other, score=0.8),
    ]
    best = [10, 20, 40, 60, 0.9]
    assert read(results, '8.jpg', picture, score_thr=0.2) == [[], [best]]
    assert len(read(results, picture)[0]) == 2


BAD = [
    person(99, 1, 2, 3, 4),
    person(7, 1, 2, 3, 4, category=0),
    person(7, 9.98, 188.56, 5.54, 0.0),  # one of COCO's own
    person(7, 1, 2, -3, 4),
    person(7),
    person(7, 1, 2, 3),
    person(7, 1, 2, 3, 'wide'),
    person(7, 1, 2, 3, float('nan')),
    dict(image_id=7, category_id=1),
    dict(image_id=7, category_id=1, bbox=None),
]


def test_bad_annotations_cost_themselves_and_are_counted_in_one_line(read):
    content = annotations('a.jpg', people=[*BAD, person(7, 10, 20, 30, 40)])
    with pytest.warns(InputWarning) as shown:
        assert read(content, 'a.jpg') == [PEOPLE[:1]]
    (message,) = [str(w.message) for w in shown]
    counts = '1 of unknown pictures, 1 of unknown categories, 2 with'
    assert f'{counts} an empty box, 6 without a box' in message


def test_a_detection_without_a_score_is_counted(read):
    results = [person(7, 10, 20, 30, 40, score=s) for s in (0.5, None, float('nan'))]
    with pytest.warns(InputWarning, match='2 without a score'):
        assert read(results, '7.jpg') == [[[10, 20, 40, 60, 0.5]]]


def test_a_person_of_no_height_alone_leaves_the_picture_empty(read):
    assert read(annotations('a.jpg', people=[BAD[2]]), 'a.jpg') == [[]]


def test_a_picture_that_annotations_do_not_know_costs_itself_only(read):
    found = read(annotations('a.jpg'), 'new.jpg', 'a.jpg')
    assert found == [None, PEOPLE]
    with pytest.raises(ValueError, match=r'no boxes for new\.jpg'):
        check_boxes(found[0], 100, 100, 'new.jpg')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        *(
            (content, 'none of the formats')
            for content in (
                *('[' * 100_000, '[null]', '{', '[1]', '[{"image_id": 1}]'),
                *('{"images": []}', [person(7, 1, 2, 3, score=1)]),
                annotations('a.jpg', people=[person(7, 1, 2, 3)]),
            )
        ),
        ([person(7, 1, 2, 3, 4, score=1, category=18)], r"category_id 1 .*'18'"),
        ([person(7, 1, 2, 3, 4, score=1)], r'not know the picture 9\.jpg.* 7'),
        (annotations('a.jpg'), r'not know the picture 9\.jpg.* a\.jpg'),
    ],
)
def test_other_content_is_an_error(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content, '9.jpg')


def test_real_annotations_and_results_agree(sample_data):
    coco = sample_data / 'coco'
    pictures = sorted(map(str, (coco / 'val2017').iterdir()))
    annotated = read_boxes(coco / 'annotations/person_keypoints_val2017.json', pictures)
    results = coco / 'person_detection_results/COCO_val2017_detections_person.json'
    detected = read_boxes(results, pictures, score_thr=0.3)
    assert sum(map(len, annotated)) >= 10
    assert any(  # the best of the detections is close to a person
        np.abs(np.subtract(box[:4], person)).max() < 10
        for boxes, people in zip(detected, annotated)
        for box in boxes
        for person in people
    )

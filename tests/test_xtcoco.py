"""The adapter against xtcocotools, on random people."""

import json

import numpy as np
import pytest
from ldcrn_mm import xtcoco

SIZES = dict(
    keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21
)
NUM_IMAGES, PEOPLE = 12, 4
PARTS_WITH_SCORES = ('foot', 'lefthand', 'wholebody')


def draw_person(random, image, number):
    """An annotation of every part, some of them without a labelled keypoint."""
    x, y, width, height = random.uniform((0, 0, 20, 30), (300, 300, 200, 250)).tolist()
    parts = {}
    for field, size in SIZES.items():
        points = random.uniform((x, y, 0), (x + width, y + height, 3), (size, 3))
        points[:, 2] = np.floor(points[:, 2]) * (random.random() > 0.15)
        parts[field] = points.round(1).flatten().tolist()
    return dict(
        **parts,
        id=number,  # from 0 on, which pycocotools alone takes for no match
        image_id=image,
        category_id=1,
        bbox=[x, y, width, height],
        area=width * height * random.uniform(0.2, 0.9),
        num_keypoints=int(random.integers(0, 4)),
        **(dict(iscrowd=int(random.random() < 0.2)) if number % 3 else {}),
    )


def detect_person(random, truth):
    """A detection near a person. Some have no keypoint or a score for each part."""
    found = dict(image_id=truth['image_id'], category_id=1, score=random.random())
    spread = random.choice([1, 4, 15, 60])
    for field, size in SIZES.items():
        points = np.array(truth[field]).reshape(size, 3)
        points[:, :2] += random.normal(0, spread, (size, 2))
        points[:, 2] = random.uniform(0, 1, size) * (random.random() > 0.1)
        found[field] = points.flatten().tolist()
    if random.random() < 0.5:
        found |= {f'{part}_score': random.random() for part in PARTS_WITH_SCORES}
    return found


@pytest.fixture(scope='module', params=range(3))
def people(request, tmp_path_factory):
    """Files of annotations and of detections."""
    random = np.random.default_rng(request.param)
    folder = tmp_path_factory.mktemp('people')
    images = [
        dict(id=i, width=640, height=640, crowdIndex=random.choice([0.0, 0.2, 0.5, 0.9]))
        for i in range(NUM_IMAGES)
    ]
    truth = [
        draw_person(random, image, PEOPLE * image + k)
        for image in range(NUM_IMAGES)
        for k in range(random.integers(0, PEOPLE + 1))
    ]
    found = [
        detect_person(random, person)
        for person in truth
        for _ in range(random.integers(0, 8))
    ]
    content = dict(
        images=images, annotations=truth, categories=[dict(id=1, name='person')]
    )
    (folder / 'truth.json').write_text(json.dumps(content))
    (folder / 'found.json').write_text(json.dumps(found))
    return str(folder / 'truth.json'), str(folder / 'found.json')


def statistics(COCO, COCOeval, files, kind, **options):
    truth = COCO(files[0])
    evaluation = COCOeval(truth, truth.loadRes(files[1]), kind, **options)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats, evaluation.eval['precision'], evaluation.eval['recall']


@pytest.mark.parametrize('use_area', [True, False])
@pytest.mark.parametrize('kind', xtcoco.KINDS)
def test_every_statistic_is_that_of_xtcocotools(people, kind, use_area):
    theirs = pytest.importorskip('xtcocotools.cocoeval', exc_type=ImportError)
    coco = pytest.importorskip('xtcocotools.coco', exc_type=ImportError)
    size = sum(SIZES[field] for field in xtcoco.KINDS[kind][0])
    options = dict(sigmas=np.linspace(0.02, 0.1, size), use_area=use_area)

    expected = statistics(coco.COCO, theirs.COCOeval, people, kind, **options)
    found = statistics(xtcoco.COCO, xtcoco.COCOeval, people, kind, **options)

    assert len({*expected[0]}) > 4  # the people are neither all found nor all missed
    for ours, reference in zip(found, expected):
        np.testing.assert_array_equal(ours, reference)

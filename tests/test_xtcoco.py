"""The adapter against xtcocotools, on random people."""

import importlib.util
import json

import numpy as np
import pytest

from ldcrn_mm import xtcoco

SIZES = dict(
    keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21
)
NUM_IMAGES, PEOPLE = 12, 4
CROWDING = [0.0, 0.2, 0.5, 0.9]
PARTS_WITH_SCORES = ('foot', 'lefthand', 'wholebody')


def draw_person(random, image, number):
    """An annotation of all parts, some of them without a labelled keypoint.

    Ids begin at 0, which pycocotools takes for "no match".
    """
    x, y, width, height = random.uniform((0, 0, 20, 30), (300, 300, 200, 250)).tolist()
    parts = {}
    for field, size in SIZES.items():
        points = random.uniform((x, y, 0), (x + width, y + height, 3), (size, 3))
        points[:, 2] = np.floor(points[:, 2]) * (random.random() > 0.15)
        parts[field] = points.round(1).flatten().tolist()
    return dict(
        **parts,
        id=number,
        image_id=image,
        category_id=1,
        bbox=[x, y, width, height],
        area=width * height * random.uniform(0.2, 0.9),
        num_keypoints=int(random.integers(0, 4)),
        **(dict(iscrowd=int(random.random() < 0.2)) if number % 3 else {}),
    )


def detect_person(random, truth):
    """A detection near a person, with scores of parts in half of the cases."""
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


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Files of annotations and of detections, by the seed that drew them."""
    folder = tmp_path_factory.mktemp('people')

    def draw(seed):
        random = np.random.default_rng(seed)
        images = [
            dict(id=i, width=640, height=640, crowdIndex=random.choice(CROWDING))
            for i in range(NUM_IMAGES)
        ]
        annotations = [
            draw_person(random, image, PEOPLE * image + k)
            for image in range(NUM_IMAGES)
            for k in range(random.integers(0, PEOPLE + 1))
        ]
        found = [
            detect_person(random, person)
            for person in annotations
            for _ in range(random.integers(0, 8))
        ]
        categories = [dict(id=1, name='person')]
        truth = dict(images=images, annotations=annotations, categories=categories)
        files = []
        for name, content in dict(truth=truth, found=found).items():
            files.append(str(folder / f'{seed}-{name}.json'))
            with open(files[-1], 'w') as file:
                json.dump(content, file)
        return files

    return {seed: draw(seed) for seed in range(3)}


def evaluate(coco, cocoeval, files, kind, use_area):
    size = sum(SIZES[field] for field in xtcoco.KINDS[kind][0])
    truth = coco.COCO(files[0])
    found = truth.loadRes(files[1])
    evaluation = cocoeval.COCOeval(
        truth, found, kind, np.linspace(0.02, 0.1, size), use_area
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.mark.parametrize('use_area', [True, False])
@pytest.mark.parametrize('kind', xtcoco.KINDS)
class TestEvaluation:
    def test_statistics_are_those_written_down(self, people, root, kind, use_area):
        """By xtcocotools 1.14.3, for the people of seed 0."""
        file = root / 'tests' / 'data' / 'xtcocotools_statistics.json'
        expected = json.loads(file.read_text())[kind]['area' if use_area else 'box']
        found = evaluate(xtcoco, xtcoco, people[0], kind, use_area).stats
        assert len({*expected}) > 4  # neither are all people found nor are none
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize('seed', [1, 2])
    def test_curves_are_those_of_xtcocotools(self, people, kind, use_area, seed):
        spec = importlib.util.find_spec('xtcocotools')
        if spec is None or spec.loader is None:  # no loader: it is the adapter
            pytest.skip('xtcocotools is not installed')
        from xtcocotools import coco, cocoeval

        found = evaluate(xtcoco, xtcoco, people[seed], kind, use_area)
        expected = evaluate(coco, cocoeval, people[seed], kind, use_area)
        np.testing.assert_array_equal(found.stats, expected.stats)
        for name in ('precision', 'recall', 'scores'):
            np.testing.assert_array_equal(found.eval[name], expected.eval[name])


def test_no_detections_at_all_give_zeros(people, tmp_path):
    (tmp_path / 'none.json').write_text('[]')
    files = [people[0][0], str(tmp_path / 'none.json')]
    stats = evaluate(xtcoco, xtcoco, files, 'keypoints', True).stats
    np.testing.assert_array_equal(stats, 0)


def test_sigmas_are_those_of_coco_by_default(people):
    truth = xtcoco.COCO(people[0][0])
    evaluation = xtcoco.COCOeval(truth, truth)
    assert evaluation.params.kpt_oks_sigmas[0] == pytest.approx(0.026)


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match='keypoints_upper'):
        xtcoco.COCOeval(iouType='keypoints_upper')

"""What holds for any boxes, names, box files and sizes."""

import copy
import json
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from ldcrn_mm.inference.boxes import check_boxes, read_boxes
from ldcrn_mm.inference.outputs import Outputs
from ldcrn_mm.training.check import config_problems

CHECKS = [HealthCheck.function_scoped_fixture]
settings.register_profile('here', deadline=None, suppress_health_check=CHECKS)
settings.load_profile('here')
NUMBERS = st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=3))
JSON = st.recursive(
    NUMBERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
)
SIDES = st.floats(1.125, 500, width=32)
WORDS = st.text('aB1_- é', min_size=1, max_size=4)
PATHS = st.tuples(st.sampled_from(['', 'x/', 'x/y/']), WORDS).map(''.join)


@given(st.lists(st.lists(NUMBERS, max_size=6), max_size=4) | JSON)
def test_boxes_are_finite_and_in_the_picture_or_an_error(boxes):
    try:
        found = check_boxes(boxes, 100, 80, 'it')
    except ValueError:
        return
    assert found.shape == (len(boxes), 5)
    assert np.isfinite(found).all()
    x1, y1, x2, y2, _ = found.T
    assert (np.maximum(x1, 0) < np.minimum(x2, 100)).all()
    assert (np.maximum(y1, 0) < np.minimum(y2, 80)).all()


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 79), SIDES, SIDES)))
def test_boxes_from_within_the_picture_are_taken_as_they_are(boxes):
    corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
    found = check_boxes(corners, 100, 80, 'it')
    np.testing.assert_array_equal(found[:, :4], np.float32(corners).reshape(-1, 4))
    assert (found[:, 4] == 1).all()


DETECTION = st.fixed_dictionaries(
    dict(image_id=JSON, category_id=st.just(1), bbox=JSON, score=JSON)
)


@pytest.mark.filterwarnings('ignore:.*left out')
@given(JSON | st.lists(DETECTION))
def test_a_box_file_is_read_or_an_error(tmp_path, content):
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    try:
        found = read_boxes(tmp_path / 'boxes.json', ['a.jpg'])
    except ValueError:
        return
    for boxes in filter(None, found):
        assert np.isfinite(boxes).all()


@given(st.lists(PATHS, min_size=1, max_size=6, unique=True), st.data())
def test_each_picture_gets_its_own_boxes(tmp_path, names, data):
    names = [f'{name}.jpg' for name in names]
    # a.jpg and x/a.jpg may be the same
    assume(len({PurePosixPath(name).name for name in names}) == len(names))
    owners = data.draw(st.lists(st.sampled_from(range(len(names))), max_size=9))
    people = [dict(image_id=n, bbox=[i, 0, 1, 1]) for i, n in enumerate(owners)]
    images = [dict(id=i, file_name=name) for i, name in enumerate(names)]
    content = dict(images=images, annotations=people)
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    found = read_boxes(tmp_path / 'boxes.json', [f'/data/{name}' for name in names])
    for n, boxes in enumerate(found):
        assert [box[0] for box in boxes] == [i for i, m in enumerate(owners) if m == n]


SUFFIXES = st.sampled_from(['.jpg', '.PNG', '.heic', '.webp', ''])


@given(st.lists(st.tuples(PATHS, SUFFIXES).map(''.join), max_size=6))
def test_results_never_share_a_file_nor_take_an_inputs(tmp_path, names):
    inputs = [f'{tmp_path}/{name}' for name in names]
    try:
        outputs = Outputs(inputs, tmp_path / 'x', tmp_path / 'x')
    except ValueError:
        return
    files = [file.resolve() for name in inputs for file in outputs._files(name)]
    assert len({*files}) == len(files) == 2 * len(inputs)
    assert not {*files} & {(tmp_path / name).resolve() for name in names}


@pytest.fixture(scope='module')
def recipe(root):
    return Config.fromfile(root / 'configs/ldcrn_coco.py')


PLACES = [
    'model.head.decoder.input_size',
    'train_dataloader.dataset.pipeline.5.input_size',
    'train_dataloader.dataset.pipeline.6.encoder.input_size',
    'val_dataloader.dataset.pipeline.2.input_size',
]
SIZES = st.tuples(*2 * [st.integers(1, 20).map(lambda n: 32 * n)])


@given(SIZES, SIZES, st.sampled_from(PLACES))
@settings(max_examples=30)
def test_sizes_agree_or_the_place_is_named(recipe, size, other, place):
    sizes = dict.fromkeys(PLACES, size) | {place: other}
    maps = tuple(side // 4 for side in sizes[PLACES[0]])
    sizes |= {PLACES[i].replace('input', 'heatmap'): maps for i in (0, 2)}
    cfg = copy.deepcopy(recipe)
    cfg.merge_from_dict(sizes)
    found = config_problems(cfg, ['train', 'val'])
    assert bool(found) == (size != other)
    assert all(place in problem for problem in found)

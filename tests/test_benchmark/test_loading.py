"""The data loader alone: everybody once a pass, and the errors."""

import json

import cv2
import numpy as np
import pytest

from ldcrn_mm.benchmark import loading
from ldcrn_mm.benchmark.loading import Settings, build_loader, measure
from ldcrn_mm.benchmark.table import loading_table


@pytest.fixture
def config(tiny, tmp_path, random):
    """The path of a config with five people to learn from."""
    (tmp_path / 'train2017').mkdir()
    picture = random.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'train2017' / '1.png'), picture)
    keypoints = np.full((17, 3), 2) * [10, 8, 1]
    annotations = [
        dict(
            id=i,
            image_id=1,
            category_id=1,
            iscrowd=0,
            area=400,
            bbox=[5, 5, 40, 50],
            num_keypoints=17,
            keypoints=keypoints.ravel().tolist(),
        )
        for i in range(1, 6)
    ]
    content = dict(
        images=[dict(id=1, file_name='1.png', width=90, height=60)],
        annotations=annotations,
        categories=[dict(id=1, name='person')],
    )
    (tmp_path / 'annotations').mkdir()
    file = tmp_path / 'annotations' / 'person_keypoints_train2017.json'
    file.write_text(json.dumps(content))
    config = tmp_path / 'five.py'
    config.write_text(
        f"_base_ = '{tiny}'\n"
        f"train_dataloader = dict(dataset=dict(data_root='{tmp_path}'))\n"
    )
    return str(config)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_pass_has_everybody_once(config, workers):
    loader = build_loader(config, workers, batch_size=2)
    for _ in range(2):
        ids = [sample.id for batch in loader for sample in batch['data_samples']]
        assert sorted(ids) == [1, 2, 3, 4, 5]
    assert loader.num_workers == workers


def test_a_large_set_is_cut(config, monkeypatch):
    monkeypatch.setattr(loading, 'MOST_PEOPLE', 3)
    loader = build_loader(config, 0, batch_size=2)
    sizes = [len(batch['inputs']) for batch in loader]
    assert sizes == [2, 1]


def test_a_row_for_each_number_of_workers(config, schedule, in_this_process):
    record = measure(config, Settings([0, 1], batch_size=2), schedule)
    for result in record['contenders']:
        case = result['cases']['pass']
        expected = np.median([5 / seconds for seconds in case['rounds']])
        assert case['people_per_second']['median'] == pytest.approx(expected)
    table = loading_table(record)
    assert 'in the training process' in table
    assert '1 workers' in table


def test_missing_data_are_an_error(tiny, schedule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='person_keypoints_train2017'):
        measure(tiny, Settings([0]), schedule)

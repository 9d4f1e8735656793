"""People through the inferencer, against the network alone."""

import json

import cv2
import numpy as np
import pytest

from ldcrn_mm.benchmark import end_to_end
from ldcrn_mm.benchmark.candidates import export
from ldcrn_mm.benchmark.end_to_end import CASES, Settings, build, measure
from ldcrn_mm.benchmark.networks import build_estimator, load_config
from ldcrn_mm.models import LDCRN


@pytest.fixture
def people(tmp_path, random):
    """Two pictures of 90x60 and a COCO file with 3 + 1 people in them."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in ('1.png', '2.png'):
        picture = random.integers(0, 256, (60, 90, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), picture)
    annotations = [
        dict(image_id=i, category_id=1, bbox=[5 * k, 5, 30, 50])
        for k, i in enumerate((1, 1, 1, 2))
    ]
    images = [dict(id=i, file_name=f'{i}.png') for i in (1, 2)]
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps(dict(images=images, annotations=annotations)))
    return dict(inputs=str(folder), bbox_file=str(boxes))


@pytest.fixture
def passes(monkeypatch):
    """How many people went through the backbone, pass by pass."""
    sizes, forward = [], LDCRN.forward

    def count(self, x):
        sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(LDCRN, 'forward', count)
    return sizes


def test_the_network_alone_gets_the_same_batches(tiny, people, passes):
    calls = build(tiny, 1, **people, batch_size=2)
    for flip, expected in (
        ('', [2, 1, 1]),
        (end_to_end.FLIP, [2, 2, 1, 1, 1, 1]),
    ):
        for stage in (end_to_end.NETWORK, end_to_end.WHOLE):
            passes.clear()
            calls(stage + flip)()
            assert passes == expected


def test_a_checkpoint_is_loaded(tiny, people, tmp_path):
    file = tmp_path / 'broken.pth'
    file.write_bytes(b'')
    with pytest.raises(ValueError, match=r'broken\.pth'):
        build(tiny, 1, **people, checkpoint=str(file))


def test_an_exported_file_has_the_threads_of_the_others(
    tiny, people, tmp_path, monkeypatch
):
    for name in ('onnx', 'onnxruntime', 'openvino'):
        pytest.importorskip(name)
    from ldcrn_mm import runtimes

    size, file = (256, 192), tmp_path / 'tiny.onnx'
    export(build_estimator(load_config(tiny), size), file, size, 'fp32')
    opened, open_runtime = [], runtimes.open_runtime

    def note(path, num_threads):
        opened.append((path, num_threads))
        return open_runtime(path, num_threads=num_threads)

    monkeypatch.setattr(runtimes, 'open_runtime', note)
    calls = build(tiny, 3, **people, checkpoint=str(file))
    assert opened == [(str(file), 3)]
    for case in CASES:
        calls(case)()


@pytest.mark.usefixtures('in_this_process')
def test_from_pictures_to_a_record(tiny, people, schedule):
    record = measure([tiny], Settings(**people, batch_size=2), schedule)
    assert json.loads(json.dumps(record))['benchmark'] == 'end to end'
    assert record['settings']['people'] == [3, 1]
    (result,) = record['contenders']
    assert tuple(result['cases']) == CASES
    for case in result['cases'].values():
        speed = [4 / seconds for seconds in case['rounds']]
        assert case['people_per_second']['median'] == pytest.approx(np.median(speed))
    alone, whole, *_ = (case['rounds'] for case in result['cases'].values())
    share = np.median([a / b for a, b in zip(alone, whole)])
    found = result['cases']['end to end']['share_of_network']
    assert found['median'] == pytest.approx(share)
    assert 'share_of_network' not in result['cases']['network']


def test_nobody_in_the_pictures(tiny, people, schedule, tmp_path):
    nobody = tmp_path / 'nobody.json'
    images = [dict(id=i, file_name=f'{i}.png') for i in (1, 2)]
    nobody.write_text(json.dumps(dict(images=images, annotations=[])))
    with pytest.raises(ValueError, match='has no boxes in'):
        measure([tiny], Settings(people['inputs'], str(nobody)), schedule)


@pytest.mark.parametrize('wrong', ['inputs', 'bbox_file', 'config'])
def test_files_that_are_not_there(tiny, people, schedule, wrong):
    given = dict(people, config=tiny) | {wrong: 'nowhere'}
    model = given.pop('config')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        measure([model], Settings(**given), schedule)

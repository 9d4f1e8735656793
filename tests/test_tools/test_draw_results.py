"""tools/draw_results.py: what it draws of a work dir, and what it refuses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import dump

from ldcrn_mm import report

META = """
dataset_info = dict(
    dataset_name='pair',
    keypoint_info={
        0: dict(name='a', id=0, color=[255, 0, 0], type='upper', swap=''),
        1: dict(name='b', id=1, color=[255, 0, 0], type='upper', swap='')},
    skeleton_info={0: dict(link=('a', 'b'), id=0, color=[255, 0, 0])},
    joint_weights=[1.0, 1.0],
    sigmas=[0.1, 0.1])
"""


@pytest.fixture
def work_dir(tmp_path) -> Path:
    """Of a training of one epoch."""
    file = tmp_path / 'run' / '20260101_000000' / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    train = dict(lr=0.1, loss=1.0, epoch=1, step=1)
    entries = [train, {'coco/AP': 0.5, 'coco/AR': 0.75, 'step': 1}]
    file.write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))
    return tmp_path / 'run'


@pytest.fixture
def config(tmp_path, root):
    """Writes a config that inherits the recipe."""

    def write(text: str = '') -> Path:
        path = tmp_path / 'config.py'
        path.write_text(f"_base_ = '{root}/configs/ldcrn_coco.py'\n{text}")
        return path

    return write


def drawn_metrics(tool, monkeypatch, config, work_dir) -> list[str]:
    """Those that reach the library."""
    drawn = []
    monkeypatch.setattr(report, 'plot_curves', lambda _, __, names: drawn.extend(names))
    tool('draw_results.py', config, work_dir).main()
    return drawn


def refused(tool, capsys, *arguments: object) -> str:
    """The message with which the program ends."""
    with pytest.raises(SystemExit) as caught:
        tool('draw_results.py', *arguments).main()
    code = caught.value.code
    return capsys.readouterr().err if code == 2 else code


@pytest.mark.parametrize(
    ('save_best', 'metrics'),
    [
        ("'coco/AR'", ['coco/AR']),
        ("['coco/AP', 'coco/AR']", ['coco/AP', 'coco/AR']),
        ("'auto'", []),
        ('None', []),
    ],
)
def test_the_metrics_of_the_best_checkpoint_are_drawn(
    tool, monkeypatch, config, work_dir, save_best, metrics
):
    path = config(f'default_hooks = dict(checkpoint=dict(save_best={save_best}))')
    assert drawn_metrics(tool, monkeypatch, path, work_dir) == metrics


def test_a_config_without_hooks_names_no_metric(tool, monkeypatch, work_dir, tmp_path):
    (tmp_path / 'plain.py').write_text('model = dict()')
    assert drawn_metrics(tool, monkeypatch, tmp_path / 'plain.py', work_dir) == []


def test_keypoints_have_the_colours_of_the_metainfo(tool, config, work_dir, tmp_path):
    (tmp_path / 'pair.py').write_text(META)
    metainfo = f"dict(from_file='{tmp_path}/pair.py')"
    path = config(f'test_dataloader = dict(dataset=dict(metainfo={metainfo}))')
    picture = tmp_path / 'grey.png'
    cv2.imwrite(str(picture), np.full((60, 80, 3), 128, np.uint8))
    keypoints, seen = np.array([[[20, 30], [60, 30]]]), np.ones((1, 2))
    sample = dict(
        img_path=str(picture),
        gt_instances=dict(keypoints=keypoints, keypoints_visible=seen),
        pred_instances=dict(keypoints=keypoints, keypoint_scores=seen),
    )
    dump([sample], tmp_path / 'dump.pkl')

    tool('draw_results.py', path, work_dir, '--dump', tmp_path / 'dump.pkl').main()

    pair = cv2.imread(str(work_dir / 'pictures' / 'grey.jpg')).astype(int)
    blue, _, red = pair[29:32, 38:42].mean((0, 1))  # on the link
    assert red > blue + 40


def test_what_it_cannot_draw_is_refused_in_words(tool, config, work_dir, capsys):
    empty = work_dir / 'empty'
    empty.mkdir()
    message = refused(tool, capsys, config(), empty)
    assert message.startswith('draw_results.py: error: No log of a training in')
    path = config('test_dataloader = dict(dataset=dict(_delete_=True, type="Nowhere"))')
    dump([], work_dir / 'dump.pkl')
    message = refused(tool, capsys, path, work_dir, '--dump', work_dir / 'dump.pkl')
    assert 'which keypoints its test data have' in message


def test_missing_files_are_named_at_once(tool, config, work_dir, capsys):
    message = refused(tool, capsys, 'nowhere.py', work_dir)
    assert 'config file not found: nowhere.py' in message
    assert 'folder not found: nowhere' in refused(tool, capsys, config(), 'nowhere')
    message = refused(tool, capsys, config(), work_dir, '--dump', 'nowhere.pkl')
    assert 'file not found: nowhere.pkl' in message
    (work_dir / 'metrics.json').touch()
    message = refused(
        tool, capsys, config(), work_dir, '--dump', work_dir / 'metrics.json'
    )
    assert 'must end in .pkl' in message

"""tools/draw_results.py: what it draws of a work dir, and what it refuses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import dump

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


def test_curves_and_people_in_the_colours_of_the_metainfo(
    tool, config, work_dir, tmp_path, capsys
):
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

    names = ['curves.png', 'overview.jpg', 'grey.jpg']
    files = [str(work_dir / 'pictures' / name) for name in names]
    assert capsys.readouterr().out.split() == files
    pair = cv2.imread(files[2]).astype(int)
    blue, _, red = pair[29:32, 38:42].mean((0, 1))  # on the link
    assert red > blue + 40


@pytest.mark.parametrize(
    ('words', 'text', 'message'),
    [
        ('nowhere.py run', '', 'nowhere.py'),
        ('config.py empty', '', 'empty'),
        ('config.py nowhere', '', 'nowhere'),
        ('config.py run --dump nowhere.pkl', '', 'nowhere.pkl'),
        ('config.py run --dump x.pkl', '', 'x.pkl holds no predictions'),
        ('config.py run --dump x.pkl --max-images 0', '', 'max_images'),
        (
            'config.py run --dump x.pkl',
            "test_dataloader = dict(dataset=dict(_delete_=True, type='Nowhere'))",
            'which keypoints its test data have',
        ),
        (
            'config.py run',
            "default_hooks = dict(checkpoint=dict(save_best='PCK'))",
            'have no PCK, but coco/AP, coco/AR',
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(
    tool, config, work_dir, tmp_path, monkeypatch, words, text, message
):
    monkeypatch.chdir(tmp_path)
    config(text)
    (tmp_path / 'empty').mkdir()
    dump([], tmp_path / 'x.pkl')
    with pytest.raises(SystemExit, match=message):
        tool('draw_results.py', *words.split()).main()

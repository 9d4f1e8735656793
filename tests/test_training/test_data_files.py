import pytest
from mmengine.config import Config

from ldcrn_mm.training.data_files import (
    check_data_files,
    inference_dataset,
    use_gt_boxes,
)


@pytest.fixture
def cfg(tmp_path):
    """A config of which every file is there."""
    (tmp_path / 'pictures').mkdir()
    for name in ('people.json', 'boxes.json', 'heads.mat'):
        (tmp_path / name).touch()
    dataset = dict(
        data_root=str(tmp_path),
        ann_file='people.json',
        data_prefix=dict(img='pictures/'),
        bbox_file=str(tmp_path / 'boxes.json'),
        headbox_file=str(tmp_path / 'heads.mat'),
    )
    return Config(
        dict(
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(ann_file=str(tmp_path / 'people.json')),
            val_dataloader=None,
            val_evaluator=None,
        )
    )


def error(cfg):
    with pytest.raises(FileNotFoundError) as caught:
        check_data_files(cfg, ['test'])
    return str(caught.value)


def test_nothing_is_said_if_all_files_are_there(cfg, tmp_path, monkeypatch):
    check_data_files(cfg, ['train', 'val', 'test'])
    monkeypatch.chdir(tmp_path)
    cfg.test_dataloader.dataset.data_root = None
    check_data_files(cfg, ['test'])
    cfg.test_dataloader.dataset.data_root = 's3://bucket/coco'  # is not looked up
    check_data_files(cfg, ['test'])


@pytest.mark.parametrize('is_folder', [False, True])
@pytest.mark.parametrize('name', ['people.json', 'boxes.json', 'heads.mat'])
def test_a_missing_file_is_named_once_with_its_keys(cfg, tmp_path, name, is_folder):
    (tmp_path / name).unlink()
    if is_folder:
        (tmp_path / name).mkdir()
    key = {'people.json': 'ann_file', 'boxes.json': 'bbox_file'}.get(
        name, 'headbox_file'
    )
    message = error(cfg)
    assert message.count(str(tmp_path)) == 1
    assert str(tmp_path / name) in message
    assert f'test_dataloader.dataset.{key}' in message
    assert ('test_evaluator.ann_file' in message) == (name == 'people.json')
    assert ('--gt-boxes' in message) == (name == 'boxes.json')
    assert 'docs/data.md' in message
    check_data_files(cfg, ['train', 'val'])


def test_every_missing_file_is_named(cfg, tmp_path):
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    (tmp_path / 'heads.mat').unlink()
    message = error(cfg)
    for path in ('nowhere/people.json', 'nowhere/pictures/', 'heads.mat'):
        assert str(tmp_path / path) in message
    assert 'boxes.json' not in message


def test_a_folder_that_is_none_is_named(cfg):
    cfg.test_dataloader.dataset.data_prefix.img = None
    with pytest.raises(ValueError, match=r'dataset\.data_prefix\.img .* got None'):
        check_data_files(cfg, ['test'])


def test_all_metrics_and_all_parts_of_a_combined_data_set_count(cfg, tmp_path):
    inner = cfg.test_dataloader.dataset
    lacking = inner | dict(ann_file='lacking.json')
    cfg.test_dataloader.dataset = dict(
        type='CombinedDataset',
        datasets=[inner, dict(type='RepeatDataset', dataset=lacking)],
    )
    gone = str(tmp_path / 'gone.json')
    cfg.test_evaluator = [cfg.test_evaluator, dict(ann_file=gone), dict(type='AUC')]
    message = error(cfg)
    assert 'test_dataloader.dataset.datasets.1.dataset.ann_file' in message
    assert gone in message


def test_ground_truth_boxes_need_no_detections(cfg, tmp_path):
    (tmp_path / 'boxes.json').unlink()
    for _ in range(2):  # they may be missing in the config, too
        use_gt_boxes(cfg, 'test')
    assert 'bbox_file' not in cfg.test_dataloader.dataset
    check_data_files(cfg, ['test'])


@pytest.mark.parametrize(
    ('loaders', 'expected'),
    [
        (dict(test=dict(pipeline=[1]), val=dict(pipeline=[2])), [1]),
        (dict(test=None, val=dict(pipeline=[2])), [2]),
        (dict(val=dict(dataset=dict(pipeline=[2]))), [2]),
        (dict(test=dict(pipeline=[1], datasets=[dict(pipeline=[2])])), [1]),
        (dict(test=dict(pipeline=[], datasets=[dict(), dict(pipeline=[2])])), [2]),
        (dict(train=dict(pipeline=[1]), val=dict(type='CocoDataset')), None),
    ],
)
def test_the_data_set_of_inference(loaders, expected):
    cfg = Config({f'{k}_dataloader': v and dict(dataset=v) for k, v in loaders.items()})
    if expected:
        assert inference_dataset(cfg).pipeline == expected
    else:
        with pytest.raises(ValueError, match='test_dataloader'):
            inference_dataset(cfg)

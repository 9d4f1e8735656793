import pytest
from mmengine.config import Config

from ldcrn_mm.training.data_files import check_data_files, use_gt_boxes


@pytest.fixture
def cfg(tmp_path):
    """A config of which every file is there."""
    (tmp_path / 'pictures').mkdir()
    for name in ('people.json', 'boxes.json', 'heads.mat'):
        (tmp_path / name).write_text('{}')
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
        )
    )


def complaint(cfg):
    with pytest.raises(FileNotFoundError) as caught:
        check_data_files(cfg, ['test'])
    return str(caught.value)


def test_nothing_is_said_where_all_files_are_there(cfg):
    check_data_files(cfg, ['train', 'val', 'test'])


def test_a_missing_file_is_named_once_with_every_key_that_names_it(cfg, tmp_path):
    (tmp_path / 'people.json').unlink()

    message = complaint(cfg)

    assert message.count(str(tmp_path / 'people.json')) == 1
    keys = '(test_dataloader.dataset.ann_file, test_evaluator.ann_file)'
    assert keys in message
    assert 'README.md' in message
    assert '--cfg-options' in message
    assert '--gt-boxes' not in message


def test_every_missing_file_is_named(cfg, tmp_path):
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    (tmp_path / 'heads.mat').unlink()

    message = complaint(cfg)

    for path in ('nowhere/people.json', 'nowhere/pictures/', 'heads.mat'):
        assert str(tmp_path / path) in message
    assert 'boxes.json' not in message


def test_without_detections_the_message_says_how_to_do_without(cfg, tmp_path):
    (tmp_path / 'boxes.json').unlink()

    assert '--gt-boxes' in complaint(cfg)


def test_splits_that_are_not_used_are_not_looked_at(cfg, tmp_path):
    (tmp_path / 'people.json').unlink()

    check_data_files(cfg, ['train', 'val'])


def test_a_split_may_be_switched_off(cfg):
    cfg.val_dataloader = cfg.val_evaluator = None

    check_data_files(cfg, ['val'])


def test_paths_beside_the_root_are_absolute_or_from_the_working_folder(
    cfg, tmp_path, monkeypatch
):
    dataset = cfg.test_dataloader.dataset
    dataset.data_root = None
    dataset.ann_file = str(tmp_path / 'people.json')
    monkeypatch.chdir(tmp_path)

    check_data_files(cfg, ['test'])


def test_addresses_are_not_looked_up(cfg):
    cfg.test_dataloader.dataset.data_root = 's3://bucket/coco'

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

    message = complaint(cfg)

    assert 'test_dataloader.dataset.datasets.1.dataset.ann_file' in message
    assert gone in message


def test_ground_truth_boxes_need_no_detections(cfg, tmp_path):
    (tmp_path / 'boxes.json').unlink()

    use_gt_boxes(cfg)

    assert 'bbox_file' not in cfg.test_dataloader.dataset
    check_data_files(cfg, ['test'])


def test_a_data_set_without_detections_has_ground_truth_boxes_already(cfg):
    del cfg.test_dataloader.dataset['bbox_file']

    use_gt_boxes(cfg)

    assert 'ann_file' in cfg.test_dataloader.dataset

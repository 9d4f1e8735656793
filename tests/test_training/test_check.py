"""Configs that could not do what they say, each with one thing wrong."""

import pytest
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.runner import IterBasedTrainLoop

from ldcrn_mm.training.check import check, config_problems

CODEC = "dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2)"
HEIR = "_base_ = '{root}/configs/ldcrn_coco.py'\n"
TRAIN, VAL = 'train_dataloader.dataset', 'val_dataloader.dataset'
STEP = 'pipeline.{}'
NAN = float('nan')
STOP = dict(type='EarlyStoppingHook', monitor='AP', rule='greater')
BLUR = dict(type='Albumentation', transforms=[dict(type='MedianBlur', p=0.1)])


@pytest.fixture
def problems(root, tmp_path):
    """Of the COCO recipe, changed by settings and by lines of an heir."""

    def find(settings=None, lines='', splits=('train', 'val', 'test')):
        path = tmp_path / 'heir.py'
        path.write_text(HEIR.format(root=root) + lines)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(settings or {})
        return config_problems(cfg, splits)

    return find


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({f'{VAL}.pipeline.2.input_size': (192, 250)}, [VAL, '(192, 250)', 'decoder']),
        ({f'{TRAIN}.pipeline.5.input_size': (96, 128)}, [f'{TRAIN}.pipeline.5']),
        ({f'{TRAIN}.pipeline.6.encoder.heatmap_size': (24, 32)}, ['encoder.heat']),
        ({f'{VAL}.pipeline.2.use_udp': True}, [f'{VAL}.pipeline.2.use_udp', 'test_']),
        ({'model.head.decoder.heatmap_size': (24, 32)}, ['decoder.heat', '(48, 64)']),
        ({'model.head.decoder.input_size': 256}, ['input_size', 'got 256']),
        ({'model.head.decoder.heatmap_size': (48,)}, ['heatmap_size', '(48,)']),
        ({f'{TRAIN}.pipeline.6.encoder.sigma': 3}, ['sigma is 3', 'sigma is 2']),
        ({f'{TRAIN}.pipeline.6.encoder.type': 'UDPHeatmap'}, ['encoder.type']),
        ({'model.head.out_channels': 5}, ['out_channels is 5', '17', TRAIN]),
        ({f'{VAL}.type': 'MpiiDataset'}, ['is 17', '16', VAL]),
        ({f'{TRAIN}.metainfo': dict(from_file='x.py')}, ['x.py']),
        ({f'{TRAIN}.metainfo': 'x.py'}, ['CocoDataset.metainfo', 'docs/custom.md']),
        ({'train_cfg.val_interval': 0}, ['train_cfg.val_interval', 'got 0']),
        ({'train_dataloader.batch_size': 0}, ['train_dataloader.batch_size']),
        ({'val_dataloader.num_workers': 2.5}, ['whole number of at least 0']),
        ({'optim_wrapper.optimizer.lr': NAN}, ['optimizer.lr', 'got nan']),
        ({'optim_wrapper.clip_grad': dict(max_norm=-1)}, ['clip_grad.max_norm']),
        ({'optim_wrapper.clip_grad': 5}, ['clip_grad must be a dict', 'got 5']),
        ({'randomness': 5}, ['randomness must be a dict', 'got 5']),
        ({'optim_wrapper.accumulative_counts': 0}, ['optim_wrapper.accum', 'got 0']),
        ({'param_scheduler.0.end': 0}, ['param_scheduler.0.end']),
        ({'randomness': dict(seed='abc')}, ['randomness.seed', "'abc'"]),
        ({'train_cfg': dict(by_epoch=False)}, ['checkpoint', 'by_epoch=False']),
        (
            {'train_cfg': dict(_delete_=True, type=IterBasedTrainLoop, max_iters=9)},
            ['checkpoint', 'by_epoch=False'],
        ),
        ({'model': 'LDCRN'}, ['model must be a dict']),
        ({'model.head.type': 3}, ['model.head.type', 'got 3']),
        ({'default_hooks': [1]}, ['default_hooks must be a dict']),
        ({'test_dataloader': [1]}, ['test_dataloader must be a dict']),
        ({'custom_hooks': [1]}, ['custom_hooks.0 must be a dict']),
        ({'model.test_cfg.flip_tset': True}, ['Did you mean `flip_test`']),
        ({'default_hooks.checkpoint.save_best': 'PCK'}, ["'PCK'", 'coco/AP']),
        ({'default_hooks.checkpoint.save_best': ['coco/AP', 'AP']}, ["'AP'"]),
        ({'default_hooks.checkpoint.save_bset': 'x'}, ['Did you mean `save_best`']),
        ({'default_hooks.logger.intervall': 5}, ['Did you mean `interval`']),
        ({'default_hooks.loger': dict(interval=5)}, ['default_hooks.loger']),
        ({'custom_hooks': [dict(type='EMAHok')]}, ['custom_hooks.0', 'EMAHok']),
        ({'optim_wrapper.optimizer.type': 'Adaam'}, ['optimizer.type', '`Adam`']),
        ({'train_dataloader.collate_fn': dict(type='a')}, ['collate_fn.type']),
        ({f'{VAL}.pipeline.0.type': 'LoadImag'}, [f'{VAL}.pipeline.0', '`LoadImage`']),
        ({'custom_hooks': [STOP]}, ['custom_hooks.0.monitor', "'AP'", 'coco/AP']),
        ({'val_dataloader.sampler.type': 'InfiniteSampler'}, ['val_', 'never ends']),
        (
            {'train_dataloader.sampler.type': 'InfiniteSampler'},
            ['train_', 'never ends'],
        ),
        ({'train_cfg.type': 'EpochBasedTrainLoop'}, ['type and by_epoch', '_delete_']),
        ({'custom_hooks': [dict(type=LoggerHook, a=1)]}, ['custom_hooks.0.a']),
        (
            {'val_evaluator.ann_file': 'data/coco/annotations/other.json'},
            ['val_evaluator.ann_file', 'other.json', 'val2017.json'],
        ),
        ({f'{VAL}.indices': 50}, [f'{VAL}.indices', 'CocoMetric']),
        ({f'{VAL}.sample_interval': 5}, [f'{VAL}.sample_interval', 'CocoMetric']),
    ],
)
def test_settings_that_cannot_be_right(problems, settings, words):
    (problem, *_) = problems(settings)
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    'settings',
    [
        {'custom_hooks': [dict(STOP, monitor='coco/AP')]},
        {f'{TRAIN}.pipeline.0': BLUR},
        {'custom_hooks': [dict(type='Their', _scope_='their', part=dict(type='Own'))]},
        {'optim_wrapper.clip_grad': dict(type='norm', max_norm=1)},
        {'train_dataloader.collate_fn': dict(type='pseudo_collate')},
    ],
)
def test_settings_that_can_be_right(problems, settings):
    assert problems(settings) == []


def test_one_size_changed_in_the_decoder_is_found_everywhere(problems):
    found = problems({'model.head.decoder.input_size': (96, 128)})
    assert len(found) == 5  # its heatmaps, three crops and the encoder
    named = ['model.head.decoder.input_size' in problem for problem in found]
    assert sum(named) == 4


@pytest.mark.parametrize(
    ('lines', 'name'),
    [
        ("data_root = 'data/mine/'", 'data_root'),
        (f'codec = {CODEC}', 'codec'),
        ('train_pipeline = []', 'train_pipeline'),
        ("data_root = 'data/mine/'\nval_dataloader = dict(batch_size=2)", 'data_root'),
    ],
)
def test_a_variable_that_changes_nothing(problems, lines, name):
    (problem,) = problems(lines=lines)
    assert f'sets `{name}`' in problem
    assert 'heir.py' in problem


@pytest.mark.parametrize(
    ('lines', 'name'),
    [
        ('optim_wraper = dict(optimizer=dict(lr=1.0))', 'optim_wrapper'),
        ('train_dataloaders = dict(batch_size=1)', 'train_dataloader'),
        ("loadfrom = 'epoch_1.pth'", 'load_from'),
    ],
)
def test_a_misspelt_name_of_a_setting(problems, lines, name):
    (problem,) = problems(lines=lines)

    assert problem.endswith(f'changes nothing. Did you mean `{name}`?')


@pytest.mark.parametrize(
    'lines',
    [
        '',
        'mine = 3',
        "data_root = 'a/'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))",
        "data_root = 'a/'\ntrain_dataloader = dict(dataset=dict(data_root='a/'))",
        "default_hooks = dict(checkpoint=dict(save_best='auto'))",
        "val_evaluator = dict(_delete_=True, type='EPE')\n"
        "default_hooks = dict(checkpoint=dict(save_best='EPE', interval=-1))",
        "custom_hooks = [dict(type='EMAHook', momentum=1e-3, priority='LOW')]",
        "_base_.train_dataloader.dataset = dict(type='RepeatDataset', times=2, "
        'dataset=_base_.train_dataloader.dataset)',
        'val_cfg = val_dataloader = val_evaluator = None',
        'default_hooks = None',
    ],
)
def test_what_is_right(problems, lines):
    assert problems(lines=lines) == []


CONVERTER = "dict(type='KeypointConverter', num_keypoints={}, mapping=[(0, 0)])"
AIC = f"dict(type='AicDataset', pipeline=[{CONVERTER}])"  # which has 14 keypoints


@pytest.mark.parametrize(
    ('lines', 'count'),
    [
        (f'dict(_delete_=True, **{AIC.format(17)})', None),
        (f'dict(_delete_=True, **{AIC.format(12)})', 12),
        ("dict(_delete_=True, type='AicDataset')", 14),
        (
            "dict(_delete_=True, type='CombinedDataset', metainfo=dict(from_file="
            f"'configs/_base_/datasets/coco.py'), datasets=[{AIC.format(17)}])",
            None,
        ),
    ],
)
def test_keypoints_that_are_converted(problems, lines, count):
    found = problems(lines=f'train_dataloader = dict(dataset={lines})')
    assert len(found) == bool(count)
    assert not count or f'out_channels is 17, but must be {count}' in found[0]


EACH = (
    "dict(type='MultiDatasetEvaluator', metrics=[dict(type='CocoMetric')], datasets=[])"
)


@pytest.mark.parametrize(
    ('other', 'evaluator', 'is_right'),
    [
        ('CocoDataset', "dict(type='CocoMetric')", False),
        ('CocoDataset', EACH, False),  # which tells data sets apart by their type
        ('AicDataset', "dict(type='CocoMetric')", False),
        ('AicDataset', EACH, True),
        ('CocoDataset', "dict(type='PCKAccuracy')", True),
    ],
)
def test_people_of_two_files_are_counted_apart(problems, other, evaluator, is_right):
    converted = f'pipeline=[{CONVERTER.format(17)}]'
    parts = ', '.join(f"dict(type='{x}', {converted})" for x in ('CocoDataset', other))
    lines = f"""
meta = dict(from_file='configs/_base_/datasets/coco.py')
both = dict(type='CombinedDataset', metainfo=meta, datasets=[{parts}])
val_dataloader = dict(dataset=dict(_delete_=True, **both))
val_evaluator = dict(_delete_=True, **{evaluator})
default_hooks = dict(checkpoint=dict(save_best=None))
"""
    found = problems(lines=lines, splits=['val'])
    assert (found == []) is is_right, found
    assert is_right or 'MultiDatasetEvaluator' in found[0]


def test_a_part_of_the_keypoints_is_returned(problems):
    settings = {'model.head.out_channels': 19}
    settings['model.test_cfg.output_keypoint_indices'] = [*range(17)]
    assert not problems(settings, splits=('val', 'test'))
    assert len(problems(settings)) == 1


def test_combined_heatmaps_have_three_maps_for_each_keypoint(problems):
    udp = dict(type='UDPHeatmap', heatmap_type='combined')
    changes = {f'model.head.decoder.{name}': value for name, value in udp.items()}
    (_, problem, *_) = problems(changes, splits=['train'])
    assert 'is 17, but must be 51' in problem


def test_nested_data_sets_are_looked_into(problems):
    nested = "inner = dict(pipeline=[dict(type='TopdownAffine', input_size=(9, 9))])\n"
    nested += 'train_dataloader = dict('
    nested += "dataset=dict(_delete_=True, type='CombinedDataset', datasets=[inner]))"
    (problem,) = problems(lines=nested)
    assert 'train_dataloader.dataset.datasets.0.pipeline.0.input_size' in problem


def test_shipped_configs_are_right(root):
    for path in sorted(root.glob('configs/[l]*/*.py')):
        assert config_problems(Config.fromfile(path), ['train', 'val', 'test']) == []


def test_all_problems_are_raised_at_once_and_missing_files_first(tmp_path):
    (tmp_path / 'people.json').write_text('[]')
    dataset = dict(type='CocoDataset', ann_file=str(tmp_path / 'people.json'))
    cfg = Config(
        dict(
            model={},
            train_dataloader=dict(batch_size=0, dataset=dataset),
            train_cfg=dict(max_epochs=0),
        )
    )
    with pytest.raises(ValueError, match=r'batch_size(.*\n.*)+max_epochs(.*\n.*)+json'):
        check(cfg, ['train'])
    with pytest.raises(ValueError, match='max_epochs') as caught:
        check(cfg, ['train'], data=False)
    assert 'json' not in str(caught.value)
    dataset['ann_file'] = 'nowhere.json'
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        check(Config(dict(train_dataloader=dict(dataset=dataset))), ['train'])
    with pytest.raises(ValueError, match='no test_dataloader'):
        check(Config(dict(model={})), ['test', 'val'])

"""Settings that would change nothing are refused, and no others."""

import inspect
import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ldcrn_mm.training.settings import require_effect

BASE = """
width = 48
heads = dict(hidden=1)
neck = [dict(type='Neck', channels=8)]
model = dict(neck=neck, head=dict(out_channels=0))
train_cfg = dict(max_epochs=1, val_begin=True)
"""
CONFIG = """
_base_ = 'base.py'
data_root = 'data/coco/'
epochs = 1
size = (64, 48)
codec = dict(type='Codec', sigma=2)
total = 30
of_my_hook = dict(wait=3)
model = dict(width=_base_.width, head=dict(decoder=codec))
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=[dict(size=size), dict(codec=codec)]))
val_evaluator = dict(ann_file=data_root + 'val.json', other='data/coco/')
train_cfg = dict(max_epochs=epochs)
param_scheduler = [dict(end=total // 2)]
"""


@pytest.fixture
def check(tmp_path):
    """Checks settings of a config with variables."""
    (tmp_path / 'base.py').write_text(BASE)
    (tmp_path / 'some.py').write_text(CONFIG)
    cfg = Config.fromfile(tmp_path / 'some.py')
    return lambda **settings: require_effect(cfg, settings, 'some.py')


def refused(check, key: str, value: object) -> list[str]:
    """The lines of the message."""
    with pytest.raises(ValueError, match=re.escape(f'{key}={value}')) as caught:
        check(**{key: value})
    first, *places = str(caught.value).splitlines()
    return [first, *(place.strip() for place in places)]


@pytest.mark.parametrize(
    ('key', 'value', 'places'),
    [
        (
            'data_root',
            'mine',
            [
                'train_dataloader.dataset.data_root=mine',
                'val_evaluator.ann_file=mine/val.json',
                'val_evaluator.other=mine',
            ],
        ),
        ('epochs', 5, ['train_cfg.max_epochs=5']),  # not val_begin=True
        ('size', [8, 8], ['train_dataloader.dataset.pipeline.0.size=[8, 8]']),
        (
            'codec.sigma',
            3,
            [
                'model.head.decoder.sigma=3',
                'train_dataloader.dataset.pipeline.1.codec.sigma=3',
            ],
        ),
        ('width', 32, ['model.width=32']),  # of the base
        ('neck.0.channels', 4, ['model.neck.0.channels=4']),
    ],
)
def test_a_variable_that_is_copied_is_refused_with_its_copies(
    check, key, value, places
):
    first, *found = refused(check, key, value)

    name = key.partition('.')[0]
    assert f'changes nothing: `{name}` is used while some.py is read' in first
    assert sorted(found) == sorted(places)


def test_copies_of_what_is_inherited_are_found_without_their_scope(root):
    path = str(root / 'configs' / 'ldcrn_coco.py')
    key = 'vis_backends.0.type'
    with pytest.raises(ValueError, match=rf'visualizer\.{re.escape(key)}=Other'):
        require_effect(Config.fromfile(path), {key: 'Other'}, path)


@pytest.mark.parametrize('key', ['total', 'custom_imports.imports'])
def test_a_variable_without_copies_asks_for_a_config(tmp_path, key):
    path = tmp_path / 'some.py'
    path.write_text(
        'total = 4\ntrain_cfg = dict(max_epochs=total // 2)\n'
        "custom_imports = dict(imports=['json'])"
    )
    with pytest.raises(ValueError, match='into a config that inherits this one'):
        require_effect(Config.fromfile(path), {key: 5}, str(path))


@pytest.mark.parametrize(
    ('key', 'hint'),
    [('work_dri', 'Did you mean `work_dir`?'), ('zzz.lr', 'What code of your own')],
)
def test_what_nothing_reads_is_refused(check, key, hint):
    (message,) = refused(check, key, 1)

    assert f'nothing reads `{key.partition(".")[0]}`' in message
    assert hint in message


@pytest.mark.parametrize(
    'key',
    [
        'auto_scale_lr.base_batch_size',
        'data_mode',  # of the inferencers
        'find_unused_parameters',
        'heads.hidden',  # of code of the user's own: used nowhere in the config
        'of_my_hook.wait',
        'train_cfg.max_epochs',
        'work_dir',
    ],
)
def test_what_is_read_is_left_alone(check, key):
    check(**{key: 1})


def test_all_that_the_runner_looks_up_is_left_alone(check):
    keys = re.findall(r"\bcfg(?:\.get\(|\[)'(\w+)'", inspect.getsource(Runner))

    assert {'model', 'sync_bn', 'compile'} < {*keys}
    check(**dict.fromkeys(keys, 1))


def test_yaml_has_no_variables(tmp_path):
    path = tmp_path / 'some.yaml'
    path.write_text('mine: 1\nmodel:\n  width: 1\n')
    require_effect(Config.fromfile(path), dict(mine=2), str(path))

import argparse
import os
import re
import sys
from pathlib import Path

import mmpose
import pytest
from mmengine.config import Config
from mmengine.visualization import LocalVisBackend
from mmpose.registry import MODELS

from ldcrn_mm.training import options

BASE = """
width = 48
model = dict(neck=[dict(type='Neck', channels=8)], head=dict(out_channels=0))
train_cfg = dict(max_epochs=1, val_begin=True)
"""
CONFIG = """
_base_ = 'base.py'
custom_imports = dict(imports=['json'])
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
default_hooks = dict(visualization=dict(type='PoseVisualizationHook', enable=False))
visualizer = dict(
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
"""
BACKENDS = 'visualizer.vis_backends'


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parses a command line of a tool."""
    (tmp_path / 'base.py').write_text(BASE)
    (tmp_path / 'some.py').write_text(CONFIG)

    def parse(*arguments, config='some.py'):
        parser = argparse.ArgumentParser()
        parser.add_argument('config', type=options.config_file)
        options.add_run_options(parser)
        monkeypatch.setattr(sys, 'argv', ['tool', str(tmp_path / config), *arguments])
        return options.parse_run_options(parser)

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is restored
    monkeypatch.delenv('LOCAL_RANK')
    return parse


@pytest.fixture
def read(parse):
    """The config of a command line."""
    return lambda *arguments: options.read_config(parse(*arguments))


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--interval', '0'], '--interval must be at least 1, got 0'),
        (['--cfg-options', 'a=1', 'work_dir'], "KEY=VALUE, got 'work_dir'"),
        (['--cfg-options', '=2'], "KEY=VALUE, got '=2'"),
        *(
            (['--cfg-options', f'{BACKENDS}={value}'], f'{BACKENDS}.0.NAME=VALUE')
            for value in (
                "[dict(type='LocalVisBackend'),dict(type='TensorboardVisBackend')]",
                "[dict(type='LocalVisBackend', save_dir='x')]",  # RecursionError
                '{"type": "LocalVisBackend", "save_dir": "x"}',
                "[{'type': 'LocalVisBackend'}]",
            )
        ),
        (['--cfg-options', 'size=[1,(2,3]'], 'size=[1,(2,3]: brackets'),
        (['--cfg-options', 'size=range(1,2)'], 'size=range(1,2): brackets'),
    ],
)
def test_options_that_cannot_be_right_end_the_program(parse, capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_configs_have_a_path_or_name_and_windows_a_display(parse, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        parse(config='other.py')
    assert 'other.py' in capsys.readouterr().err
    assert Path(options.config_file('LDCRN-coco')).name == 'ldcrn_coco.py'
    monkeypatch.delenv('DISPLAY')
    with pytest.raises(SystemExit):
        parse('--show')
    assert '--show-dir' in capsys.readouterr().err


def test_the_rank_is_that_of_the_environment_or_the_command_line(parse, monkeypatch):
    parse('--local-rank', '3')
    assert os.environ['LOCAL_RANK'] == '3'
    parse('--local-rank', '5')
    assert os.environ['LOCAL_RANK'] == '3'


@pytest.mark.parametrize(
    ('arguments', 'folder'),
    [
        ([], 'work_dirs/some'),
        (['--cfg-options', 'work_dir=mine'], 'mine'),
        (['--work-dir', 'yours', '--cfg-options', 'work_dir=mine'], 'yours'),
    ],
)
def test_the_work_dir_is_an_option_or_named_after_the_config(read, arguments, folder):
    assert read(*arguments).work_dir == folder


@pytest.mark.parametrize(
    ('setting', 'found', 'value'),
    [
        ('of_my_hook.wait=2', lambda cfg: cfg.of_my_hook.wait, 2),  # for a user's code
        ('model.width=[a,(b,c)]', lambda cfg: cfg.model.width, ['a', ('b', 'c')]),
        ('default_hooks.visualization=None', lambda cfg: cfg.default_hooks, {}),
        ('default_hooks.timer=None', lambda cfg: cfg.default_hooks.timer, None),
        ('resume=a{}', lambda cfg: cfg.resume, 'a{}'),
        ('sync_bn=torch', lambda cfg: cfg.sync_bn, 'torch'),
        ('data_mode=topdown', lambda cfg: cfg.data_mode, 'topdown'),  # of inferencers
        (f'{BACKENDS}.1.type=A', lambda cfg: cfg.visualizer.vis_backends[1].type, 'A'),
    ],
)
def test_settings_are_overridden(read, setting, found, value):
    assert found(read('--cfg-options', setting)) == value


@pytest.mark.parametrize(
    ('setting', 'reason'),
    [
        (f'{BACKENDS}.2.type=A', 'Index 2 exceeds the length'),
        (f'{BACKENDS}.first.type=A', 'list indices must be integers'),
        (f'{BACKENDS}.0=A', f'`{BACKENDS}.0` is a dict in'),
        ('of_my_hook.wait.x=1', 'wait is a dict in the child config'),
        ('of_my_hook=a', '`of_my_hook` is a dict'),
        ('work_dri=a', 'Did you mean `work_dir`?'),
        ('zzz.lr=1', 'has a setting `zzz`'),
        ('total=4', 'Instead write a config'),
        ('custom_imports.imports=a', 'Instead write a config'),
        (
            'data_root=mine',
            '(train_dataloader.dataset.data_root, val_evaluator.ann_file, '
            'val_evaluator.other) or write a config',
        ),
        ('epochs=5', '(train_cfg.max_epochs) or'),  # not val_begin=True
        ('size=[8,8]', '(train_dataloader.dataset.pipeline.0.size) or'),
        ('width=32', '(model.width) or'),  # of the base
        ('codec.sigma=3', '(model.head.decoder.sigma, train_dataloader'),
    ],
)
def test_settings_without_a_place_or_an_effect_are_refused(read, setting, reason):
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        read('--cfg-options', 'of_my_hook.wait=2', setting)
    key, _, _ = setting.partition('=')
    assert str(caught.value).startswith(f'--cfg-options {key}=')
    assert 'some.py' in str(caught.value)


def test_yaml_has_no_variables(tmp_path):
    (tmp_path / 'some.yaml').write_text('mine: 1\nmodel:\n  width: 1\n')
    assert options.config_with(str(tmp_path / 'some.yaml'), dict(mine=2)).mine == 2


@pytest.mark.parametrize(
    ('arguments', 'folder', 'while_validating'),
    [
        ([], None, None),
        (['--show'], None, None),
        (['--show-dir', 'pictures'], 'pictures', '../pictures'),
        (['--show-dir', '/pictures'], '/pictures', '/pictures'),
    ],
)
@pytest.mark.parametrize('kind', ['LocalVisBackend', LocalVisBackend])
def test_predictions_are_drawn_in_a_window_or_a_folder(
    parse, monkeypatch, arguments, folder, while_validating, kind
):
    args = parse(*arguments, '--interval', '3', '--wait-time', '0.5')
    read = Config.fromfile(args.config)
    read.visualizer.vis_backends[0].type = kind  # a class in pure-Python configs
    monkeypatch.setattr(Config, 'fromfile', lambda path: read)
    cfg = options.read_config(args)
    hook, drawn = cfg.default_hooks.visualization, bool(arguments)
    assert hook.enable == drawn
    assert hook.get('show', False) == ('--show' in arguments)
    assert hook.get('out_dir') == folder
    if drawn:
        assert (hook.interval, hook.wait_time) == (3, 0.5)
    local, tensorboard = cfg.visualizer.vis_backends
    assert local.get('img_save_dir') == while_validating
    assert 'img_save_dir' not in tensorboard


@pytest.mark.parametrize('hooks', ['dict()', 'None'])
def test_drawing_needs_its_hook(read, tmp_path, hooks):
    (tmp_path / 'some.py').write_text(f'default_hooks = {hooks}')
    with pytest.raises(ValueError, match=r'default_hooks\.visualization'):
        read('--show')


def test_a_size_is_in_the_order_of_the_names_of_configs(root):
    config = next((root / 'configs' / 'ldcrn').glob('*384x288.py'))
    height, width = options.image_size(config.stem.rpartition('-')[2])
    assert Config.fromfile(config).codec.input_size == (width, height)


@pytest.mark.parametrize('text', ['256', '256x', '0x192', '256x192x3', '256,192'])
def test_other_sizes_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"256x192, got '{text}'"):
        options.image_size(text)


def test_a_missing_checkpoint_and_a_file_of_another_kind_end_the_program(capsys):
    parser = argparse.ArgumentParser()
    for path in ('https://host/model.pth', __file__):
        options.require_checkpoint(parser, path)
    for path in (None, 'a.pkl', 'a.json'):
        options.require_suffix(parser, path, ('.json', '.pkl'))
    with pytest.raises(SystemExit):
        options.require_checkpoint(parser, 'nowhere.pth')
    assert 'nowhere.pth' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        options.require_suffix(parser, 'a.txt', ('.json', '.pkl'))
    assert 'a.txt must end in .json or .pkl' in capsys.readouterr().err


def test_a_place_that_cannot_be_written_ends_the_program(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    (tmp_path / 'old.json').write_text('kept')
    for path in ('old.json', 'new/a.json'):
        options.require_place(parser, str(tmp_path / path))
    assert (tmp_path / 'old.json').read_text() == 'kept'
    assert not (tmp_path / 'new' / 'a.json').exists()
    for path in ('old.json/a.json', 'new'):
        with pytest.raises(SystemExit):
            options.require_place(parser, str(tmp_path / path))
        assert f'cannot write {tmp_path / path}' in capsys.readouterr().err


def test_what_a_user_can_mend_ends_the_program_without_a_traceback(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    message = r'train\.py: error: no such thing'
    for kind in (ValueError, FileExistsError, ImportError):
        with pytest.raises(SystemExit, match=message), options.user_errors():
            raise kind('no such thing')
    with pytest.raises(KeyError), options.user_errors():
        raise KeyError('a bug')


@pytest.mark.parametrize('ending', [options.user_errors, options.run_errors])
def test_a_part_that_cannot_be_built_ends_the_program_without_a_traceback(ending):
    with pytest.raises(SystemExit, match="argument 'size'"), ending():
        MODELS.build(dict(type='HeatmapHead', size=3))
    with pytest.raises(SystemExit, match='HeatmapHed'), ending():
        MODELS.build(dict(type='HeatmapHed'))
    with pytest.raises(SystemExit, match='"type"'), ending():
        MODELS.build({})
    with pytest.raises(TypeError), ending():
        int(size=3)


OF_ITSELF = 'def f():\n    return f()\n\n\na = f()'  # as one that inherits itself


@pytest.mark.parametrize(
    'text', ['a = (', 'a = b', "_base_ = 'no.py'", 'a = {}[1]', OF_ITSELF]
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / 'some.py'
    path.write_text(text)
    for file in (path, tmp_path / 'some.jpg'):
        with pytest.raises(ValueError, match=f'{file} is no config'):
            options.config_with(str(file), None)


WHILE_FORMATTING = SyntaxError('four hundred lines')
WHILE_FORMATTING.__context__ = KeyboardInterrupt()


@pytest.mark.parametrize(
    ('error', 'code', 'words'),
    [
        (FloatingPointError('the loss'), 'some.py: error: the loss', ''),
        (OSError(28, 'full', 'a'), "some.py: error: [Errno 28] full: 'a'", ''),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (WHILE_FORMATTING, 130, 'interrupted'),
    ],
)
def test_a_run_ends_with_one_line(monkeypatch, capsys, error, code, words):
    monkeypatch.setattr(sys, 'argv', ['some.py'])
    with pytest.raises(SystemExit) as ended, options.run_errors():
        raise error
    assert ended.value.code == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize('error', [SyntaxError('a bug'), OSError(13, 'denied')])
def test_what_else_ends_a_run_keeps_its_traceback(error):
    with pytest.raises(type(error)), options.run_errors():
        raise error


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_the_options_are_those_of_mmpose(root, tool):
    theirs, ours, shared = (
        set(re.findall(r"'(--[a-z-]+)'", source.read_text()))
        for source in (
            Path(mmpose.__file__).parent / '.mim' / 'tools' / tool,
            root / 'tools' / tool,
            Path(options.__file__),
        )
    )
    assert {'--work-dir', '--show-dir', '--launcher'} < theirs
    assert theirs <= ours | shared

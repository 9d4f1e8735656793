import argparse
import os
import re
import sys
from pathlib import Path

import mmpose
import pytest
from mmengine.config import Config

from ldcrn_mm.training import options

CONFIG = """
default_hooks = dict(visualization=dict(type='PoseVisualizationHook', enable=False))
visualizer = dict(
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
step = dict(size=1)
name = file = None
"""


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parses a command line whose config is a file."""
    (tmp_path / 'some.py').write_text(CONFIG)

    def parse(*arguments, config='some.py'):
        parser = argparse.ArgumentParser()
        parser.add_argument('config')
        options.add_run_options(parser)
        command = ['tool', str(tmp_path / config), *arguments]
        monkeypatch.setattr(sys, 'argv', command)
        return options.parse_run_options(parser)

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is restored
    monkeypatch.delenv('LOCAL_RANK')
    return parse


def test_a_missing_config_ends_the_program_with_its_name(parse, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(config='other.py')

    assert ended.value.code == 2
    assert f'config file not found: {tmp_path / "other.py"}' in capsys.readouterr().err


def test_an_interval_under_one_ends_the_program(parse, capsys):
    with pytest.raises(SystemExit):
        parse('--interval', '0')

    assert '--interval counts batches from 1' in capsys.readouterr().err


@pytest.mark.parametrize('setting', ['step.size', '=2'])
def test_settings_without_a_key_or_a_value_end_the_program(parse, capsys, setting):
    with pytest.raises(SystemExit):
        parse('--cfg-options', 'name=a', setting)

    error = capsys.readouterr().err
    assert f"--cfg-options takes KEY=VALUE, but got '{setting}'" in error


BACKENDS = 'visualizer.vis_backends'


@pytest.mark.parametrize(
    'value',
    [
        "[dict(type='LocalVisBackend'),dict(type='TensorboardVisBackend')]",  # texts
        "[dict(type='LocalVisBackend', save_dir='x')]",  # RecursionError
        '{"type": "LocalVisBackend", "save_dir": "x"}',
        "[{'type': 'LocalVisBackend'}]",
    ],
)
def test_a_setting_that_holds_a_dict_ends_the_program(parse, capsys, value):
    with pytest.raises(SystemExit) as ended:
        parse('--cfg-options', 'step.size=2', f'{BACKENDS}={value}')

    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f'{BACKENDS}={value}' in error.replace('\\', '')
    assert 'cannot hold a dict' in error
    assert f'{BACKENDS}.0.KEY=VALUE' in error
    assert '_base_ =' in error


@pytest.mark.parametrize('value', ['[1,(2,3]', 'range(1,2)'])
def test_brackets_that_mmengine_cannot_read_end_the_program(parse, capsys, value):
    with pytest.raises(SystemExit):
        parse('--cfg-options', f'name={value}')

    assert f'name={value}: brackets are for lists alone' in capsys.readouterr().err


def test_windows_need_a_display(parse, capsys, monkeypatch):
    monkeypatch.delenv('DISPLAY')

    with pytest.raises(SystemExit):
        parse('--show')

    assert '--show needs a display; --show-dir' in capsys.readouterr().err


def test_the_rank_is_taken_from_the_command_line(parse):
    parse('--local-rank', '3')

    assert os.environ['LOCAL_RANK'] == '3'


def test_the_rank_of_the_environment_wins(parse, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '5')

    parse('--local-rank', '3')

    assert os.environ['LOCAL_RANK'] == '5'


@pytest.mark.parametrize(
    ('arguments', 'folder'),
    [
        ([], 'work_dirs/some'),
        (['--cfg-options', 'work_dir=mine'], 'mine'),
        (['--work-dir', 'yours', '--cfg-options', 'work_dir=mine'], 'yours'),
    ],
)
def test_the_option_wins_over_the_config_and_that_over_its_name(
    parse, arguments, folder
):
    assert options.read_config(parse(*arguments)).work_dir == folder


def test_settings_are_overridden(parse):
    more = [f'{BACKENDS}.1.type=WandbVisBackend', 'file=epoch_{}.pth']

    cfg = options.read_config(
        parse('--cfg-options', 'step.size=2', 'name=[a,(b,c)]', *more)
    )

    assert cfg.step.size == 2
    assert cfg.name == ['a', ('b', 'c')]
    types = [backend.type for backend in cfg.visualizer.vis_backends]
    assert types == ['LocalVisBackend', 'WandbVisBackend']
    assert cfg.file == 'epoch_{}.pth'


def test_a_size_is_in_the_order_of_the_names_of_configs(root):
    config = next((root / 'configs' / 'ldcrn').glob('*384x288.py'))
    size = config.stem.rpartition('-')[2]

    height, width = options.image_size(size)

    assert Config.fromfile(config).codec.input_size == (width, height)


@pytest.mark.parametrize('text', ['256', '256x', '0x192', '256x192x3', '256,192'])
def test_a_size_that_is_none_shows_one(text):
    message = f"HEIGHTxWIDTH in pixels, as in 256x192, got '{text}'"
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        options.image_size(text)


@pytest.mark.parametrize(
    ('setting', 'reason'),
    [
        (f'{BACKENDS}.2.type=A', 'Index 2 exceeds the length'),
        (f'{BACKENDS}.first.type=A', 'list indices must be integers'),
        (f'{BACKENDS}.0=A', "no attribute 'items'"),
        ('step.size.x=1', 'size is a dict in the child config'),
    ],
)
def test_a_setting_without_a_place_in_the_config_is_named(parse, setting, reason):
    args = parse('--cfg-options', 'step.size=2', setting)

    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        options.read_config(args)

    start = f'--cfg-options {setting} does not fit {args.config}: '
    assert str(caught.value).startswith(start)


def test_nothing_is_drawn_unless_asked(parse):
    cfg = options.read_config(parse())

    assert cfg.default_hooks.visualization.enable is False


@pytest.mark.parametrize('arguments', [['--show'], ['--show-dir', 'pictures']])
def test_predictions_are_drawn_in_a_window_or_a_folder(parse, arguments):
    more = ['--interval', '3', '--wait-time', '0.5']
    cfg = options.read_config(parse(*arguments, *more))

    assert cfg.default_hooks.visualization == dict(
        type='PoseVisualizationHook',
        enable=True,
        show='--show' in arguments,
        out_dir='pictures' if '--show-dir' in arguments else None,
        interval=3,
        wait_time=0.5,
    )


def test_drawing_needs_its_hook(parse, tmp_path):
    (tmp_path / 'some.py').write_text('default_hooks = dict()')

    with pytest.raises(ValueError, match=r'default_hooks\.visualization'):
        options.read_config(parse('--show'))


@pytest.mark.parametrize(
    ('folder', 'path'), [('pictures', '../pictures'), ('/pictures', '/pictures')]
)
def test_pictures_of_the_validation_go_where_those_of_the_test_go(parse, folder, path):
    cfg = options.read_config(parse('--show-dir', folder))

    options.draw_validation_in(cfg, folder)

    local, tensorboard = cfg.visualizer.vis_backends
    assert local.img_save_dir == path
    assert 'img_save_dir' not in tensorboard


@pytest.mark.parametrize('path', ['https://host/model.pth', 'there.pth'])
def test_a_checkpoint_is_a_file_or_an_address(path, tmp_path, monkeypatch):
    (tmp_path / 'there.pth').touch()
    monkeypatch.chdir(tmp_path)

    options.require_checkpoint(argparse.ArgumentParser(), path)


def test_a_missing_checkpoint_ends_the_program_with_its_name(capsys):
    with pytest.raises(SystemExit):
        options.require_checkpoint(argparse.ArgumentParser(), 'nowhere.pth')

    assert 'checkpoint file not found: nowhere.pth' in capsys.readouterr().err


def test_a_file_of_another_kind_ends_the_program(capsys):
    parser = argparse.ArgumentParser()
    options.require_suffix(parser, None, ('.json', '.pkl'))
    options.require_suffix(parser, 'a.pkl', ('.json', '.pkl'))

    with pytest.raises(SystemExit):
        options.require_suffix(parser, 'a.txt', ('.json', '.pkl'))

    assert 'a.txt must end in .json or .pkl' in capsys.readouterr().err


@pytest.mark.parametrize('kind', [ValueError, FileNotFoundError, ImportError])
def test_what_a_user_can_mend_ends_the_program_without_a_traceback(kind, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])

    with pytest.raises(SystemExit) as ended, options.user_errors():
        raise kind('no such thing')

    assert ended.value.code == 'train.py: error: no such thing'


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(KeyError), options.user_errors():
        raise KeyError('a bug')


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_the_options_are_those_of_mmpose(root, tool):
    theirs, ours, shared = (
        set(re.findall(r"'(--[a-z-]+)'", source.read_text()))
        for source in (
            Path(mmpose.__file__).parent / '.mim' / 'tools' / tool,
            root / 'tools' / tool,
            root / 'ldcrn_mm' / 'training' / 'options.py',
        )
    )

    assert {'--work-dir', '--show-dir', '--launcher'} < theirs
    assert theirs <= ours | shared

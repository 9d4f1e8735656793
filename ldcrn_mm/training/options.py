"""Command lines of the tools: their common options, and settings of a config."""

import argparse
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import join
from pathlib import Path
from typing import Any, NoReturn

from mmengine.config import Config, DictAction

from ..checkpoint import find_checkpoint, zoo
from .check import wrong_kinds
from .launch import type_name
from .variables import require_effect

PREDICTION_FILES = ('.pkl', '.pickle')
METRIC_FILES = ('.json', '.yaml', '.yml', *PREDICTION_FILES)
# What running a config raises, besides ValueError and ImportError
CONFIG_ERRORS = (
    *(AttributeError, LookupError, NameError, OSError, SyntaxError, TypeError),
    RecursionError,  # a config that inherits itself
)
# Of a name or an argument that is not there
MISFIT = re.compile(
    r'unexpected keyword argument|is not in the .+ registry|must contain the key'
)
# Default hooks that MMEngine leaves out if they are None. It fails on others.
OF_MMENGINE = (
    *('checkpoint', 'logger', 'param_scheduler'),
    *('runtime_info', 'sampler_seed', 'timer'),
)
DICT = re.compile(r"""\bdict\s*\(|\{\s*['"]""")


class SettingsAction(DictAction):
    """MMEngine's ``KEY=VALUE``, with errors for values that it would misread."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Called by argparse with the words after the option."""
        for setting in values:
            key, sign, value = setting.partition('=')
            if not (key and sign):
                parser.error(f'{option_string} expects KEY=VALUE, got {setting!r}')
            if DICT.search(value):
                parser.error(
                    f'{option_string} {setting!r}: a value cannot hold a dict. Set its '
                    f'items one by one ({key}.NAME=VALUE, or {key}.0.NAME=VALUE for '
                    'the first of a list), or write it into a config that inherits '
                    "this one (_base_ = 'PATH')"
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError):
            parser.error(
                f'{option_string} {" ".join(values)}: brackets are for lists only, '
                'and each must be closed, as in KEY=[1,2] or KEY=[(a,b),(c,d)]'
            )


def add_settings(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds MMPose's option that overrides settings of the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SettingsAction,
        metavar='KEY=VALUE',
        help=f'settings of the config to override: {example}',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds MMPose's options for overriding, drawing and launching."""
    add_settings(parser, 'model.backbone.with_cp=True saves memory')
    add = parser.add_argument
    add('--work-dir', help='folder for logs and results (work_dirs/CONFIG)')
    add(
        '--show-dir',
        help='save pictures of the predictions in this folder (inside the log folder '
        'of the run if the path is relative)',
    )
    add('--show', action='store_true', help='show the predictions in a window')
    add(
        '--interval',
        type=int,
        default=1,
        help='while validating, draw the first prediction of every so many batches '
        '(testing draws all)',
    )
    add('--wait-time', type=float, default=1, help='seconds that a window stays')
    add('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # The predecessor of torchrun passes the rank like this.
    add('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def parse_run_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the command line and checks what can be checked at once.

    Args:
        parser: a parser with the argument ``config``.
    """
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.interval < 1:
        parser.error(f'--interval must be at least 1, got {args.interval}')
    if args.show and not {'DISPLAY', 'WAYLAND_DISPLAY'} & os.environ.keys():
        parser.error('--show needs a display. --show-dir FOLDER saves the pictures')
    return args


def config_file(text: str) -> str:
    """Path of a config, for which the name of one of our models may stand."""
    if zoo.knows(text):
        return zoo.config_of(text)
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(
            f'config file not found: {text}. A model of the package also has a name: '
            f'{zoo.names()}'
        )
    return text


def require_checkpoint(parser: argparse.ArgumentParser, path: str) -> None:
    """Ends the program unless ``path`` is a file, an address or ``ldcrn_mm://NAME``."""
    try:
        find_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


def require_suffix(
    parser: argparse.ArgumentParser, path: str | None, suffixes: Sequence[str]
) -> None:
    """Ends the program if ``path`` is given and has another suffix."""
    if path and not path.endswith(tuple(suffixes)):
        parser.error(f'{path} must end in {" or ".join(suffixes)}')


def require_place(parser: argparse.ArgumentParser, path: str) -> None:
    """Ends the program unless a file can be written there, and makes its folder."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        existed = Path(path).exists()
        with open(path, 'ab'):
            pass
    except OSError as error:
        parser.error(f'cannot write {path}: {error.strerror}')
    if not existed:
        Path(path).unlink(missing_ok=True)


def image_size(text: str) -> tuple[int, int]:
    """Parses height and width, in the order of the configs' names."""
    found = re.fullmatch('([1-9][0-9]*)x([1-9][0-9]*)', text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH in pixels, as in 256x192, got '{text}'"
        )
    return int(found[1]), int(found[2])


def read_config(args: argparse.Namespace) -> Config:
    """Reads the config with the options of :func:`add_run_options`.

    Raises:
        ValueError: a setting has no effect, or the config has no hook that draws.
    """
    cfg = config_with(args.config, args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = join('work_dirs', Path(args.config).stem)
    hooks = cfg.get('default_hooks') or {}
    for name in [n for n, hook in hooks.items() if hook is None]:
        if name not in OF_MMENGINE:
            del hooks[name]
    if args.show or args.show_dir:
        _draw_predictions(cfg, args)
    return cfg


def _draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turns on MMPose's drawing while validating and testing."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show and --show-dir need a `default_hooks.visualization` in the '
            "config: dict(type='PoseVisualizationHook')."
        )
    hook.update(
        enable=True,
        show=args.show and not vars(args).get('badcase'),  # which has the window
        out_dir=args.show_dir,  # while testing
        interval=args.interval,
        wait_time=args.wait_time,
    )
    for backend in (cfg.get('visualizer') or {}).get('vis_backends') or []:
        if args.show_dir and type_name(backend) == 'LocalVisBackend':
            backend.img_save_dir = join('..', args.show_dir)  # while validating


def config_with(path: str, settings: dict[str, Any] | None) -> Config:
    """Reads a config with the settings of ``--cfg-options``.

    Raises:
        ImportError: the config needs a module that is not there.
        ValueError: it cannot be read, or a setting has no place in it or no effect.
    """
    try:
        cfg = Config.fromfile(path)
    except CONFIG_ERRORS as error:
        raise ValueError(f'{path} is no config that can be read: {error}') from error
    for key, value in (settings or {}).items():
        require_effect(cfg, key, f'--cfg-options {key}={value}', path)
        if isinstance(_value(cfg, key), dict) and value is not None:
            raise ValueError(
                f'--cfg-options {key}={value}: `{key}` is a dict in {path}. Set its '
                f'items one by one ({key}.NAME=VALUE).'
            )
        try:
            cfg.merge_from_dict({key: value})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f'--cfg-options {key}={value} does not fit {path}: {error.args[0]}'
            ) from error
    if wrong := [*wrong_kinds(cfg)]:
        raise ValueError('\n  '.join([f'{path} cannot be right:', *wrong]))
    return cfg


def _value(cfg: Config, key: str) -> Any:
    """What a config has at a key such as ``custom_hooks.0.type``, if it has it."""
    part: Any = cfg
    for name in key.split('.'):
        try:
            part = part[int(name) if isinstance(part, list) else name]
        except (LookupError, TypeError, ValueError):
            return None
    return part


@contextmanager
def user_errors() -> Iterator[None]:
    """Ends the program with the message alone for what the user can mend."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'{Path(sys.argv[0]).name}: error: {error}')
    except (KeyError, TypeError) as error:
        _end_if_misfit(error)


def _end_if_misfit(error: KeyError | TypeError) -> NoReturn:
    """Ends the program if MMEngine cannot build a part as the config has it."""
    *_, last = traceback.extract_tb(error.__traceback__)
    if 'mmengine' in Path(last.filename).parts and MISFIT.search(str(error)):
        sys.exit(f'{Path(sys.argv[0]).name}: error: the config: {error.args[0]}')
    raise error


@contextmanager
def run_errors() -> Iterator[None]:
    """Ends a run with one line where it diverged, was interrupted or the disk is full.

    MMEngine turns Ctrl-C while it formats a config into a ``SyntaxError``.
    """
    name = Path(sys.argv[0]).name
    try:
        yield
    except FloatingPointError as error:
        sys.exit(f'{name}: error: {error}')
    except (KeyError, TypeError) as error:
        _end_if_misfit(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f'{name}: error: {error}')
    except (KeyboardInterrupt, SyntaxError) as error:
        causes = (error, error.__context__)
        if not any(isinstance(cause, KeyboardInterrupt) for cause in causes):
            raise
        print(f'{name}: interrupted', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)

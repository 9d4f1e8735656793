"""What the command lines of the tools have in common."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import join
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from ..checkpoint import find_checkpoint
from .settings import require_effect

DICT = re.compile(r"""\bdict\s*\(|\{\s*['"]""")


class SettingsAction(DictAction):
    """MMEngine's ``KEY=VALUE``, with an error for what it misreads.

    A dict in a value becomes pieces of text, which fail much later, or recurses
    without end.
    """

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
                parser.error(f'{option_string} takes KEY=VALUE, but got {setting!r}')
            if DICT.search(value):
                parser.error(
                    f'{option_string} {setting!r}: a value cannot hold a dict. Set '
                    f'what is in it one by one ({key}.KEY=VALUE, in a list '
                    f'{key}.0.KEY=VALUE for the first item), or write the dict into '
                    "a config that inherits this one (_base_ = 'PATH')"
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError):
            parser.error(
                f'{option_string} {" ".join(values)}: brackets are for lists alone, '
                'as in KEY=[1,2] or KEY=[(a,b),(c,d)], each closed'
            )


def add_settings(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds MMPose's option for overriding what the config says."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SettingsAction,
        metavar='KEY=VALUE',
        help=f'settings of the config to override: {example}',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds MMPose's options for overriding, drawing and launching."""
    parser.add_argument(
        '--work-dir', help='where logs and results go (work_dirs/CONFIG)'
    )
    add_settings(parser, 'model.backbone.with_cp=True saves memory')
    parser.add_argument(
        '--show-dir',
        help='save pictures of the predictions here (a relative folder: inside '
        "the run's log folder)",
    )
    parser.add_argument(
        '--show', action='store_true', help='show the predictions in a window'
    )
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        help='while validating, draw the first prediction of every so many batches '
        '(testing draws all)',
    )
    parser.add_argument(
        '--wait-time', type=float, default=1, help='seconds a window stays'
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # torchrun's predecessor passes the rank like this.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )


def parse_run_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the command line and checks what can be checked at once.

    Returns:
        The arguments; among them has to be ``config``.
    """
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).is_file():
        parser.error(f'config file not found: {args.config}')
    if args.interval < 1:
        parser.error(f'--interval counts batches from 1, but it is {args.interval}')
    if args.show and not (
        os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    ):
        parser.error('--show needs a display; --show-dir FOLDER saves the pictures')
    return args


def require_checkpoint(parser: argparse.ArgumentParser, path: str) -> None:
    """Ends the program where ``path`` is neither a file nor an address nor a name."""
    try:
        find_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


def require_suffix(
    parser: argparse.ArgumentParser, path: str | None, suffixes: Sequence[str]
) -> None:
    """Ends the program where ``path`` is given and ends otherwise."""
    if path and not path.endswith(tuple(suffixes)):
        parser.error(f'{path} must end in {" or ".join(suffixes)}')


def image_size(text: str) -> tuple[int, int]:
    """Height and width, in the order of the configs' names."""
    found = re.fullmatch('([1-9][0-9]*)x([1-9][0-9]*)', text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH in pixels, as in 256x192, got '{text}'"
        )
    return int(found[1]), int(found[2])


def config_with(path: str, settings: dict[str, Any] | None) -> Config:
    """The config with what ``--cfg-options`` override.

    Raises:
        ValueError: names the setting that has no place in the config, or no effect.
    """
    cfg = Config.fromfile(path)
    settings = settings or {}
    require_effect(cfg, settings, path)
    for key, value in settings.items():
        try:
            cfg.merge_from_dict({key: value})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f'--cfg-options {key}={value} does not fit {path}: {error.args[0]}'
            ) from error
    return cfg


def read_config(args: argparse.Namespace) -> Config:
    """The config with what ``--cfg-options`` and ``--work-dir`` override.

    Other options come after these, so that they see what was overridden.
    """
    cfg = config_with(args.config, args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if args.show or args.show_dir:
        _draw_predictions(cfg, args)
    return cfg


def _draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turns on MMPose's drawing while validating and testing."""
    drawing = cfg.get('default_hooks', {}).get('visualization')
    if drawing is None:
        raise ValueError(
            '--show and --show-dir need a `default_hooks.visualization` in the '
            "config: dict(type='PoseVisualizationHook')."
        )
    drawing.update(
        enable=True,
        show=args.show and not vars(args).get('badcase'),  # these only, then
        out_dir=args.show_dir,
        interval=args.interval,
        wait_time=args.wait_time,
    )


def draw_validation_in(cfg: Config, folder: str) -> None:
    """Lets the visualizer's backend put its pictures into ``folder``.

    While validating, MMPose's hook leaves that to the backend; the hook's
    ``out_dir`` is for testing.
    """
    for backend in cfg.get('visualizer', {}).get('vis_backends', []):
        if backend['type'] == 'LocalVisBackend':
            backend['img_save_dir'] = join('..', folder)  # relative to vis_data


@contextmanager
def user_errors() -> Iterator[None]:
    """Ends the program with the message alone where the user can mend it."""
    try:
        yield
    except (FileNotFoundError, ImportError, ValueError) as error:
        sys.exit(f'{Path(sys.argv[0]).name}: error: {error}')

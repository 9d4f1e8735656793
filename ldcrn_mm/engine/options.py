"""What the command lines of training and testing have in common."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import join
from pathlib import Path

from mmengine.config import Config, DictAction


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds MMPose's options for overriding, drawing and launching."""
    parser.add_argument(
        '--work-dir', help='where logs and results go (work_dirs/CONFIG)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to override, as in model.backbone.with_cp=True',
    )
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
    try:
        args = parser.parse_args()
    except ValueError:  # MMEngine splits at the sign without looking for it
        parser.error('--cfg-options takes KEY=VALUE, one or more')
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
    """Ends the program where ``path`` is neither a file nor an address."""
    if '://' not in path and not Path(path).expanduser().is_file():
        parser.error(f'checkpoint not found: {path}')


def require_suffix(
    parser: argparse.ArgumentParser, path: str | None, suffixes: Sequence[str]
) -> None:
    """Ends the program where ``path`` is given and ends otherwise."""
    if path and not path.endswith(tuple(suffixes)):
        parser.error(f'{path} must end in {" or ".join(suffixes)}')


def read_config(args: argparse.Namespace) -> Config:
    """The config with what ``--cfg-options`` and ``--work-dir`` override.

    Other options come after these, so that they see what was overridden.
    """
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
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

#!/usr/bin/env python
"""Draws a test's predictions beside the ground truth, and a training's curves.

python tools/test.py CONFIG CHECKPOINT --dump work_dirs/run/predictions.pkl
python tools/draw_results.py CONFIG work_dirs/run --dump work_dirs/run/predictions.pkl
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ldcrn_mm import report
from ldcrn_mm.training import options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the run')
    parser.add_argument('work_dir', help='folder of the training')
    parser.add_argument('--dump', help='what tools/test.py --dump wrote')
    parser.add_argument('--out-dir', help='folder for the pictures (WORK_DIR/pictures)')
    parser.add_argument(
        '--max-images', type=int, default=8, help='draw that many pictures'
    )
    parser.add_argument(
        '--kpt-thr', type=float, default=0.3, help='lowest score that is drawn'
    )
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'config file not found: {args.config}')
    if not Path(args.work_dir).is_dir():
        parser.error(f'folder not found: {args.work_dir}')
    if args.dump and not Path(args.dump).is_file():
        parser.error(f'file not found: {args.dump}')
    options.require_suffix(parser, args.dump, options.PREDICTION_FILES)
    if args.max_images < 1:
        parser.error(f'--max-images must be at least 1, not {args.max_images}')
    return args


def metrics_to_draw(cfg: Config) -> list[str]:
    """Those by which the training chose its best checkpoint."""
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    names = checkpoint.get('save_best') or []
    names = [names] if isinstance(names, str) else names
    return [name for name in names if name != 'auto']  # the first that is measured


def draw(args: argparse.Namespace) -> None:
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    out_dir = Path(args.out_dir or Path(args.work_dir) / 'pictures')
    curves = out_dir / 'curves.png'
    report.plot_curves(args.work_dir, curves, metrics_to_draw(cfg))
    print(curves)
    if args.dump:
        for file in report.draw_predictions(
            args.dump, out_dir, report.dataset_meta(cfg), args.max_images, args.kpt_thr
        ):
            print(file)


def main() -> None:
    args = parse_args()
    with options.user_errors():
        draw(args)


if __name__ == '__main__':
    main()

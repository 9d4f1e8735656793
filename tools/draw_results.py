#!/usr/bin/env python
"""Draws a test's predictions beside the ground truth, and a training's curves.

python tools/test.py CONFIG CHECKPOINT --dump work_dirs/run/predictions.pkl
python tools/draw_results.py CONFIG work_dirs/run --dump work_dirs/run/predictions.pkl
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from ldcrn_mm import report


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
    for path in (args.config, args.work_dir, args.dump):
        if path and not Path(path).exists():
            parser.error(f'not found: {path}')
    if args.max_images < 1:
        parser.error(f'--max-images must be at least 1, not {args.max_images}')
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    out_dir = Path(args.out_dir or Path(args.work_dir) / 'pictures')
    curves = out_dir / 'curves.png'
    report.plot_curves(args.work_dir, curves, cfg.default_hooks.checkpoint.save_best)
    print(curves)
    if args.dump:
        dataset = DATASETS.get(cfg.test_dataloader.dataset.type)
        meta = parse_pose_metainfo(dataset.METAINFO)
        for file in report.draw_predictions(
            args.dump, out_dir, meta, args.max_images, args.kpt_thr
        ):
            print(file)


if __name__ == '__main__':
    main()

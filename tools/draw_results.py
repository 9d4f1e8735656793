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
from ldcrn_mm.training.options import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', help='config file of the run')
    add('work_dir', type=Path, help='folder of the training')
    add('--dump', help='file that tools/test.py --dump wrote, a pickle: trust it')
    add('--out-dir', type=Path, help='folder for the pictures (WORK_DIR/pictures)')
    add('--max-images', type=int, default=8, help='number of pictures (%(default)s)')
    add('--kpt-thr', type=float, default=0.3, help='lowest score drawn (%(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out_dir = args.out_dir or args.work_dir / 'pictures'
    with user_errors():
        cfg = Config.fromfile(args.config)
        init_default_scope(cfg.get('default_scope', 'mmpose'))
        files = [out_dir / 'curves.png']
        report.plot_curves(args.work_dir, files[0], report.metrics_of(cfg))
        if args.dump:
            meta = report.dataset_meta(cfg)
            files += report.draw_predictions(
                args.dump, out_dir, meta, args.max_images, args.kpt_thr
            )
    print(*files, sep='\n')


if __name__ == '__main__':
    main()

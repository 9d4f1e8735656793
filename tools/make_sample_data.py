#!/usr/bin/env python
"""Makes sample data: people drawn by program, as COCO and MPII data sets.

    python tools/make_sample_data.py data/sample --num-train 800 --num-val 200

The folder is laid out as MMPose's configs expect. The same arguments give the
same bytes on every run, with any number of workers; a folder that already holds
what is asked for is left as it is.
"""

import argparse
import os
import sys

from mmengine.utils import ProgressBar

from ldcrn_mm.synthetic import make_sample_data
from ldcrn_mm.synthetic.folder import FORMATS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', help='folder to write: new, empty or of sample data')
    parser.add_argument('--format', choices=[*FORMATS, 'both'], default='both')
    parser.add_argument('--num-train', type=int, default=800, help='pictures')
    parser.add_argument('--num-val', type=int, default=200, help='pictures')
    parser.add_argument('--seed', type=int, default=0, help='decides every byte')
    parser.add_argument(
        '--simple',
        action='store_true',
        help='only what is easily learnt: one whole person to a picture, upright, '
        'towards the viewer, nothing before it',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=len(os.sched_getaffinity(0)),
        help='processes that draw (default: one per CPU)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace sample data of other arguments; nothing else is ever replaced',
    )
    args = parser.parse_args()
    args.parser = parser
    return args


def main() -> None:
    args = parse_args()
    bar = ProgressBar(args.num_train + args.num_val, start=False)
    drawn = 0

    def advance() -> None:
        nonlocal drawn
        if not drawn:
            bar.start()
        drawn += 1
        # In a log the bar is not drawn over: 20 states of it are enough.
        step = 1 if sys.stdout.isatty() else max(1, bar.task_num // 20)
        if drawn - bar.completed >= step or drawn == bar.task_num:
            bar.update(drawn - bar.completed)

    try:
        made = make_sample_data(
            args.out,
            FORMATS if args.format == 'both' else (args.format,),
            args.num_train,
            args.num_val,
            args.seed,
            args.workers,
            args.overwrite,
            advance,
            args.simple,
        )
    except (ValueError, OSError) as error:
        args.parser.error(str(error))
    if made:
        print(f'\nwrote {args.num_train} + {args.num_val} pictures to {args.out}')
    else:
        print(f'{args.out} already holds this sample data')


if __name__ == '__main__':
    main()

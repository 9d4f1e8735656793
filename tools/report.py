#!/usr/bin/env python
"""Writes one HTML page about a run.

    python tools/report.py work_dirs/ldcrn_coco

The page has the curves of the training, the errors of the best checkpoint on the
validation data, its worst and best people, training samples, and the config. It needs
no other file and no JavaScript. The config in WORK_DIR is Python and is executed, so
make reports of runs that you trust, from the folder in which they were trained.
"""

import argparse
from pathlib import Path

from ldcrn_mm.report import write_report
from ldcrn_mm.training.options import (
    config_file,
    require_checkpoint,
    require_place,
    require_suffix,
    user_errors,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('work_dir', type=Path, help='folder of the training')
    add('--out', help='file to write (WORK_DIR/report.html)')
    config = 'config, if not the one that was saved in WORK_DIR'
    add('--config', type=config_file, help=config)
    add('--checkpoint', help='checkpoint, if not the best in WORK_DIR')
    add('--num', type=int, default=8, help='pictures of each kind (%(default)s)')
    args = parser.parse_args()
    require_suffix(parser, args.out, ('.html',))
    if args.out:
        require_place(parser, args.out)
    if args.checkpoint:
        require_checkpoint(parser, args.checkpoint)
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        path, missing = write_report(**vars(args))
    print(*missing, f'wrote {path}', sep='\n')


if __name__ == '__main__':
    main()

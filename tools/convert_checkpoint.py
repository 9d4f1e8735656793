#!/usr/bin/env python
"""Converts a checkpoint of the original LDCRN code to MMPose's form.

    python tools/convert_checkpoint.py model_best.pth ldcrn_coco.pth
    python tools/test.py configs/ldcrn_coco.py ldcrn_coco.pth

Reads bare state dicts (``model_best.pth``) and training checkpoints
(``checkpoint.pth``), with or without ``module.`` before the names, for any number
of joints. ``--reverse`` writes the original's form, a bare state dict.
"""

import argparse
from pathlib import Path

from ldcrn_mm import checkpoint
from ldcrn_mm.training.options import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, metavar='IN', help='file to read')
    parser.add_argument('target', type=Path, metavar='OUT', help='file to write')
    parser.add_argument(
        '--which',
        choices=['best', 'last'],
        default='best',
        help='weights of a training checkpoint to take: its best_state_dict or its '
        "state_dict (HRNet's code, which the original's follows, writes the last "
        'weights under both names, and the best to model_best.pth)',
    )
    parser.add_argument(
        '--reverse', action='store_true', help="from MMPose's form to the original's"
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace OUT where it exists'
    )
    args = parser.parse_args()
    if not args.source.is_file():
        parser.error(f'file not found: {args.source}')
    if args.target.is_dir():
        parser.error(f'OUT is a folder, name a file in it: {args.target}')
    if args.target.exists() and not args.overwrite:
        parser.error(f'{args.target} exists. Replace it with --overwrite')
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        if args.reverse:
            weights = checkpoint.read_mmpose(args.source)
            checkpoint.write_original(weights, args.target)
        else:
            weights = checkpoint.read_original(args.source, args.which)
            meta = checkpoint.write_mmpose(weights, args.target)
    print(f'read {args.source}: {weights.describe()}')
    if args.reverse:
        print(f"wrote {args.target}: a bare state dict with the original's names")
    elif 'dataset_meta' in meta:
        dataset = meta['dataset_meta']['dataset_name']
        print(f'wrote {args.target}: for configs/ldcrn_{dataset}.py')
    else:
        print(
            f"wrote {args.target}: with neither COCO's 17 nor MPII's 16 joints it "
            'needs a config of its own, with out_channels and metainfo of its data'
        )


if __name__ == '__main__':
    main()

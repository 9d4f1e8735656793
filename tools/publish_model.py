#!/usr/bin/env python
r"""Strips a training checkpoint down to its inference weights.

    python tools/publish_model.py work_dirs/ldcrn_coco/epoch_400.pth published/ \
        --config configs/ldcrn_coco.py --log work_dirs/ldcrn_coco

Writes NAME-HASH.pth, whose hash torch.hub and mim check after a download. Bare PyTorch
loads it with weights_only=True. Prints the start of a model card, and an entry for the
metafile, which makes the file known as ldcrn_mm://NAME.
"""

import argparse
from pathlib import Path

from ldcrn_mm.checkpoint.publish import publish
from ldcrn_mm.report import read_log
from ldcrn_mm.training.options import config_file, require_checkpoint, user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='checkpoint of the training')
    parser.add_argument(
        'target',
        type=Path,
        metavar='OUT',
        help='folder, or NAME.pth, to which the hash is added',
    )
    parser.add_argument(
        '--config', type=config_file, help='check that the weights fit this model'
    )
    parser.add_argument(
        '--log', help="the training's work dir or scalars.json, for the metrics"
    )
    parser.add_argument(
        '--dtype',
        choices=['fp32', 'fp16'],
        default='fp32',
        help='precision of the file (%(default)s). fp16 halves it, any model loads it',
    )
    parser.add_argument(
        '--weights',
        choices=['model', 'ema'],
        help='of a training with EMAHook: the model, or (by default) the averages',
    )
    args = parser.parse_args()
    require_checkpoint(parser, args.source)
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        published = publish(
            args.source,
            args.target,
            config=args.config,
            validations=read_log(args.log).validations if args.log else None,
            dtype=args.dtype,
            weights=args.weights,
        )
    print(f'wrote {published.path}')
    print(f'\nFor the model card:\n\n{published.card}')
    print('For the metafile, with its web address or the file in ldcrn_mm/weights/:\n')
    print(published.metafile)


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Makes sample data: pictures of puppets, as COCO and MPII data sets.

    python tools/make_sample_data.py data/sample --num-train 800 --num-val 200

Writes FOLDER/coco and FOLDER/mpii, laid out as MMPose's configs expect. The same
arguments give the same bytes.
"""

import argparse

from ldcrn_mm.sample_data import FORMATS, make_sample_data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', metavar='FOLDER', help='where to write')
    parser.add_argument('--format', choices=[*FORMATS, 'both'], default='both')
    parser.add_argument('--num-train', type=int, default=800, help='pictures')
    parser.add_argument('--num-val', type=int, default=200, help='pictures')
    parser.add_argument('--seed', type=int, default=0, help='of all random numbers')
    args = parser.parse_args()
    formats = FORMATS if args.format == 'both' else (args.format,)
    try:
        make_sample_data(args.folder, formats, args.num_train, args.num_val, args.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f'wrote {args.num_train} + {args.num_val} pictures to {args.folder}')


if __name__ == '__main__':
    main()

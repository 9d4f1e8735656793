#!/usr/bin/env python
"""Brings COCO or MPII into the layout that the recipes read.

    python tools/prepare_data.py coco data/coco
    python tools/prepare_data.py mpii data/mpii

Data in the layout of the original LDCRN get symlinks. If the folder has no other
annotations of MPII than its own file, mpii_human_pose_v1_u12_1.mat, the tool converts
it. If something is missing, it says where to get it, and the exit status is 1.
"""

import argparse
from glob import escape, iglob
from pathlib import Path

from ldcrn_mm import paper_data
from ldcrn_mm.training.options import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', choices=[*paper_data.NEEDS])
    parser.add_argument('folder', type=Path, help='folder of the data set')
    parser.add_argument(
        '--val-images',
        type=Path,
        metavar='FILE',
        help='MPII: names of the images to validate on, one a line, or a JSON '
        "such as HRNet's valid.json (default: every ninth video)",
    )
    args = parser.parse_args()
    if args.val_images and not args.val_images.is_file():
        parser.error(f'file not found: {args.val_images}')
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        made, missing = paper_data.link_layout(args.data, args.folder)
        # Unlike rglob, glob follows links to folders
        pattern = Path(escape(str(args.folder)), '**', 'mpii_human_pose_v1_u12*.mat')
        mat_file = next(iglob(str(pattern), recursive=True), None)
        if mat_file and paper_data.MPII_JSON in missing.values():
            names = paper_data.names_in(args.val_images) if args.val_images else ()
            annotations = args.folder / 'annotations'
            annotations.mkdir(exist_ok=True)
            counts = paper_data.convert_mpii(mat_file, annotations, names)
            made += [f'mpii_{part}.json: {n} people' for part, n in counts.items()]
            missing = paper_data.link_layout(args.data, args.folder)[1]
    print(*made, sep='\n')
    for name, source in missing.items():
        print(f'missing: {args.folder / name}\n    {source}')
    if missing:
        raise SystemExit(1)
    print(f'{args.folder} is complete.')


if __name__ == '__main__':
    main()

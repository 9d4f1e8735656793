#!/usr/bin/env python
"""Checks a config and its data, and counts what the annotation files hold.

    python tools/check_data.py configs/ldcrn_coco.py --show people.jpg

The exit status is 1 if something is wrong. tools/train.py and tools/test.py make the
same check before they start.
"""

import argparse
import sys

import cv2
import numpy as np
from mmengine.config import Config

from ldcrn_mm.report import training_dataset
from ldcrn_mm.training import check, data_files, options

PEOPLE, COLUMNS = 20, 5


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config', type=options.config_file, help='config file, or name of a model'
    )
    parser.add_argument(
        '--show',
        metavar='FILE',
        help='draw twenty people of the training data, after augmentation, with their '
        'annotated keypoints into this .jpg or .png',
    )
    options.add_settings(parser, 'train_dataloader.dataset.data_root=FOLDER')
    args = parser.parse_args()
    options.require_suffix(parser, args.show, ('.jpg', '.png'))
    return args


def draw_people(cfg: Config, path: str) -> None:
    """Draws the two joints of a pair, such as the wrists, in two colours."""
    dataset = training_dataset(cfg)
    places = np.linspace(0, len(dataset) - 1, PEOPLE, dtype=int)
    flip = dataset.metainfo['flip_indices']
    tiles = [draw(dataset[int(place)], flip) for place in places]
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, PEOPLE, COLUMNS)]
    if not cv2.imwrite(path, np.vstack(rows)):
        sys.exit(f'cannot write {path}')


def draw(person: dict, flip_indices: list[int]) -> np.ndarray:
    image = np.ascontiguousarray(person['inputs'].numpy().transpose(1, 2, 0))
    joints = person['data_samples'].gt_instances
    visible = joints.keypoints_visible[0]
    for k, (point, v) in enumerate(zip(joints.transformed_keypoints[0], visible)):
        if np.all(v > 0):
            colour = (0, 255, 0) if flip_indices[k] > k else (0, 0, 255)
            cv2.circle(image, tuple(map(int, point)), 3, colour, -1)
    return image


def main() -> None:
    args = parse_args()
    with options.user_errors():
        cfg = options.config_with(args.config, args.cfg_options)
        splits = ['train', 'val', 'test']
        data_files.check_data_files(cfg, splits)
        counts, found = check.survey(cfg, splits)
    for where, numbers in counts.items():
        print(f'{where}: {", ".join(f"{n} {what}" for what, n in numbers.items())}')
    problems = check.config_problems(cfg, splits) + found
    for problem in problems:
        print(f'PROBLEM {problem}')
    if args.show and not problems:
        draw_people(cfg, args.show)
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()

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
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

import ldcrn_mm  # noqa: F401  (registers the modules)
from ldcrn_mm.training import check, data_files, options

PEOPLE, COLUMNS = 20, 5


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--show',
        metavar='FILE',
        help='draw twenty people of the training with their annotated keypoints, as '
        'augmentation leaves them, into this .jpg or .png',
    )
    options.add_settings(parser, 'train_dataloader.dataset.data_root=FOLDER')
    args = parser.parse_args()
    options.require_suffix(parser, args.show, ('.jpg', '.png'))
    return args


def draw_people(cfg: Config, path: str) -> None:
    """Draws the two joints of a pair, such as the wrists, in two colours."""
    init_default_scope(cfg.get('default_scope') or 'mmpose')
    _, part = next(data_files.datasets(cfg, 'train'))
    dataset = DATASETS.build(part)
    places = np.linspace(0, len(dataset) - 1, PEOPLE, dtype=int)
    tiles = [draw(dataset, int(place)) for place in places]
    height, width = tiles[0].shape[:2]
    tiles = [cv2.resize(tile, (width, height)) for tile in tiles]
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, PEOPLE, COLUMNS)]
    if not cv2.imwrite(path, np.vstack(rows)):
        sys.exit(f'cannot write {path}')


def draw(dataset: BaseDataset, i: int) -> np.ndarray:
    person = dict(dataset.get_data_info(i), dataset=dataset)
    for step in dataset.pipeline.transforms[:-1]:  # the last one packs
        person = step(person)
    image = np.ascontiguousarray(person['img'])
    points = person.get('transformed_keypoints', person['keypoints'])[0]
    for k, (point, v) in enumerate(zip(points, person['keypoints_visible'][0])):
        if np.all(v > 0):
            first = person['flip_indices'][k] > k
            centre = tuple(map(int, point))
            cv2.circle(image, centre, 3, (0, 255, 0) if first else (0, 0, 255), -1)
    return image


def main() -> None:
    args = parse_args()
    with options.user_errors():
        cfg = options.config_with(args.config, args.cfg_options)
        splits = ['train', 'val', 'test']
        data_files.check_data_files(cfg, splits)
        counts, found = check.survey(cfg, splits, details=True)
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

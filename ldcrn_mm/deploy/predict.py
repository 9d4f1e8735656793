#!/usr/bin/env python
"""Finds the keypoints of people with an exported network.

    python predict.py photo.jpg --boxes 50,20,210,400 300,80,420,390 --flip-test

It prints a list of people as JSON. It needs onnxruntime, numpy and opencv-python only:
copy this file together with the network. From Python: ``Predictor()(image, boxes)``.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

# Written by the exporter.
SETTINGS = {
    'model': 'network.onnx',  # beside this file
    'keypoints': [],  # names
    'flip_indices': [],  # the keypoint on the other side
    'shift_heatmap': False,  # of the flipped image, by one pixel
    'blur': None,  # size of the Gaussian before the refinement by DARK
    'padding': 1.25,  # of the box
    'mean': [123.675, 116.28, 103.53],
    'std': [58.395, 57.12, 57.375],
    'rgb': True,
}


class Predictor:
    """The network with the cropping and the decoding of its training.

    Args:
        model: path of the network. Defaults to the one beside this file.
        flip_test: average the heatmaps with those of the flipped image.
    """

    def __init__(self, model: str | None = None, flip_test: bool = False) -> None:
        model = model or Path(__file__).with_name(SETTINGS['model'])
        self.session = onnxruntime.InferenceSession(
            str(model), providers=['CPUExecutionProvider']
        )
        (images,) = self.session.get_inputs()
        self.name, (*_, height, width) = images.name, images.shape
        self.size = np.array([width, height])
        self.decoded = len(self.session.get_outputs()) > 1
        self.flip_test = flip_test
        if flip_test and self.decoded:
            raise ValueError('the flip test needs a network without decoding in it')

    def __call__(
        self, image: np.ndarray, boxes: list | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (N, K, 2) in pixels of the picture, and scores (N, K).

        Args:
            image: (H, W, 3), uint8, BGR.
            boxes: corners x1, y1, x2, y2 of people, (N, 4). Defaults to the picture.

        Raises:
            ValueError: if the image or a box is something else.
        """
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ValueError(
                'expected a picture (H, W, 3) of uint8, got '
                f'{image.shape} of {image.dtype}'
            )
        size = np.float32(image.shape[1::-1])
        if boxes is None:
            boxes = [[0, 0, *size]]
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        low, high = boxes[:, :2], boxes[:, 2:]
        sides = high - low
        inside = (sides > 0) & (sides < 1e6) & (low < size) & (high > 0)
        in_pixels = (sides > 1) | (high > 2) | (size == 1)
        for box in boxes[~(inside.all(1) & in_pixels.any(1))]:
            raise ValueError(
                'expected a box x1, y1, x2, y2 in pixels of the picture of '
                f'{image.shape[1]}x{image.shape[0]}, got {box.tolist()}'
            )
        if not len(boxes):
            nobody = np.zeros((0, len(SETTINGS['keypoints']), 2), np.float32)
            return nobody, nobody[..., 0]
        centers, scales = (high + low) / 2, sides * np.float32(SETTINGS['padding'])
        aspect = self.size[0] / self.size[1]
        wide = scales[:, :1] > scales[:, 1:] * aspect
        scales = np.where(
            wide,
            np.hstack([scales[:, :1], scales[:, :1] / aspect]),
            np.hstack([scales[:, 1:] * aspect, scales[:, 1:]]),
        )
        images = np.stack([self._crop(image, *one) for one in zip(centers, scales)])
        keypoints, scores = self._find(np.ascontiguousarray(images, np.float32))
        corners = centers - scales / 2
        return keypoints / self.size * scales[:, None] + corners[:, None], scores

    def _crop(
        self, image: np.ndarray, center: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """(3, H, W), normalised."""
        half = np.float32(self.size / 2)
        source = np.stack([center, center - [scale[0] / 2, 0]])
        target = np.stack([half, half * [0, 1]])
        source, target = (
            np.float32([a, b, b + (a - b)[::-1] * [-1, 1]]) for a, b in (source, target)
        )
        matrix = cv2.getAffineTransform(source, target)
        crop = cv2.warpAffine(image, matrix, self.size.tolist(), flags=cv2.INTER_LINEAR)
        crop = crop[..., ::-1] if SETTINGS['rgb'] else crop
        crop = (crop - np.float32(SETTINGS['mean'])) / np.float32(SETTINGS['std'])
        return crop.transpose(2, 0, 1)

    def _find(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints in pixels of the crop, and scores."""
        outputs = self.session.run(None, {self.name: images})
        if self.decoded:
            return outputs
        (heatmaps,) = outputs
        if self.flip_test:
            flipped = np.ascontiguousarray(images[..., ::-1])
            (other,) = self.session.run(None, {self.name: flipped})
            other = other[:, SETTINGS['flip_indices'], :, ::-1].copy()
            if SETTINGS['shift_heatmap']:
                other[..., 1:] = other[..., :-1].copy()
            heatmaps = (heatmaps + other) * np.float32(0.5)
        height, width = heatmaps.shape[2:]
        scores = heatmaps.max((2, 3))
        best = heatmaps.reshape(*scores.shape, -1).argmax(2)
        keypoints = np.stack([best % width, best // width], 2).astype(np.float32)
        refine = summit if SETTINGS['blur'] else quarter
        for place in map(tuple, np.argwhere(scores > 0)):
            keypoints[place] += refine(heatmaps[place], *keypoints[place].astype(int))
        keypoints[scores <= 0] = -1
        return keypoints * (self.size / [width, height]), scores


def quarter(heatmap: np.ndarray, x: int, y: int) -> np.ndarray:
    """A quarter pixel to the higher side."""
    (height, width), move = heatmap.shape, np.zeros(2, np.float32)
    if 1 < x < width - 1 and y > 0:
        move[0] = np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]) / 4
    if 1 < y < height - 1 and x > 0:
        move[1] = np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]) / 4
    return move


def summit(heatmap: np.ndarray, x: int, y: int) -> np.ndarray:
    """To the summit of a Gaussian around the maximum (DARK, CVPR 2020)."""
    height, width = heatmap.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.zeros(2, np.float32)
    size = SETTINGS['blur']
    blurred = cv2.GaussianBlur(heatmap, (size, size), 0, borderType=cv2.BORDER_CONSTANT)
    blurred *= heatmap.max() / blurred.max()
    part = np.log(np.maximum(blurred, 1e-10))[y - 2 : y + 3, x - 2 : x + 3]
    slope = np.array([part[2, 3] - part[2, 1], part[3, 2] - part[1, 2]]) / 2
    dxx = part[2, 4] - 2 * part[2, 2] + part[2, 0]
    dyy = part[4, 2] - 2 * part[2, 2] + part[0, 2]
    dxy = part[3, 3] - part[1, 3] - part[3, 1] + part[1, 1]
    curvature = np.array([[dxx, dxy], [dxy, dyy]]) / 4
    if not np.linalg.det(curvature):
        return np.zeros(2, np.float32)
    return -np.linalg.solve(curvature, slope)


def box(text: str) -> list[float]:
    """Corners of a box in pixels."""
    x1, y1, x2, y2 = map(float, text.split(','))
    return [x1, y1, x2, y2]


def main() -> None:
    """Prints the keypoints of the people in a picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('picture')
    parser.add_argument('--model', help='the network (the one beside this file)')
    corners = dict(nargs='+', type=box, metavar='X1,Y1,X2,Y2')
    parser.add_argument('--boxes', **corners, help='of people, in pixels')
    parser.add_argument('--flip-test', action='store_true')
    # The space keeps a box that begins with a minus from being taken for an option.
    words = [f' {w}' if re.match(r'-[\d.]+,', w) else w for w in sys.argv[1:]]
    args = parser.parse_args(words)
    image = cv2.imread(args.picture)
    if image is None:
        sys.exit(f'OpenCV cannot read the picture {args.picture}')
    try:
        predictor = Predictor(args.model, args.flip_test)
    except Exception as error:  # those of onnxruntime have no common base
        sys.exit(f'The network cannot be used: {error}')
    try:
        found = predictor(image, args.boxes)
    except ValueError as error:
        sys.exit(f'The picture {args.picture}: {error}')
    names = SETTINGS['keypoints']
    people = [
        {n: [*xy, score] for n, xy, score in zip(names, keypoints.tolist(), scores)}
        for keypoints, scores in zip(found[0], found[1].tolist())
    ]
    print(json.dumps(people, indent=1))


if __name__ == '__main__':
    main()

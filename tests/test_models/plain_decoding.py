"""Flip test and decoding in numpy, joint by joint: the tests' oracle."""

import numpy as np


def flip_average(heatmaps, of_flipped_images, flip_indices):
    """Averages with what was found on the mirrored image, mirrored back.

    The stride-4 grid is not symmetric, so the mirrored maps move right by one
    pixel first; their first column stays.

    Args:
        heatmaps, of_flipped_images: (N, K, H, W).
        flip_indices: for every joint that of the other side.
    """
    averaged = np.empty_like(heatmaps)
    for n in range(len(heatmaps)):
        for k, other in enumerate(flip_indices):
            mirrored = of_flipped_images[n, other, :, ::-1]
            shifted = mirrored.copy()
            shifted[:, 1:] = mirrored[:, :-1]
            averaged[n, k] = (heatmaps[n, k] + shifted) / 2
    return averaged


def decode(heatmaps, factor=4):
    """Maxima, moved a quarter pixel towards the higher neighbour on each axis.

    Args:
        heatmaps: (K, H, W).
        factor: input pixels a heatmap pixel.

    Returns:
        (K, 2) positions in input pixels, (K,) scores, and (K,) whether the
        maximum is positive and two pixels from every border, so that the
        conventions about borders do not matter.
    """
    points, scores, inside = [], [], []
    for heatmap in heatmaps:
        height, width = heatmap.shape
        y, x = divmod(int(heatmap.argmax()), width)
        scores.append(heatmap[y, x])
        inside.append(heatmap[y, x] > 0 and 2 <= x < width - 2 and 2 <= y < height - 2)
        dx = dy = 0
        if inside[-1]:
            dx = np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]) / 4
            dy = np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]) / 4
        points.append(((x + dx) * factor, (y + dy) * factor))
    return np.array(points), np.array(scores), np.array(inside)


def to_image(points, input_size, center, scale):
    """From input pixels to those of the picture that the box was cut from.

    Args:
        points: (K, 2).
        input_size: (width, height) of the input.
        center, scale: (2,), centre and size of the box in the picture.
    """
    width, height = input_size
    x = (points[:, 0] / width - 0.5) * scale[0] + center[0]
    y = (points[:, 1] / height - 0.5) * scale[1] + center[1]
    return np.stack([x, y], 1)

"""From box to input: the crop undoes the decoding, boxes are nearly the same."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmpose.registry import DATASETS, TRANSFORMS


def test_crop_is_the_inverse_of_the_decoding(cfg, numbers, dataset, agreement):
    """Joints of the original's image, through our crop, lie where its maxima were."""
    expected = numbers(f'codec_{dataset}')
    step = next(t for t in cfg.val_pipeline if t.type == 'TopdownAffine')
    crop = TRANSFORMS.build(step)
    heatmaps = expected['heatmaps']
    people, joints, rows, columns = heatmaps.shape
    best = heatmaps.reshape(people, joints, -1).argmax(axis=-1)
    cells = np.stack(np.unravel_index(best, (rows, columns))[::-1], axis=-1)
    stride = cfg.codec.input_size[0] // columns
    largest = 0.0
    for i in range(people):
        result = crop(
            dict(
                img=np.zeros((4, 4, 3), np.uint8),
                bbox_center=expected['center'][i : i + 1],
                bbox_scale=expected['scale_px'][i : i + 1],
                keypoints=expected['keypoints'][i : i + 1],
            )
        )
        off = result['transformed_keypoints'][0] / stride - cells[i]
        refinement = np.where(np.abs(off) > 0.125, np.sign(off) * 0.25, 0)
        positive = heatmaps[i].max(axis=(1, 2)) > 0
        largest = max(largest, np.abs(off - refinement)[positive].max())
    agreement('crop', 'keypoints into the input', largest, 1e-4, 'cells')


def original_coco_box(bbox: list[float], width: int, height: int) -> np.ndarray:
    """Corners of a COCO person's box in the original, (2, 2).

    The last pixel counts as inside, so the box is narrower and lower by one.
    """
    x, y, w, h = bbox
    low = np.maximum(0, [x, y])
    size = np.maximum(0, [w - 1, h - 1])
    return np.stack([low, np.minimum([width - 1, height - 1], low + size)])


def original_crop(corners: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and padded size of the crop around a box."""
    w, h = corners[1] - corners[0]
    w, h = max(w, h * aspect), max(h, w / aspect)
    return corners.mean(axis=0), np.array([w, h]) * 1.25


def crops(cfg: Config, config: ConfigDict) -> Iterator[dict]:
    """The people of a data set, after the config's steps from box to input."""
    people = DATASETS.build(dict(config, pipeline=[]))
    assert len(people) > 0
    names = ('GetBBoxCenterScale', 'TopdownAffine')
    steps = Compose([t for t in cfg.val_pipeline if t.type in names])
    for person in people:
        yield steps(dict(person, img=np.zeros((4, 4, 3), np.uint8)))


def cells(points: np.ndarray, center: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Image pixels to heatmap cells of a 64x48 heatmap."""
    return (points - center + size / 2) / size * [48, 64]


@pytest.mark.parametrize('dataset', ['coco'])
def test_boxes_of_coco_people_are_at_most_a_pixel_larger(cfg, sample_data, agreement):
    config = cfg.train_dataloader.dataset
    config.data_root = str(sample_data / 'coco')
    annotations = json.loads((sample_data / 'coco' / config.ann_file).read_text())
    images = {image['id']: image for image in annotations['images']}
    boxes = {a['id']: a['bbox'] for a in annotations['annotations']}
    off_center, off_size, off_cells = [], [], []
    for person in crops(cfg, config):
        image = images[person['img_id']]
        corners = original_coco_box(
            boxes[person['id']], image['width'], image['height']
        )
        center, size = original_crop(corners, aspect=3 / 4)
        off_center.append(np.abs(person['input_center'] - center))
        # 1.25 for the padding; 4/3 where the height decides
        off_size.append(np.abs(person['input_scale'] - size) / 1.25 / [1, 4 / 3])
        visible = person['keypoints'][person['keypoints_visible'] > 0]
        ours = cells(visible, person['input_center'], person['input_scale'])
        off_cells.append(np.abs(ours - cells(visible, center, size)))
    off = np.concatenate(off_cells)
    for what, values, bound, unit in (
        ('box centre, COCO people', off_center, 0.5 + 1e-4, 'image pixels (known)'),
        ('box size, COCO people', off_size, 1 + 1e-4, 'image pixels (known)'),
    ):
        agreement('crop', what, np.max(values), bound, unit)
    agreement(
        'crop', 'COCO people in the crop, mean', off.mean(), 0.25, 'cells (known)'
    )


@pytest.mark.parametrize('dataset', ['mpii'])
def test_boxes_of_mpii_people(cfg, sample_data, agreement):
    config = cfg.train_dataloader.dataset
    config.data_root = str(sample_data / 'mpii')
    config.ann_file = 'mpii_sample.json'
    annotations = json.loads((sample_data / 'mpii' / config.ann_file).read_text())
    largest = 0.0
    for person, annotation in zip(crops(cfg, config), annotations, strict=True):
        scale = annotation['scale']
        x, y = annotation['center']
        center = np.array([x, y + 15 * scale]) - 1
        size = np.full(2, 200 * scale * 1.25)
        off = [person['input_center'] - center, person['input_scale'] - size]
        largest = max(largest, np.abs(off).max())
    agreement('crop', 'boxes of MPII people', largest, 1e-3, 'image pixels')

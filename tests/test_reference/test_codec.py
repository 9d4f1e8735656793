"""Targets, decoding and flip test, through the objects that our configs build."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

Numbers = dict[str, np.ndarray]


@pytest.fixture
def expected(dataset: str, numbers: Callable[[str], Numbers]) -> Numbers:
    return numbers(f'codec_{dataset}')


@pytest.fixture
def flip_indices(cfg: Config) -> list[int]:
    data = DATASETS.get(cfg.val_dataloader.dataset.type)
    return parse_pose_metainfo(data.METAINFO)['flip_indices']


def test_targets(cfg, expected, agreement):
    step = next(t for t in cfg.train_pipeline if t.type == 'GenerateTarget')
    generate = TRANSFORMS.build(step)
    people = [
        generate(
            dict(
                transformed_keypoints=joints[None].astype(np.float32),
                keypoints_visible=visible[None].astype(np.float32),
            )
        )
        for joints, visible in zip(expected['joints'], expected['visible'])
    ]
    for key, name in (('heatmaps', 'target'), ('keypoint_weights', 'target_weight')):
        ours = np.stack([person[key] for person in people])
        error = np.abs(ours.reshape(expected[name].shape) - expected[name]).max()
        agreement('targets', name.replace('_', ' '), error, 0)
    outside = (expected['visible'] > 0) & (expected['target_weight'] == 0)
    assert outside.any(), 'no joint tests what happens outside of the picture'


class Answers(nn.Module):
    """Stands in for a backbone: returns what it was given, call by call."""

    def __init__(self, *maps: np.ndarray) -> None:
        super().__init__()
        self.maps = [torch.from_numpy(m) for m in maps]
        self.images: list[Tensor] = []

    def forward(self, image: Tensor) -> tuple[Tensor]:
        self.images.append(image)
        heatmaps = self.maps[len(self.images) - 1]
        return (nn.functional.pad(heatmaps, (0, 0, 0, 0, 0, 32 - heatmaps.shape[1])),)


def estimator(cfg: Config, *maps: np.ndarray) -> TopdownPoseEstimator:
    """The config's estimator, whose head passes on heatmaps given as features."""
    model = MODELS.build(cfg.model)
    model.backbone, model.neck = Answers(*maps), nn.Identity()
    nn.init.dirac_(model.head.final_layer.weight)
    nn.init.zeros_(model.head.final_layer.bias)
    return model.eval()


def predict(
    model: TopdownPoseEstimator, cfg: Config, expected: Numbers, flip_indices: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) in image pixels and scores (N, K)."""
    samples = []
    for center, scale in zip(expected['center'], expected['scale_px']):
        meta = dict(input_center=center, input_scale=scale, flip_indices=flip_indices)
        sample = PoseDataSample(metainfo=dict(meta, input_size=cfg.codec.input_size))
        sample.gt_instances = InstanceData(
            bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1)
        )
        samples.append(sample)
    images = torch.arange(len(samples) * 12.0).reshape(-1, 3, 2, 2)
    with torch.no_grad():
        results = [s.pred_instances for s in model.predict(images, samples)]
    return (
        np.concatenate([r.keypoints for r in results]),
        np.concatenate([r.keypoint_scores for r in results]),
    )


def check_keypoints(
    keypoints: np.ndarray,
    expected_keypoints: np.ndarray,
    heatmaps: np.ndarray,
    cell: np.ndarray,
    what: str,
    agreement: Callable,
) -> None:
    """Equal, but where the original refines nothing and MMPose one axis.

    The original leaves a joint where it is when it is in the first two or the last
    row or column; MMPose then still refines along the border. Where no value is
    positive, the original says cell 0 and MMPose cell -1, both with a score of
    at most 0.
    """
    people, joints, rows, columns = heatmaps.shape
    best = heatmaps.reshape(people, joints, -1)
    empty = best.max(axis=-1) <= 0
    y, x = np.unravel_index(best.argmax(axis=-1), (rows, columns))
    at_border = np.stack([(x < 2) | (x > columns - 2), (y < 2) | (y > rows - 2)], -1)
    off = np.abs(keypoints - expected_keypoints) / cell
    inside = ~at_border.any(axis=-1) & ~empty
    assert inside.sum() > 0
    along = at_border.any(axis=-1, keepdims=True) & ~at_border & ~empty[..., None]
    across = at_border & ~empty[..., None]
    assert along.any()
    assert empty.any()
    for where, mask, bound, unit in (
        ('', inside, 1e-4, 'cells'),
        (' across the border', across, 1e-4, 'cells'),
        (' along the border', along, 0.25 + 1e-4, 'cells (known)'),
        (' of empty heatmaps', empty, 1 + 1e-4, 'cells (known)'),
    ):
        agreement('decoding', f'{what}{where}', off[mask].max(), bound, unit)


def test_decoding(cfg, expected, flip_indices, agreement):
    cfg.model.test_cfg.flip_test = False
    model = estimator(cfg, expected['heatmaps'])
    keypoints, scores = predict(model, cfg, expected, flip_indices)
    error = np.abs(scores - expected['scores']).max()
    agreement('decoding', 'scores', error, 0)
    cell = (expected['scale_px'] / cfg.codec.heatmap_size)[:, None]
    check_keypoints(
        keypoints,
        expected['keypoints'],
        expected['heatmaps'],
        cell,
        'keypoints',
        agreement,
    )


def test_flip_test(cfg, expected, flip_indices, agreement):
    model = estimator(cfg, expected['heatmaps'], expected['heatmaps_of_flipped'])
    keypoints, scores = predict(model, cfg, expected, flip_indices)
    image, mirrored = model.backbone.images
    assert torch.equal(mirrored, image.flip(-1))
    error = np.abs(scores - expected['scores_flip_test']).max()
    agreement('decoding', 'flip test scores', error, 0)
    cell = (expected['scale_px'] / cfg.codec.heatmap_size)[:, None]
    check_keypoints(
        keypoints,
        expected['keypoints_flip_test'],
        averaged(expected),
        cell,
        'flip test',
        agreement,
    )


def averaged(expected: Numbers) -> np.ndarray:
    """Flips back, swaps, shifts and averages: where the maxima lie."""
    mirrored = expected['heatmaps_of_flipped'][..., ::-1].copy()
    for left, right in expected['flip_pairs']:
        mirrored[:, [left, right]] = mirrored[:, [right, left]]
    mirrored[..., 1:] = mirrored[..., :-1].copy()
    return (expected['heatmaps'] + mirrored) / 2

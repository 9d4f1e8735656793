"""Images as the network sees them: through the config's own pipelines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import DATASETS
from torch import Tensor

from ..inference.inputs import Picture, open_inputs, read_picture


def images_of_dataset(
    cfg: Config, model: BasePoseEstimator, split: str, count: int
) -> Tensor:
    """People of a data set, evenly spread over it, not augmented.

    Args:
        cfg: config with the data sets; the pipeline is that of validation.
        model: whose preprocessor normalises.
        split: ``'train'``, ``'val'`` or ``'test'``.
        count: how many people, at most.

    Returns:
        (N, 3, H, W), normalised.

    Raises:
        ValueError: where the data set is empty.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    dataset_cfg = _innermost(cfg[f'{split}_dataloader'].dataset).copy()
    dataset_cfg.pipeline = _validation_pipeline(cfg)
    dataset = DATASETS.build(dataset_cfg)
    if not len(dataset):
        raise ValueError(f'The data set of {split}_dataloader has no people in it.')
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round()
    return _normalised(model, [dataset[int(i)] for i in chosen])


def images_of_folder(
    cfg: Config, model: BasePoseEstimator, folder: str | Path, count: int
) -> Tensor:
    """Pictures of a folder, each taken for one person as a whole.

    Args:
        cfg: config with the pipeline of validation.
        model: whose preprocessor normalises.
        folder: with pictures in it.
        count: how many pictures, at most.

    Returns:
        (N, 3, H, W), normalised.

    Raises:
        FileNotFoundError: where the folder has no pictures.
        ValueError: where one cannot be read.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    pictures = open_inputs(Path(folder))
    pipeline = Compose(_validation_pipeline(cfg))
    return _normalised(model, [pipeline(_whole(one)) for one in pictures[:count]])


def random_images(size: tuple[int, int], count: int, seed: int = 0) -> Tensor:
    """Noise with the mean and variance of normalised pictures, (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size[1], size[0], generator=generator)


def fit_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images stretched to (width, height), where they are of another size."""
    if tuple(images.shape[:1:-1]) == tuple(size):
        return images
    return F.interpolate(images, size=size[::-1], mode='bilinear', antialias=True)


def _validation_pipeline(cfg: Config) -> list[dict]:
    return _innermost(cfg.val_dataloader.dataset).pipeline


def _innermost(dataset: ConfigDict) -> ConfigDict:
    """The data set inside of RepeatDataset and the like."""
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def _whole(picture: Picture) -> dict:
    """A picture as the pipelines take it, its box all of it."""
    image = read_picture(picture)
    height, width = image.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    return dict(img=image, bbox=box, bbox_score=np.ones(1, np.float32))


def _normalised(model: BasePoseEstimator, samples: Sequence[dict]) -> Tensor:
    return model.data_preprocessor(pseudo_collate(samples))['inputs']

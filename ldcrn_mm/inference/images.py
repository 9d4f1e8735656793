"""Images as the network sees them, from the test pipeline of a config."""

import copy
from itertools import islice

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, ConcatDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import DATASETS
from torch import Tensor

from ..training.data_files import datasets as datasets_of
from ..training.data_files import inference_dataset
from .inputs import open_inputs, read_picture

Size = tuple[int, int] | None


def people_of_dataset(
    cfg: Config, model: BasePoseEstimator, split: str, count: int, size: Size = None
) -> Tensor:
    """People of a dataset, evenly spread over it, without augmentation.

    Args:
        cfg: config with the dataset and the test pipeline.
        model: the estimator whose preprocessor normalises.
        split: ``'train'``, ``'val'`` or ``'test'``.
        count: number of people, at most.
        size: (width, height) of the images. Defaults to that of the pipeline.

    Returns:
        (N, 3, H, W), normalised.

    Raises:
        ValueError: if the dataset is empty.
    """
    pipeline = _pipeline(cfg, size)
    parts = [
        DATASETS.build({**part, 'pipeline': pipeline})
        for _, part in datasets_of(cfg, split)
    ]
    if not any(map(len, parts)):
        raise ValueError(f'{split}_dataloader has no people: its dataset is empty.')
    people = ConcatDataset(parts)
    chosen = np.linspace(0, len(people) - 1, min(count, len(people))).round()
    return _normalised(model, [people[int(i)] for i in chosen])


def pictures_of_folder(
    cfg: Config, model: BasePoseEstimator, folder: str, count: int, size: Size = None
) -> Tensor:
    """Pictures of a folder, each as one person, like :func:`people_of_dataset`.

    Raises:
        FileNotFoundError: if there are no pictures.
        ValueError: if a picture is broken.
    """
    pipeline, people = Compose(_pipeline(cfg, size)), []
    for image in map(read_picture, islice(open_inputs(folder), count)):
        box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
        people.append(pipeline(dict(img=image, bbox=box, bbox_score=np.ones(1))))
    return _normalised(model, people)


def _normalised(model: BasePoseEstimator, samples: list[dict]) -> Tensor:
    return model.data_preprocessor(pseudo_collate(samples))['inputs']


def _pipeline(cfg: Config, size: Size) -> list[dict]:
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    pipeline = copy.deepcopy(inference_dataset(cfg).pipeline)
    for step in pipeline:
        if size and 'input_size' in step:
            step.input_size = size
    return pipeline

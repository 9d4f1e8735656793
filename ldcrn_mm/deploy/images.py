"""Images as the network sees them, from the validation pipeline of a config."""

import copy
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import DATASETS
from torch import Tensor

Size = tuple[int, int] | None


def people_of_dataset(
    cfg: Config, model: BasePoseEstimator, split: str, count: int, size: Size = None
) -> Tensor:
    """People of a dataset, evenly spread over it, without augmentation.

    Args:
        cfg: config with the dataset and the validation pipeline.
        model: the estimator whose preprocessor normalises.
        split: ``'train'``, ``'val'`` or ``'test'``.
        count: number of people, at most.
        size: (width, height) of the images. Defaults to that of the pipeline.

    Returns:
        (N, 3, H, W), normalised.

    Raises:
        ValueError: if the dataset is empty.
    """
    dataset_cfg = _innermost(cfg[f'{split}_dataloader'].dataset).copy()
    dataset_cfg.pipeline = _pipeline(cfg, size)
    dataset = DATASETS.build(dataset_cfg)
    if not len(dataset):
        raise ValueError(f'The dataset of {split}_dataloader is empty.')
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round()
    return _normalised(model, [dataset[int(i)] for i in chosen])


def pictures_of_folder(
    cfg: Config, model: BasePoseEstimator, folder: str, count: int, size: Size = None
) -> Tensor:
    """Pictures of a folder, each as one person, like :func:`people_of_dataset`.

    Raises:
        FileNotFoundError: if the folder has no pictures.
        ValueError: if a picture is broken.
    """
    files = sorted(str(path) for path in Path(folder).glob('*') if path.is_file())
    files = [file for file in files if cv2.haveImageReader(file)]
    if not files:
        raise FileNotFoundError(f'there are no pictures in the folder `{folder}`')
    pipeline, people = Compose(_pipeline(cfg, size)), []
    for file in files[:count]:
        image = mmcv.imread(file)
        if image is None:
            raise ValueError(f'OpenCV cannot read the picture `{file}`')
        box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
        people.append(pipeline(dict(img=image, bbox=box, bbox_score=np.ones(1))))
    return _normalised(model, people)


def _normalised(model: BasePoseEstimator, samples: list[dict]) -> Tensor:
    return model.data_preprocessor(pseudo_collate(samples))['inputs']


def _pipeline(cfg: Config, size: Size) -> list[dict]:
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    pipeline = copy.deepcopy(_innermost(cfg.val_dataloader.dataset).pipeline)
    for step in pipeline:
        if size and 'input_size' in step:
            step.input_size = size
    return pipeline


def _innermost(dataset: ConfigDict) -> ConfigDict:
    """The dataset inside RepeatDataset and the like."""
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset

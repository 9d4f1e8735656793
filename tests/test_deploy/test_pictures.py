"""Images through the config's pipeline, normalised."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown
from mmpose.structures import PoseDataSample

from ldcrn_mm.deploy.pictures import (
    fit_to,
    images_of_dataset,
    images_of_folder,
    random_images,
)

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture
def folder(tmp_path):
    """Five pictures of the input's aspect, each of one colour (BGR: i, 20, 30)."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for i in range(1, 6):
        picture = np.full((80, 60, 3), (i, 20, 30), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), picture)
    return folder


@pytest.fixture
def dataset_config(config, folder, tmp_path):
    """With a person in every picture."""
    keypoints = [30, 40, 2] * 17
    images = [
        dict(id=i, file_name=f'{i}.png', width=60, height=80) for i in range(1, 6)
    ]
    people = [
        dict(
            id=i, image_id=i, category_id=1, bbox=[10, 10, 40, 60], area=2400,
            iscrowd=0, num_keypoints=17, keypoints=keypoints,
        )
        for i in range(1, 6)
    ]  # fmt: skip
    categories = [dict(id=1, name='person')]
    content = dict(images=images, annotations=people, categories=categories)
    (tmp_path / 'people.json').write_text(json.dumps(content))
    config = config.copy()
    config.train_dataloader = dict(
        dataset=dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(
                config.train_dataloader.dataset,
                data_root=str(tmp_path),
                ann_file='people.json',
                data_prefix=dict(img='images/'),
            ),
        )
    )
    return config


def colours(images):
    """Of the centre of every image, RGB, back from the normalisation."""
    centre = images[:, :, 32, 24].numpy()
    return centre * STD + MEAN


def test_people_are_spread_over_the_data_set_and_normalised(dataset_config, estimator):
    images = images_of_dataset(dataset_config, estimator, 'train', 3)

    assert images.shape == (3, 3, 64, 48)
    expected = [(30, 20, 1), (30, 20, 3), (30, 20, 5)]
    np.testing.assert_allclose(colours(images), expected, atol=1e-3)


def test_people_of_the_training_data_are_not_augmented(dataset_config, estimator):
    first, second = (
        images_of_dataset(dataset_config, estimator, 'train', 99) for _ in range(2)
    )

    assert len(first) == 5
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_pictures_of_a_folder_are_what_the_inference_api_gives_the_network(
    config, estimator, folder, monkeypatch
):
    seen = []
    estimator.cfg = config
    monkeypatch.setattr(
        estimator,
        'predict',
        lambda inputs, samples: seen.append(inputs) or [PoseDataSample()],
    )
    config.test_dataloader.dataset.pipeline = config.val_dataloader.dataset.pipeline
    estimator.dataset_meta = {}
    for i in (1, 2):
        inference_topdown(estimator, str(folder / f'{i}.png'))

    images = images_of_folder(config, estimator, folder, 2)

    torch.testing.assert_close(images, torch.cat(seen))
    np.testing.assert_allclose(colours(images)[:, 2], [1, 2], atol=1e-3)


def test_a_folder_without_pictures_is_an_error(config, estimator, tmp_path):
    with pytest.raises(FileNotFoundError, match='no pictures in the folder'):
        images_of_folder(config, estimator, tmp_path, 2)


def test_noise_is_like_normalised_pictures_and_always_the_same():
    images = random_images((48, 64), 4)

    assert images.shape == (4, 3, 64, 48)
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05
    torch.testing.assert_close(images, random_images((48, 64), 4), rtol=0, atol=0)


def test_images_are_stretched_only_where_needed():
    images = random_images((48, 64), 2)

    assert fit_to(images, (48, 64)) is images
    assert fit_to(images, (24, 40)).shape == (2, 3, 40, 24)
    flat = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(fit_to(flat, (4, 6)), torch.ones(1, 3, 6, 4))

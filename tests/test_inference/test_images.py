"""Images through the test pipeline, normalised."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from ldcrn_mm.inference.images import people_of_dataset, pictures_of_folder

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(scope='module')
def network(small_config):
    init_default_scope('mmpose')
    return MODELS.build(small_config.model).eval()


@pytest.fixture
def folder(tmp_path):
    """Five pictures of the input's aspect, each of one colour (BGR: i, 20, 30)."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for i in range(1, 6):
        picture = np.full((80, 60, 3), (i, 20, 30), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), picture)
    (folder / 'notes.txt').write_text('not a picture')
    return folder


@pytest.fixture
def with_people(small_config, folder, tmp_path):
    """The config with a training set of a person in every picture, repeated."""
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='person')])
    for i in range(1, 6):
        person = dict(bbox=[10, 10, 40, 60], area=2400, keypoints=[30, 40, 2] * 17)
        person.update(id=i, image_id=i, category_id=1, iscrowd=0, num_keypoints=17)
        content['annotations'].append(person)
        content['images'].append(dict(id=i, file_name=f'{i}.png', width=60, height=80))
    (tmp_path / 'people.json').write_text(json.dumps(content))
    config = small_config.copy()
    dataset = dict(config.train_dataloader.dataset, data_root=str(tmp_path))
    dataset.update(ann_file='people.json', data_prefix=dict(img='images/'))
    config.train_dataloader = dict(
        dataset=dict(type='RepeatDataset', times=2, dataset=dataset)
    )
    return config


def colours(images):
    """The RGB colour in the centre of every image, not normalised."""
    centre = images[:, :, images.shape[2] // 2, images.shape[3] // 2]
    return centre.numpy() * STD + MEAN


def test_people_are_spread_over_the_dataset(with_people, network):
    images = people_of_dataset(with_people, network, 'train', 3)
    assert images.shape == (3, 3, 64, 48)
    expected = [(30, 20, 1), (30, 20, 3), (30, 20, 5)]
    np.testing.assert_allclose(colours(images), expected, atol=1e-3)


def test_people_are_not_augmented_and_of_the_size_wanted(with_people, network):
    first, second = (
        people_of_dataset(with_people, network, 'train', 99, (32, 40)) for _ in range(2)
    )
    assert first.shape == (5, 3, 40, 32)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_no_people(small_config, network):
    config = small_config.copy()
    config.train_dataloader = None
    with pytest.raises(ValueError, match='train_dataloader'):
        people_of_dataset(config, network, 'train', 3)


def test_pictures_are_those_of_mmpose(small_config, network, folder, monkeypatch):
    seen = []

    def predict(inputs, samples):
        seen.append(inputs)
        return [PoseDataSample()]

    for name, value in dict(cfg=small_config, dataset_meta={}, predict=predict).items():
        monkeypatch.setattr(network, name, value, raising=False)
    for i in (1, 2):
        inference_topdown(network, str(folder / f'{i}.png'))
    images = pictures_of_folder(small_config, network, folder, 2)
    torch.testing.assert_close(images, torch.cat(seen))
    np.testing.assert_allclose(colours(images)[:, 2], [1, 2], atol=1e-3)
    images = pictures_of_folder(small_config, network, folder, 9, (32, 40))
    assert images.shape == (5, 3, 40, 32)


def test_exception_for_folders(small_config, network, folder, tmp_path):
    for name in ('', 'nowhere'):
        with pytest.raises(FileNotFoundError, match=f'folder.*{name}'):
            pictures_of_folder(small_config, network, tmp_path / name, 2)
    (folder / '0.png').write_bytes((folder / '1.png').read_bytes()[:40])
    with pytest.raises(ValueError, match=r'0\.png'):
        pictures_of_folder(small_config, network, folder, 2)

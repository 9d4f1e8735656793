import numpy as np
import pytest
import torch

from ldcrn_mm.deploy.network import ExportableNetwork, input_size_of

from .conftest import SIZE, noise


def test_it_returns_the_heatmaps_of_the_estimator(estimator, expected):
    network = ExportableNetwork(estimator)
    images = noise(3, 3, 64, 48)

    np.testing.assert_array_equal(network(images).detach().numpy(), expected)
    assert tuple(network.output_names(images)) == ('heatmaps',)


def test_it_is_in_evaluation_mode(estimator):
    assert not any(
        module.training
        for module in ExportableNetwork(estimator.train()).model.modules()
    )


def test_with_decoding_it_returns_keypoints_and_scores(estimator, expected):
    network = ExportableNetwork(estimator, decode=True)
    images = noise(3, 3, 64, 48)

    keypoints, scores = network(images)

    assert tuple(network.output_names(images)) == ('keypoints', 'scores')
    for i in range(3):
        reference = estimator.head.decoder.decode(expected[i])
        np.testing.assert_allclose(keypoints[i].detach(), reference[0][0], atol=1e-5)
        np.testing.assert_allclose(scores[i].detach(), reference[1][0], atol=1e-6)


def test_several_outputs_are_numbered(estimator, monkeypatch):
    monkeypatch.setattr(estimator.head, 'forward', lambda feats: (feats[0], feats[0]))
    network = ExportableNetwork(estimator)

    assert network.output_names(torch.zeros(1, 3, 64, 48)) == ('output0', 'output1')


def test_the_size_of_the_images_is_that_of_the_codec(estimator, monkeypatch):
    assert input_size_of(estimator) == SIZE
    monkeypatch.setattr(estimator.head, 'decoder', None)
    with pytest.raises(ValueError, match='no decoder'):
        input_size_of(estimator)

"""The whole estimator as MMPose builds it from the recipe."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs

from . import plain_decoding
from .networks import SMALL, SMALL_NECK, noise, randomise

SIZE = (64, 96)  # width, height of the small estimator's input
HEATMAP_SIZE = (16, 24)


@pytest.fixture(scope='module')
def recipe(root):
    return Config.fromfile(root / 'configs' / 'ldcrn_coco.py').model


@pytest.fixture
def estimator(recipe):
    """The recipe with a small network for small inputs."""
    model = copy.deepcopy(recipe)
    model.backbone.update(SMALL)
    model.neck.update(SMALL_NECK)
    model.head.in_channels = SMALL_NECK['out_channels']
    model.head.decoder.update(input_size=SIZE, heatmap_size=HEATMAP_SIZE)
    return randomise(MODELS.build(model))


@pytest.fixture
def packed():
    """Two pictures with their labels, as the data loader returns them."""
    np.random.seed(0)
    return get_packed_inputs(
        2, img_shape=(96, 64), input_size=SIZE, heatmap_size=HEATMAP_SIZE
    )


def test_the_defaults_of_the_parts_are_the_recipe_for_coco(recipe):
    by_default = dict(
        type='TopdownPoseEstimator',
        backbone=dict(type='LDCRN'),
        neck=dict(type='PyramidFusionNeck'),
        head=dict(type='LDCRNHead'),
    )
    models = [MODELS.build(cfg) for cfg in (by_default, recipe)]
    first, second = (
        {name: tensor.shape for name, tensor in model.state_dict().items()}
        for model in models
    )
    assert first == second
    for part in ('decoder', 'loss_module'):
        first, second = (vars(getattr(model.head, part)) for model in models)
        np.testing.assert_equal(first, second)


@pytest.mark.usefixtures('_quiet')
def test_the_initialisation_is_the_papers_and_reaches_every_parameter(recipe):
    torch.manual_seed(0)
    estimator = randomise(MODELS.build(recipe))
    estimator.init_weights()
    estimator(noise(2, 3, 64, 64), None, mode='tensor').square().mean().backward()
    for name, parameter in estimator.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
        n = parameter.numel()
        if parameter.dim() == 4:
            assert abs(parameter.mean()) < 5e-3 / math.sqrt(n), name
            assert abs(parameter.std() / 1e-3 - 1) < 5 / math.sqrt(2 * n), name
        else:
            assert torch.all(parameter == name.endswith('weight')), name


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('flip_test', [True, False])
def test_prediction_is_that_of_the_plain_decoding(estimator, packed, flip_test, deploy):
    """Also after MMPose's ``switch_to_deploy``, which must not change a thing."""
    estimator.eval()
    if deploy:
        estimator.switch_to_deploy()
    estimator.test_cfg.update(flip_test=flip_test)
    batch = estimator.data_preprocessor(copy.deepcopy(packed))
    boxes = [s.gt_instances.bboxes.copy() for s in batch['data_samples']]
    with torch.no_grad():
        expected, of_flipped = (
            estimator(x, None, mode='tensor').numpy()
            for x in (batch['inputs'], batch['inputs'].flip(-1))
        )
        results = estimator.test_step(packed)
    if flip_test:  # MMPose uses the first sample's `flip_indices` for all
        indices = batch['data_samples'][0].flip_indices
        expected = plain_decoding.flip_average(expected, of_flipped, indices)
    compared = 0
    for heatmaps, box, result in zip(expected, boxes, results, strict=True):
        points, scores, inside = plain_decoding.decode(heatmaps)
        points = plain_decoding.to_image(
            points, SIZE, result.input_center[0], result.input_scale[0]
        )
        found = result.pred_instances
        np.testing.assert_allclose(found.keypoint_scores[0], scores, rtol=1e-4)
        np.testing.assert_allclose(
            found.keypoints[0][inside], points[inside], rtol=1e-4
        )
        np.testing.assert_array_equal(found.bboxes, box)
        compared += inside.sum()
    assert compared >= 10

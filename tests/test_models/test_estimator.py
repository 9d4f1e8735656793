"""The whole estimator, as MMPose builds it from the configs."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs
from torch import nn

from . import plain_decoding, plain_ldcrn
from .networks import SMALL, SMALL_NECK, noise, randomise

JOINTS = dict(coco=17, mpii=16)
SIZE = (64, 96)  # width, height of the small estimator's input
HEATMAP_SIZE = (16, 24)


@pytest.fixture(scope='module')
def configs(root):
    return {
        name: Config.fromfile(root / 'configs' / f'ldcrn_{name}.py') for name in JOINTS
    }


@pytest.fixture(params=JOINTS)
def dataset(request):
    return request.param


@pytest.fixture
def paper(configs, dataset):
    """The paper's network for one data set."""
    return MODELS.build(configs[dataset].model)


def small_estimator(configs, **backbone):
    """The paper's config with a small network for small inputs."""
    model = copy.deepcopy(configs['coco'].model)
    model.backbone.update(**SMALL, **backbone)
    model.neck.update(SMALL_NECK)
    model.head.in_channels = SMALL_NECK['out_channels']
    model.head.decoder.update(input_size=SIZE, heatmap_size=HEATMAP_SIZE)
    return randomise(MODELS.build(model))


@pytest.fixture
def estimator(configs):
    return small_estimator(configs)


@pytest.fixture
def packed():
    """Two pictures with their labels, as the data loader hands them over."""
    np.random.seed(0)
    return get_packed_inputs(
        2, img_shape=(96, 64), input_size=SIZE, heatmap_size=HEATMAP_SIZE
    )


@pytest.fixture
def batch(estimator, packed):
    return estimator.data_preprocessor(packed)


# The paper's network


def test_cardinality_of_the_papers_network(paper, configs, dataset):
    parameters = sum(p.numel() for p in paper.parameters())
    assert parameters == dict(coco=7_894_897, mpii=7_894_864)[dataset]
    width, height = configs[dataset].codec.input_size
    multiply_adds = 0

    def count(conv, inputs, output):
        nonlocal multiply_adds
        multiply_adds += output.numel() * conv.weight[0].numel()

    for module in paper.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        heatmaps = paper.eval()(noise(1, 3, height, width), None, mode='tensor')
    assert heatmaps.shape == (1, JOINTS[dataset], height // 4, width // 4)
    expected = dict(coco=6.544e9, mpii=8.725e9)[dataset]
    assert multiply_adds == pytest.approx(expected, rel=1e-4)


def test_the_parts_defaults_are_the_papers_for_coco(configs):
    config = configs['coco'].model
    paper = MODELS.build(config)
    plain = MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(type='LDCRN'),
            neck=dict(type='PyramidFusionNeck'),
            head=dict(type='LDCRNHead'),
        )
    )

    def shapes(model):
        return {name: tensor.shape for name, tensor in model.state_dict().items()}

    assert shapes(plain) == shapes(paper)
    for part in ('decoder', 'loss_module'):
        defaults, settings = (vars(getattr(m.head, part)) for m in (plain, paper))
        assert defaults.keys() == settings.keys()
        for name, value in settings.items():
            np.testing.assert_equal(defaults[name], value)


@pytest.mark.usefixtures('_quiet')
def test_initialisation_is_the_papers(configs):
    torch.manual_seed(0)
    estimator = randomise(MODELS.build(configs['coco'].model))
    estimator.init_weights()
    kinds = set()
    for name, module in estimator.named_modules():
        kinds.add(type(module))
        if isinstance(module, nn.Conv2d):
            n = module.weight.numel()
            assert abs(module.weight.mean()) < 5e-3 / math.sqrt(n), name
            assert abs(module.weight.std() / 1e-3 - 1) < 5 / math.sqrt(2 * n), name
            assert module.bias is None or torch.all(module.bias == 0), name
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1), name
            assert torch.all(module.bias == 0), name
            assert (module.momentum, module.eps) == (0.1, 1e-5), name
    assert {nn.Conv2d, nn.BatchNorm2d} < kinds


@pytest.mark.usefixtures('_quiet')
def test_from_the_papers_initialisation_every_parameter_gets_a_gradient(configs):
    torch.manual_seed(0)
    estimator = MODELS.build(configs['coco'].model)
    estimator.init_weights()
    estimator(noise(2, 3, 64, 64), None, mode='tensor').square().mean().backward()
    for name, parameter in estimator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_estimator_is_the_formulas(estimator):
    estimator.double()
    p = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    x = noise(2, 3, 96, 64, dtype=torch.float64)
    depths = [SMALL[key] for key in ('num_modules', 'num_blocks', 'num_layers')]
    for train in (False, True):
        feats = plain_ldcrn.backbone(
            plain_ldcrn.under(p, 'backbone'), x, *depths, train
        )
        fused = plain_ldcrn.neck(plain_ldcrn.under(p, 'neck'), feats, 2, train)
        expected = plain_ldcrn.head(plain_ldcrn.under(p, 'head'), fused)
        heatmaps = estimator.train(train)(x, None, mode='tensor')
        torch.testing.assert_close(heatmaps, expected, rtol=1e-9, atol=1e-9)


# Training


def test_pictures_are_normalised_in_rgb(estimator, packed):
    bgr = packed['inputs'][0].numpy().astype(np.float64)
    inputs = estimator.data_preprocessor(packed)['inputs']
    for channel, (mean, std) in enumerate(
        [(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)]
    ):
        expected = (bgr[2 - channel] - mean) / std
        np.testing.assert_allclose(inputs[0, channel], expected, rtol=1e-5, atol=1e-6)


def test_loss_is_that_of_the_heatmaps(estimator, batch):
    estimator.eval()  # the second pass sees the same statistics
    losses = estimator(**batch, mode='loss')
    heatmaps = estimator(**batch, mode='tensor')
    targets = torch.stack([s.gt_fields.heatmaps for s in batch['data_samples']])
    expected = 0.5 * (heatmaps - targets).pow(2).mean()
    torch.testing.assert_close(losses['loss_kpt'], expected)
    assert 0 <= losses['acc_pose'] <= 1


def test_training_steps_lower_the_loss(estimator, packed):
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-2)
    wrapper = OptimWrapper(optimizer)
    losses = [
        estimator.train().train_step(copy.deepcopy(packed), wrapper)['loss_kpt'].item()
        for _ in range(15)
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_every_parameter_gets_a_gradient_from_the_loss(estimator, batch):
    estimator(**batch, mode='loss')['loss_kpt'].backward()
    for name, parameter in estimator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_loss_and_gradients_under_bfloat16_autocast(estimator, batch):
    expected = estimator(**batch, mode='loss')['loss_kpt']
    with torch.autocast('cpu', torch.bfloat16):
        loss = estimator(**batch, mode='loss')['loss_kpt']
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.05, atol=0)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in estimator.parameters())


# Prediction


@pytest.mark.parametrize('flip_test', [True, False])
def test_prediction_is_that_of_the_plain_decoding(estimator, batch, flip_test):
    estimator.eval()
    estimator.test_cfg.update(flip_test=flip_test, output_heatmaps=True)
    inputs = batch['inputs']
    with torch.no_grad():
        heatmaps = estimator(inputs, None, mode='tensor').numpy()
        of_flipped = estimator(inputs.flip(-1), None, mode='tensor').numpy()
        results = estimator(**batch, mode='predict')
    if flip_test:  # MMPose takes the first sample's `flip_indices` for all
        indices = batch['data_samples'][0].flip_indices
        heatmaps = plain_decoding.flip_average(heatmaps, of_flipped, indices)
    compared = 0
    for expected, result in zip(heatmaps, results, strict=True):
        np.testing.assert_allclose(
            result.pred_fields.heatmaps, expected, rtol=1e-4, atol=1e-4
        )
        points, scores, inside = plain_decoding.decode(expected)
        found = result.pred_instances
        np.testing.assert_allclose(found.keypoint_scores[0], scores, rtol=1e-4)
        points = plain_decoding.to_image(
            points, SIZE, result.input_center[0], result.input_scale[0]
        )
        np.testing.assert_allclose(
            found.keypoints[0][inside], points[inside], rtol=1e-4
        )
        compared += inside.sum()
    assert compared >= 10


def test_the_papers_config_asks_for_the_flip_test(estimator, batch):
    assert estimator.test_cfg['flip_test']
    assert estimator.test_cfg['shift_heatmap']
    estimator.eval()
    assert 'pred_fields' not in estimator(**batch, mode='predict')[0]


def test_predictions_carry_the_boxes(estimator, batch):
    boxes = [s.gt_instances.bboxes.copy() for s in batch['data_samples']]
    results = estimator.eval()(**batch, mode='predict')
    for box, result in zip(boxes, results, strict=True):
        np.testing.assert_array_equal(result.pred_instances.bboxes, box)
        assert result.pred_instances.keypoints.shape == (1, 17, 2)


def test_test_step_takes_what_the_data_loader_gives(estimator, packed, batch):
    estimator.eval()
    with torch.no_grad():
        found = estimator.test_step(packed)
        expected = estimator(**batch, mode='predict')
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(
            x.pred_instances.keypoints, y.pred_instances.keypoints
        )


def test_switch_to_deploy_changes_nothing(estimator, batch):
    estimator.eval()
    with torch.no_grad():
        expected = estimator(**batch, mode='tensor')
        estimator.switch_to_deploy()
        torch.testing.assert_close(estimator(**batch, mode='tensor'), expected)


def test_recomputation_by_config_changes_nothing(configs, batch):
    left = []
    for with_cp in (False, True):
        estimator = small_estimator(configs, with_cp=with_cp)
        loss = estimator(**batch, mode='loss')['loss_kpt']
        loss.backward()
        gradients = {n: p.grad for n, p in estimator.named_parameters()}
        left.append((loss, gradients, estimator.state_dict()))
    torch.testing.assert_close(*left, rtol=1e-4, atol=1e-6)


# Errors


def test_exception_for_an_unknown_mode(estimator, batch):
    with pytest.raises(RuntimeError, match='Invalid mode'):
        estimator(**batch, mode='training')


def test_exception_for_an_input_size_that_cannot_be_halved(paper):
    with pytest.raises(ValueError, match=r'multiples of 32, but .* 250x192'):
        paper(noise(1, 3, 250, 192), None, mode='tensor')


def test_exception_for_a_neck_that_does_not_fit_the_backbone(configs):
    model = copy.deepcopy(configs['coco'].model)
    model.backbone.update(channels=(32, 64, 128), num_modules=(1, 1))
    estimator = MODELS.build(model)
    with pytest.raises(ValueError, match=r'\(64, 32, 32, 32, 64, 128, 256\).*5 maps'):
        estimator(noise(1, 3, 64, 64), None, mode='tensor')

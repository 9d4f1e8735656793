"""The network and its training step, in float64, on the original's numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData, PixelData
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from ldcrn_mm.checkpoint import mmpose_name, to_mmpose
from ldcrn_mm.deploy import deploy_form

Numbers = dict[str, np.ndarray]


@dataclass
class Batch:
    images: Tensor
    samples: list[PoseDataSample]


@pytest.fixture
def model(cfg: Config, original_weights: dict[str, Tensor]) -> TopdownPoseEstimator:
    network = MODELS.build(cfg.model).double()
    network.load_state_dict(to_mmpose(original_weights), strict=True)
    return network


@pytest.fixture
def expected(dataset: str, numbers: Callable[[str], Numbers]) -> Numbers:
    return numbers(f'model_{dataset}')


@pytest.fixture
def batch(cfg: Config, expected: Numbers) -> Batch:
    """The two random images of the original's run, with their targets."""
    width, height = cfg.codec.input_size
    joints = cfg.model.head.out_channels
    random = np.random.RandomState(int(expected['input_seed']))
    images = random.standard_normal((2, 3, height, width))
    targets = random.uniform(0, 1, (2, joints, height // 4, width // 4))
    weights = random.uniform(size=(2, joints, 1)) > 0.3
    assert np.array_equal(weights, expected['target_weight'])
    samples = []
    for target, weight in zip(targets, weights):
        sample = PoseDataSample()
        sample.gt_fields = PixelData(heatmaps=torch.from_numpy(target))
        sample.gt_instance_labels = InstanceData(
            keypoint_weights=torch.from_numpy(weight.T.astype(float))
        )
        samples.append(sample)
    return Batch(torch.from_numpy(images), samples)


def largest(values: Tensor | np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    difference = np.abs(np.asarray(values, np.float64) - expected)
    return difference.max() / np.abs(expected).max()


def largest_of_each(values: list[float], expected: np.ndarray) -> float:
    """The largest of the relative differences of single values."""
    return (np.abs(np.asarray(values) - expected) / np.abs(expected)).max()


def test_heatmaps_in_evaluation(model, batch, expected, agreement):
    model.eval()
    with torch.no_grad():
        double = model(batch.images[:1], None)
        single = model.float()(batch.images[:1].float(), None)
    error = largest(double, expected['eval_output'])
    agreement('model', 'heatmaps', error, 1e-9, 'relative, float64')
    error = largest(single, expected['eval_output'])
    agreement('model', 'heatmaps', error, 1e-5, 'relative, float32')


def test_heatmaps_of_the_deploy_form(model, batch, expected, agreement):
    form = deploy_form(model)
    with torch.no_grad():
        double = form(batch.images[:1], None)
        single = form.float()(batch.images[:1].float(), None)
    error = largest(double, expected['eval_output'])
    agreement('model', 'heatmaps of the deploy form', error, 1e-9, 'relative, float64')
    error = largest(single, expected['eval_output'])
    agreement('model', 'heatmaps of the deploy form', error, 1e-5, 'relative, float32')
    peaks = single.flatten(2).argmax(-1).numpy()
    original = expected['eval_output'].reshape(*peaks.shape, -1).argmax(-1)
    assert np.array_equal(peaks, original)


def train(model: TopdownPoseEstimator, cfg: Config, batch: Batch, steps: int) -> dict:
    """Trains as the runner does; what the first step computed, and all losses."""
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    outputs, losses, gradients = [], [], {}
    model.head.loss_module.register_forward_pre_hook(
        lambda module, inputs: outputs.append(inputs[0].detach())
    )
    model.train()
    for step in range(steps):
        loss, _ = model.parse_losses(model(batch.images, batch.samples, mode='loss'))
        optim_wrapper.zero_grad()
        optim_wrapper.backward(loss)
        if step == 0:
            gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        optim_wrapper.step()
        losses.append(loss.item())
    return dict(output=outputs[0], losses=losses, gradients=gradients)


def check_first_step(result: dict, expected: Numbers, agreement: Callable) -> None:
    output = result['output']
    sums = [output.sum().item(), output.square().sum().item()]
    error = largest_of_each(sums, expected['train_output_sum'])
    agreement('model', 'sums of the training output', error, 1e-9, 'relative')
    gradients = [result['gradients'][mmpose_name(n)] for n in expected['param_names']]
    assert len(gradients) == len(result['gradients'])
    error = largest_of_each([g.norm() for g in gradients], expected['grad_norm'])
    what = f'norms of {len(gradients)} gradients'
    agreement('model', what, error, 1e-9, 'relative')
    error = largest_of_each([g.sum() for g in gradients], expected['grad_sum'])
    agreement('model', what.replace('norms', 'sums'), error, 1e-9, 'relative')


@pytest.mark.parametrize('dataset', ['coco'], indirect=True)
def test_first_training_step(model, cfg, batch, expected, agreement):
    result = train(model, cfg, batch, steps=1)
    check_first_step(result, expected, agreement)
    error = largest_of_each(result['losses'], expected['losses'][:1])
    agreement('model', 'losses', error, 1e-9, 'relative')


@pytest.mark.slow
def test_three_training_steps(model, cfg, batch, expected, agreement):
    result = train(model, cfg, batch, steps=3)
    check_first_step(result, expected, agreement)
    error = largest_of_each(result['losses'], expected['losses'])
    agreement('model', 'losses', error, 1e-9, 'relative')
    state = model.state_dict()
    for kind in ('param', 'running_mean'):
        names = expected[f'{kind}_names']
        norms = [state[mmpose_name(name)].norm().item() for name in names]
        error = largest_of_each(norms, expected[f'{kind}_norm_after3'])
        what = f'norms of {len(names)} {kind}s after three steps'
        agreement('model', what.replace('_', ' '), error, 1e-9, 'relative')

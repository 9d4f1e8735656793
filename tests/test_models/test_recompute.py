"""Recomputation: called twice, kept once, statistics moved once."""

import copy

import pytest
import torch
from torch import nn

from ldcrn_mm.models.recompute import frozen_running_stats, recompute_in_backward

from .networks import noise, randomise, training_step


class Layers(nn.Module):
    """Norms that keep running statistics in every way there is."""

    def __init__(self, recompute):
        super().__init__()
        self.recompute = recompute
        self.calls = 0
        self.layers = nn.Sequential(
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4, momentum=None),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4, track_running_stats=False),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            nn.GroupNorm(2, 4),
            nn.Tanh(),
        )

    def forward(self, x):
        return recompute_in_backward(self, self.run, x, enabled=self.recompute)

    def run(self, x):
        self.calls += 1
        return self.layers(x)


@pytest.fixture
def pair():
    """The same layers without and with recomputation, in float64."""
    plain, recomputing = Layers(False), Layers(True)
    randomise(plain).double()
    recomputing.double().load_state_dict(plain.state_dict())
    return plain, recomputing


def step(module, dtype=torch.float64):
    return training_step(module, noise(3, 4, 6, 5, dtype=dtype))


def test_a_step_leaves_the_same_outputs_gradients_and_statistics(pair):
    for _ in range(3):
        expected, found = map(step, pair)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found['buffers']['layers.0.num_batches_tracked'] == 3
    assert found['buffers']['layers.2.num_batches_tracked'] == 3


def test_the_same_in_eval_mode_with_gradients(pair):
    before = copy.deepcopy(dict(pair[1].named_buffers()))
    expected, found = (step(module.eval()) for module in pair)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found['buffers'], before, rtol=0, atol=0)


def test_the_same_under_autocast(pair):
    for module in pair:
        module.float()
    with torch.autocast('cpu', torch.bfloat16):
        expected, found = (step(module, torch.float32) for module in pair)
    assert found['outputs'][0].dtype == expected['outputs'][0].dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_statistics_move_once_without_gradients(pair):
    x = noise(3, 4, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        expected, found = (module(x) for module in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(
        dict(pair[1].named_buffers()), dict(pair[0].named_buffers()), rtol=0, atol=0
    )


@pytest.mark.parametrize('recompute', [True, False])
def test_the_function_runs_a_second_time_only_in_the_backward_pass(recompute):
    module = Layers(recompute)
    y = module(noise(2, 4, 6, 5))
    assert module.calls == 1
    y.sum().backward()
    assert module.calls == (2 if recompute else 1)


def test_the_function_runs_once_without_gradients():
    module = Layers(True)
    with torch.no_grad():
        module(noise(2, 4, 6, 5))
    assert module.calls == 1


def test_only_the_inputs_are_kept():
    kept = []
    x = noise(2, 4, 6, 5).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        Layers(True)(x)
    large = {tensor.data_ptr() for tensor in kept if tensor.numel() >= x.numel()}
    assert large == {x.data_ptr()}


def test_several_inputs_get_their_gradients():
    a, b = (noise(2, 3, seed=i).requires_grad_() for i in (1, 2))
    module = nn.Identity()
    y = recompute_in_backward(module, lambda a, b: (a * b.exp()).sin(), a, b)
    y.sum().backward()
    inner = (a * b.exp()).cos()
    torch.testing.assert_close(a.grad, inner * b.exp())
    torch.testing.assert_close(b.grad, inner * a * b.exp())


def test_frozen_statistics_stay_and_are_the_same_tensors_afterwards():
    module = Layers(False)
    buffers = dict(module.named_buffers())
    before = copy.deepcopy(buffers)
    with frozen_running_stats(module):
        module(noise(2, 4, 6, 5))
    after = dict(module.named_buffers())
    assert {name: id(b) for name, b in after.items()} == {
        name: id(b) for name, b in buffers.items()
    }  # DistributedDataParallel and optimizers hold on to them
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    module(noise(2, 4, 6, 5))
    assert module.layers[0].num_batches_tracked == 1


def test_statistics_come_back_after_an_error():
    module = Layers(False)
    running_mean = module.layers[0].running_mean
    with (
        pytest.raises(RuntimeError, match='running_mean'),
        frozen_running_stats(module),
    ):
        module(noise(2, 5, 6, 5))
    assert module.layers[0].running_mean is running_mean


@pytest.mark.slow
@pytest.mark.parametrize('gradients', [True, False])
def test_compiled_for_inference_nothing_is_left_of_it(gradients):
    graphs = []

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return graph

    norm = nn.BatchNorm2d(4)

    @torch.compile(backend=backend, fullgraph=True)
    def run(x):
        return recompute_in_backward(norm, norm.forward, x)

    with torch.set_grad_enabled(gradients):
        run(noise(2, 4, 6, 5))
    (graph,) = graphs
    assert ('checkpoint' in graph) == gradients

"""Recomputation: only inputs are kept, everything else stays the same."""

import copy

import pytest
import torch
from torch import nn

from ldcrn_mm.models.recompute import RecomputingSequential, frozen_running_stats

from .networks import noise, randomise, training_step


def layers(with_cp):
    """Three pairs and a single member, with every kind of running statistics."""
    return RecomputingSequential(
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4, momentum=None),
        nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.Sequential(nn.GroupNorm(2, 4), nn.Tanh()),
        with_cp=with_cp,
    )


@pytest.fixture
def pair():
    """The same layers without and with recomputation, in float64."""
    plain, recomputing = randomise(layers(False)).double(), layers(True).double()
    recomputing.load_state_dict(plain.state_dict())
    return plain, recomputing


@pytest.mark.parametrize('train', [True, False])
def test_outputs_gradients_and_statistics_stay_the_same(pair, train):
    x = noise(3, 4, 6, 5, dtype=torch.float64)
    for steps in (1, 2, 3):
        expected, found = (training_step(m.train(train), x) for m in pair)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        batches = steps if train else 0
        assert found['buffers']['0.num_batches_tracked'] == batches
        assert found['buffers']['2.num_batches_tracked'] == batches


def test_under_autocast_nothing_changes(pair):
    x = noise(3, 4, 6, 5)
    with torch.autocast('cpu', torch.bfloat16):
        expected, found = (training_step(module.float(), x) for module in pair)
    assert found['outputs'][0].dtype == expected['outputs'][0].dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('with_cp', 'gradients', 'in_backward'),
    [(True, True, 7), (False, True, 0), (True, False, 0)],
)
def test_members_run_again_only_in_the_backward_pass(with_cp, gradients, in_backward):
    module, ran = layers(with_cp), []
    for member in module:
        member.register_forward_pre_hook(lambda member, _: ran.append(member))
    with torch.set_grad_enabled(gradients):
        y = module(noise(2, 4, 6, 5))
    assert ran == list(module)
    if gradients:
        y.sum().backward()
    assert len(ran) == 7 + in_backward


def test_only_the_input_of_each_pair_is_kept():
    kept, inputs = [], []
    module = layers(True)
    for member in module[::2]:
        member.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
        module(noise(2, 4, 6, 5).requires_grad_())
    large = {t.data_ptr() for t in kept if t.numel() >= inputs[0].numel()}
    assert large == {x.data_ptr() for x in inputs}
    assert len(large) == 4


@pytest.mark.parametrize('channels', [4, 5])
def test_frozen_statistics_are_the_same_tensors_afterwards(channels):
    """Also after an error, which 5 channels cause. DDP holds on to the tensors."""
    module = layers(False)
    buffers = dict(module.named_buffers())
    before = copy.deepcopy(buffers)
    try:
        with frozen_running_stats(module):
            module(noise(2, channels, 6, 5))
    except RuntimeError:
        assert channels == 5
    after = dict(module.named_buffers())
    assert all(after[name] is buffer for name, buffer in buffers.items())
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize('gradients', [True, False])
def test_compiled_for_inference_nothing_is_left_of_it(gradients):
    graphs, module = [], RecomputingSequential(nn.BatchNorm2d(4), with_cp=True)

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return graph

    with torch.set_grad_enabled(gradients):
        torch.compile(module, backend=backend, fullgraph=True)(noise(2, 4, 6, 5))
    (graph,) = graphs
    assert ('checkpoint' in graph) == gradients

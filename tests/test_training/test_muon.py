import copy
import io

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn
from torch.testing import assert_close

from ldcrn_mm.training import ConvMuon
from ldcrn_mm.training.muon import orthogonalized


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('shape', [(16, 16), (12, 90), (90, 12)])
@pytest.mark.parametrize('decades', [0, 1, 3])
def test_singular_vectors_stay_and_values_go_through_jordans_quintic(shape, decades):
    random = torch.randn(2, *shape, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(random, full_matrices=False)
    values = torch.logspace(0, -decades, min(shape), dtype=torch.float64)
    found = orthogonalized((u @ torch.diag(values) @ vh).float())
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    assert_close(found.double(), u @ torch.diag(values) @ vh, atol=1e-3, rtol=1e-3)
    assert values.max() < 1.25


def test_a_gradient_of_zeros_makes_no_step():
    assert not orthogonalized(torch.zeros(1, 4, 9)).any()


def gradients(params, steps):
    return [[torch.randn_like(param) for param in params] for _ in range(steps)]


def run(optimizer, params, steps):
    for grads in steps:
        for param, grad in zip(params, grads):
            param.grad = grad.reshape(param.shape).clone()
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='PyTorch 2.9 has it')
def test_matrices_are_optimized_as_by_pytorchs_muon():
    shapes = [(8, 2, 3, 3), (48, 4, 1, 1), (8, 18, 1, 1)]
    weights = [torch.randn(shape) for shape in shapes]
    ours = [nn.Parameter(weight.clone()) for weight in weights]
    theirs = [nn.Parameter(weight.flatten(1).clone()) for weight in weights]
    steps = gradients(weights, 4)
    run(ConvMuon([dict(params=ours, orthogonalize=True)], 0.1, 0.9), ours, steps)
    run(torch.optim.Muon(theirs, 0.1, 0.0, 0.9), theirs, steps)
    for weight, our, their in zip(weights, ours, theirs):
        moved = (their - weight.flatten(1)).norm()
        assert moved > 0.1
        # PyTorch orthogonalises in bfloat16.
        assert (our.flatten(1) - their).norm() < 0.02 * moved


def test_other_parameters_are_optimized_as_by_pytorchs_adam():
    weights = [torch.randn(7), torch.randn(3, 4, 1, 1)]
    ours = [nn.Parameter(weight.clone()) for weight in weights]
    theirs = [nn.Parameter(weight.clone()) for weight in weights]
    steps = gradients(weights, 5)
    run(ConvMuon(ours, 0.1, betas=(0.8, 0.95)), ours, steps)
    run(torch.optim.Adam(theirs, 0.1, (0.8, 0.95)), theirs, steps)
    assert_close(ours, theirs)


def test_parameters_without_gradient_stay():
    weights = [nn.Parameter(torch.ones(4, 4, 1, 1)) for _ in range(3)]
    moving, frozen, idle = weights
    groups = [dict(params=[moving, frozen], orthogonalize=True), dict(params=[idle])]
    run(ConvMuon(groups), [moving], gradients([moving], 1))
    assert [bool((weight == 1).all()) for weight in weights] == [False, True, True]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.depthwise(self.norm(self.stem(x))))


def built(model, **changes):
    optimizer = dict(type='ConvMuon', lr=0.01, momentum=0.9, adam_lr=0.001)
    cfg = dict(constructor='ConvMuonOptimWrapperConstructor', optimizer=optimizer)
    with DefaultScope.overwrite_default_scope('mmpose'):
        return build_optim_wrapper(model, cfg | changes)


def test_weights_that_a_normalisation_follows_are_orthogonalised():
    model = Network()
    hidden, rest = built(model).optimizer.param_groups
    assert [id(param) for param in hidden['params']] == [id(model.stem.weight)]
    assert {id(param) for param in rest['params']} == {
        id(param) for name, param in model.named_parameters() if name != 'stem.weight'
    }
    assert hidden['orthogonalize']
    assert not rest['orthogonalize']
    assert (hidden['lr'], rest['lr']) == (0.01, 0.001)
    assert hidden['momentum'] == 0.9


def test_learning_rates_are_multiplied_as_mmengine_does():
    model = Network()
    model.norm.requires_grad_(False)
    custom = dict(stem=dict(lr_mult=0), head=dict(lr_mult=0.1, momentum=0.5))
    paramwise = dict(custom_keys=custom, bias_lr_mult=2.0)
    groups = built(model, paramwise_cfg=paramwise).optimizer.param_groups
    found = {
        id(param): (group['orthogonalize'], group['lr'], group['momentum'])
        for group in groups
        for param in group['params']
    }
    assert {n: found.get(id(p)) for n, p in model.named_parameters()} == {
        'stem.weight': (True, 0, 0.9),
        'norm.weight': None,
        'norm.bias': None,
        'depthwise.weight': (False, 0.001, 0.9),
        'head.weight': (False, pytest.approx(1e-4), 0.5),
        'head.bias': (False, pytest.approx(1e-4), 0.5),
    }


@pytest.mark.parametrize(('lr', 'expected'), [({}, 5e-3), (dict(lr=0), 0)])
def test_the_learning_rate_may_be_left_out_or_zero(lr, expected):
    optimizer = dict(type='ConvMuon', adam_lr=0.001) | lr
    hidden, rest = built(Network(), optimizer=optimizer).optimizer.param_groups
    assert (hidden['lr'], rest['lr']) == (expected, 0.001)


def test_the_wrapper_is_that_of_the_config():
    wrapper = built(Network(), type='BFloat16OptimWrapper', accumulative_counts=3)
    assert type(wrapper).__name__ == 'BFloat16OptimWrapper'
    assert wrapper._accumulative_counts == 3


@pytest.mark.parametrize(
    ('changes', 'found'),
    [
        (dict(optimizer=dict(type='ConvMuon', lr=0.01)), "'lr': 0.01"),
        (dict(optimizer=dict(type='Adam', lr=0.01, adam_lr=0.1)), "'Adam'"),
    ],
)
def test_settings_without_an_effect_are_refused(changes, found):
    with pytest.raises(ValueError, match=rf'adam_lr=1e-3.*got.*{found}'):
        built(Network(), **changes)


def step(model, wrapper, inputs):
    wrapper.update_params(model(inputs).square().mean())


def test_a_resumed_run_goes_on_as_if_never_stopped():
    model, batches = Network(), torch.rand(4, 2, 3, 8, 8)
    wrapper = built(model)
    for batch in batches[:2]:
        step(model, wrapper, batch)
    file = io.BytesIO()
    torch.save(wrapper.state_dict(), file)
    file.seek(0)
    resumed = copy.deepcopy(model)
    other = built(resumed)
    other.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[2:]:
        step(model, wrapper, batch)
        step(resumed, other, batch)
    assert_close([*resumed.parameters()], [*model.parameters()], rtol=0, atol=0)


def test_the_layout_of_the_weights_changes_nothing():
    plain = Network()
    laid_out = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    batch = torch.rand(2, 3, 8, 8)
    for model in (plain, laid_out):
        wrapper = built(model)
        for _ in range(2):
            step(model, wrapper, batch)
    found, expected = [*laid_out.parameters()], [*plain.parameters()]
    assert_close(found, expected, rtol=1e-4, atol=1e-5)

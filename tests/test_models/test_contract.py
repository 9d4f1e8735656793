"""What backbone, neck and head promise alike."""

import copy
import io

import pytest
import torch

from .networks import (
    as_tuple,
    noise,
    small_backbone,
    small_head,
    small_neck,
    training_step,
)

NECK_SHAPES = [(6, 8, 12), (4, 8, 12), (4, 8, 12), (6, 4, 6), (8, 2, 3)]


def image(n):
    return (noise(n, 3, 32, 48),)


def maps(n):
    return tuple(noise(n, *shape, seed=i) for i, shape in enumerate(NECK_SHAPES))


# How a part is built, what goes in, and the shapes that come out of it
PARTS = {
    'backbone': (small_backbone, image, NECK_SHAPES),
    'recomputing': (lambda: small_backbone(with_cp=True), image, NECK_SHAPES),
    'neck': (small_neck, maps, [(4, 8, 12)]),
    'head': (small_head, lambda n: (noise(n, 4, 8, 12),), [(5, 8, 12)]),
}


class Part(torch.nn.Module):
    """One part behind one interface: tensors to a tuple of tensors."""

    def __init__(self, name):
        super().__init__()
        build, self.inputs, self.shapes = PARTS[name]
        self.part = build()
        self.takes_a_sequence = name in ('neck', 'head')

    def forward(self, *inputs):
        return as_tuple(
            self.part(inputs) if self.takes_a_sequence else self.part(*inputs)
        )


@pytest.fixture(params=PARTS)
def part(request):
    return Part(request.param)


def test_cardinality(part):
    for n in (1, 3):
        outputs = part.eval()(*part.inputs(n))
        assert [tuple(y.shape) for y in outputs] == [(n, *s) for s in part.shapes]


def test_every_parameter_gets_a_gradient(part):
    left = training_step(part, *part.inputs(2))
    for name, gradient in left['gradients'].items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.norm() > 1e-4, name
    assert all(gradient.norm() > 1e-4 for gradient in left['input_gradients'])


def test_saved_weights_give_the_same_outputs(part):
    file = io.BytesIO()
    torch.save(part.part.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(part)
    for parameter in other.parameters():
        parameter.data.zero_()
    found = other.part.load_state_dict(torch.load(file, weights_only=True))
    assert not found.missing_keys
    assert not found.unexpected_keys
    inputs = part.inputs(1)
    expected = part.eval()(*inputs)
    torch.testing.assert_close(other.eval()(*inputs), expected, rtol=0, atol=0)


def test_a_deep_copy_computes_the_same_and_shares_nothing(part):
    other = copy.deepcopy(part)
    mine = {t.data_ptr() for t in part.state_dict().values()}
    assert not mine & {t.data_ptr() for t in other.state_dict().values()}
    inputs = part.inputs(2)
    torch.testing.assert_close(
        training_step(other, *inputs), training_step(part, *inputs), rtol=0, atol=0
    )


def test_the_whole_module_can_be_pickled(part):
    file = io.BytesIO()
    torch.save(part.part, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert other.state_dict().keys() == part.part.state_dict().keys()


def test_channels_last_computes_the_same(part):
    inputs = [x.double() for x in part.inputs(2)]
    expected = part.double().eval()(*inputs)
    part.to(memory_format=torch.channels_last)
    found = part(*(x.contiguous(memory_format=torch.channels_last) for x in inputs))
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)


def test_float64_computes_the_same_with_more_digits(part):
    inputs = part.inputs(2)
    expected = part.eval()(*inputs)
    found = part.double()(*(x.double() for x in inputs))
    assert {y.dtype for y in found} == {torch.float64}
    assert any(not torch.equal(y, x.double()) for x, y in zip(expected, found))
    torch.testing.assert_close(
        found, tuple(y.double() for y in expected), rtol=1e-4, atol=1e-4
    )


def test_bfloat16_autocast_computes_nearly_the_same(part):
    inputs = part.inputs(2)
    expected = part(*inputs)
    with torch.autocast('cpu', torch.bfloat16):
        left = training_step(part, *inputs)
    for x, y in zip(expected, left['outputs']):
        assert (x - y.float()).norm() < 0.05 * x.norm()
    assert {g.dtype for g in left['gradients'].values()} == {torch.float32}
    assert all(g.isfinite().all() for g in left['gradients'].values())


def test_in_eval_mode_samples_do_not_see_each_other(part):
    inputs = [x.double() for x in part.inputs(3)]
    together = part.double().eval()(*inputs)
    for i in range(3):
        alone = part(*(x[i : i + 1] for x in inputs))
        torch.testing.assert_close(alone, tuple(y[i : i + 1] for y in together))


def test_in_eval_mode_nothing_changes(part):
    before = copy.deepcopy(part.state_dict())
    inputs = part.inputs(2)
    first, second = part.eval()(*inputs), part(*inputs)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(part.state_dict(), before, rtol=0, atol=0)


def test_export_keeps_the_outputs_for_any_number_of_samples(part):
    part.eval()
    inputs = part.inputs(2)
    sizes = {0: torch.export.Dim('samples')}
    with torch.no_grad():
        exported = torch.export.export(
            part, inputs, dynamic_shapes=dict(inputs=tuple(sizes for _ in inputs))
        )
    more = part.inputs(5)
    torch.testing.assert_close(exported.module()(*more), part(*more))


@pytest.mark.slow
def test_compiled_a_step_is_the_same(part):
    inputs = part.inputs(2)
    expected = training_step(copy.deepcopy(part), *inputs)
    part.compile(backend='aot_eager', fullgraph=True)
    found = training_step(part, *inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

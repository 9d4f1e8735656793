"""Small networks with weights that matter, and what a training step leaves."""

import torch

from ldcrn_mm.models import LDCRN, LDCRNHead, PyramidFusionNeck

SMALL = dict(
    stem_channels=6,
    channels=(4, 6, 8),
    num_modules=(1, 1),
    num_blocks=2,
    num_layers=2,
    growth_rate=3,
)
SMALL_NECK = dict(in_channels=(4, 6, 8), skip_channels=(6, 4), out_channels=4)
SMALL_HEAD = dict(
    in_channels=4,
    out_channels=5,
    decoder=dict(
        type='MSRAHeatmap', input_size=(32, 48), heatmap_size=(8, 12), sigma=2
    ),
)


def small_backbone(**overrides):
    return randomise(LDCRN(**{**SMALL, **overrides}))


def small_neck(**overrides):
    return randomise(PyramidFusionNeck(**{**SMALL_NECK, **overrides}))


def small_head(**overrides):
    return randomise(LDCRNHead(**{**SMALL_HEAD, **overrides}))


def noise(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def randomise(module, seed=0):
    """Weights under which every sign, order and normalisation shows."""
    for i, (name, tensor) in enumerate(module.state_dict().items()):
        values = noise(*tensor.shape, seed=1000 * seed + i)
        if name.endswith('num_batches_tracked'):
            continue
        if tensor.dim() == 4:
            values = values * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith('running_var'):
            values = 0.5 + values.abs()
        else:
            values = values * 0.3 + name.endswith('weight')
        tensor.copy_(values)
    return module


def weights_of(module):
    """A copy of its tensors by name: the oracle's parameters before a step."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def as_tuple(outputs):
    return (outputs,) if torch.is_tensor(outputs) else tuple(outputs)


def training_step(module, *inputs):
    """Outputs, gradients of parameters and inputs, buffers after the step."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = as_tuple(module(*inputs))
    total = 0
    for i, y in enumerate(outputs):
        weights = noise(*y.shape, seed=77 + i, dtype=y.dtype)
        total = total + (y * weights).sum()
    total.backward()
    return dict(
        outputs=[y.detach() for y in outputs],
        input_gradients=[x.grad for x in inputs],
        gradients={n: p.grad for n, p in module.named_parameters()},
        buffers=dict(module.named_buffers()),
    )

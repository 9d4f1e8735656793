"""Recomputation in the backward pass that leaves batch statistics alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def frozen_running_stats(module: nn.Module) -> Iterator[None]:
    """What norms in ``module`` write to their running statistics is forgotten.

    They write to copies. Just to turn the statistics off would be no way:
    without them a batch norm saves fewer tensors for its backward pass, and
    PyTorch's checkpointing refuses a second pass that saves fewer.
    """
    kept = [(m, dict(m.named_buffers(recurse=False))) for m in module.modules()]
    for member, buffers in kept:
        for name, buffer in buffers.items():
            setattr(member, name, buffer.clone())
    try:
        yield
    finally:
        for member, buffers in kept:
            for name, buffer in buffers.items():
                setattr(member, name, buffer)


def recompute_in_backward(
    module: nn.Module,
    function: Callable[..., Tensor],
    *inputs: Tensor,
    enabled: bool = True,
) -> Tensor:
    """``function(*inputs)``, whose intermediate results are computed twice.

    Only the inputs are kept until the backward pass, which computes the rest
    again. In training mode that would move the running mean and variance of a
    batch norm twice a step, as happens in DenseNets that recompute naively
    [1]; here the second pass leaves them alone.

    Args:
        module: the module whose layers ``function`` runs. They must not draw
            random numbers.
        function: the part of its forward pass to recompute.
        *inputs: the tensors that are kept.
        enabled: ``False`` to compute once and keep everything, which is also
            what happens where no gradients are recorded.

    References:
        [1] Pleiss et al.: "Memory-efficient implementation of DenseNets",
            arXiv:1707.06990, section 3.
    """
    if not (enabled and torch.is_grad_enabled()):
        return function(*inputs)
    if torch.compiler.is_compiling():
        # The compiler takes no contexts, and needs none: in its graph the
        # update of running statistics is not part of what is recomputed.
        return checkpoint(function, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), frozen_running_stats(module)

    return checkpoint(
        function,
        *inputs,
        use_reentrant=False,
        context_fn=contexts,
        preserve_rng_state=False,
    )

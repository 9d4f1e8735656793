"""Recomputation in the backward pass that leaves batch statistics alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def frozen_running_stats(module: nn.Module) -> Iterator[None]:
    """Batch norms inside ``module`` leave their running statistics alone.

    In training mode they normalise with the statistics of the batch either
    way, so outputs and gradients are the same with and without.
    """
    tracking = [
        m for m in module.modules() if isinstance(m, _BatchNorm) and m.training
    ]
    tracking = [norm for norm in tracking if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


def recompute_in_backward(
    module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    """``function(x)``, whose intermediate results are computed a second time.

    A second pass through a batch norm in training mode would move its running
    mean and variance twice in one step, as happens in DenseNets that
    recompute naively; here the second pass freezes them [1].

    Args:
        module: the module whose layers ``function`` runs.
        function: the part of its forward pass to recompute.
        x: the input, the only tensor that is kept.

    References:
        [1] Pleiss et al.: "Memory-efficient implementation of DenseNets",
            arXiv:1707.06990, section 3.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), frozen_running_stats(module)

    return checkpoint(function, x, use_reentrant=False, context_fn=contexts)

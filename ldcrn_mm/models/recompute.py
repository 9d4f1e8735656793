"""Recomputation in the backward pass that updates running statistics only once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# torch.compiler has it since torch 2.3
compiler = torch.compiler if hasattr(torch.compiler, 'is_compiling') else torch._utils


class RecomputingSequential(nn.Sequential):
    """``nn.Sequential`` that can trade time for memory, two members at a time.

    In LDCRN a pair is a DCRM with the transition after it, or the two
    convolutions of the stem. Smaller parts keep more: both sides of a transition
    are as wide as the DCRM's output.

    Args:
        *members: the modules, run in this order. They must not draw random numbers.
        with_cp: keep only the input of each pair for the backward pass and compute
            the pair again there.
    """

    def __init__(self, *members: nn.Module, with_cp: bool = False) -> None:
        super().__init__(*members)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """Runs the members in turn."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return super().forward(x)
        members = list(self)
        for i in range(0, len(members), 2):
            x = recompute_in_backward(members[i : i + 2], x)
        return x


def recompute_in_backward(members: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Runs modules in turn, and once more in the backward pass.

    Only the input is kept. In training mode the second run would update the running
    statistics of a batch norm again, as in DenseNets that recompute naively [1].
    Here it leaves them alone.

    References:
        [1] Pleiss et al.: "Memory-efficient implementation of DenseNets",
            arXiv:1707.06990, section 3.
    """

    def run(x: Tensor) -> Tensor:
        for member in members:
            x = member(x)
        return x

    if compiler.is_compiling():
        # The compiler accepts no contexts and needs none: in its graph the update of
        # running statistics is not part of what is recomputed.
        return checkpoint(run, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), frozen_running_stats(members)

    return checkpoint(
        run, x, use_reentrant=False, context_fn=contexts, preserve_rng_state=False
    )


@contextmanager
def frozen_running_stats(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Discards what normalisation layers write to their running statistics.

    The layers write to copies. Switching the statistics off instead would fail:
    without them a batch norm saves fewer tensors for its backward pass, and
    PyTorch's checkpointing refuses a second run that saves fewer.
    """
    members = [member for module in modules for member in module.modules()]
    kept = [(member, dict(member.named_buffers(recurse=False))) for member in members]
    for member, buffers in kept:
        for name, buffer in buffers.items():
            setattr(member, name, buffer.clone())
    try:
        yield
    finally:
        for member, buffers in kept:
            for name, buffer in buffers.items():
                setattr(member, name, buffer)

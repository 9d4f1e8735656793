"""The DCRM for inference: its shortcuts merged, its concatenations avoided.

What a DCRM costs beside its multiply-adds are its narrow convolutions (12
outputs leave a quarter of a vector of 16 idle) and copies of its growing
input. The part of the shortcuts that sees the module's input needs nothing
else, so it is one wide convolution for all layers; what remains of them sees
only the few channels that the layers have added.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.dcrm import DCRM
from .folding import PreactConvOfParts, conv_from, fold_sequential, is_foldable


class DeployDCRMLayer(nn.Module):
    """A dense layer that is given what its shortcut makes of the module's input.

    Shape: the module's input ``(N, in_channels, H, W)``, the channels ``(N,
    grown, H, W)`` of the layers before, none for the first, and that share
    ``(N, growth_rate, H, W)`` to ``(N, growth_rate, H, W)``.

    Args:
        bottleneck: the layer's bottleneck, in evaluation mode.
        shortcut: the part of its folded shortcut that sees the grown channels.
        in_channels: channels of the module's input.
    """

    def __init__(
        self, bottleneck: nn.Sequential, shortcut: nn.ModuleList, in_channels: int
    ) -> None:
        super().__init__()
        norm, _, *rest = bottleneck
        reduce, *expand = fold_sequential(rest)
        grown = reduce.in_channels - in_channels
        self.reduce = PreactConvOfParts(
            norm, reduce, [in_channels, grown] if grown else [in_channels]
        )
        self.expand = nn.Sequential(*expand)
        self.shortcut = shortcut

    def forward(self, parts: list[Tensor], share: Tensor) -> Tensor:
        """The new channels; ``parts`` are the input and the grown channels."""
        for conv, grown in zip(self.shortcut, parts[1:]):
            share = share + conv(grown)
        return F.relu(share + self.expand(self.reduce(*parts)))


class DeployDCRM(nn.Module):
    """A DCRM in its deploy form.

    Shape: as the :class:`DCRM` that it is made from.

    Args:
        dcrm: the module as it was trained, in evaluation mode, with batch
            norms (:func:`can_deploy`).
    """

    def __init__(self, dcrm: DCRM) -> None:
        super().__init__()
        in_channels = dcrm.layers[0].shortcut[0].in_channels
        shortcuts = [fold_sequential(layer.shortcut)[0] for layer in dcrm.layers]
        self.growth_rates = [conv.out_channels for conv in shortcuts]
        self.shortcut = conv_from(
            torch.cat([conv.weight[:, :in_channels] for conv in shortcuts]),
            torch.cat([conv.bias for conv in shortcuts]),
        )
        self.layers = nn.ModuleList(
            DeployDCRMLayer(layer.bottleneck, _of_grown(conv, in_channels), in_channels)
            for layer, conv in zip(dcrm.layers, shortcuts)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input, followed by every layer's output."""
        grown: list[Tensor] = []
        shares = self.shortcut(x).split(self.growth_rates, dim=1)
        for layer, share in zip(self.layers, shares):
            parts = [x, concatenate(grown)] if grown else [x]
            grown.append(layer(parts, share))
        return concatenate([x, *grown])


def can_deploy(dcrm: DCRM) -> bool:
    """Whether all norms of a module are batch norms with running statistics."""
    return all(
        is_foldable(member)
        for layer in dcrm.layers
        for member in (*layer.bottleneck, *layer.shortcut)
        if not isinstance(member, nn.Conv2d | nn.ReLU)
    )


def concatenate(maps: list[Tensor]) -> Tensor:
    """Maps of one size as one; a single map is returned as it is, uncopied."""
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)


def _of_grown(shortcut: nn.Conv2d, in_channels: int) -> nn.ModuleList:
    """The part of a shortcut that sees more than the module's input, if any."""
    weight = shortcut.weight[:, in_channels:]
    return nn.ModuleList([conv_from(weight, None)] if weight.shape[1] else [])

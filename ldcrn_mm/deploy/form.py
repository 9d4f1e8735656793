"""The deploy form of LDCRN: the same outputs from fewer and larger operations.

Two things make a trained DCRM slow beside its multiply-adds: convolutions with few
outputs (12 outputs leave a quarter of a vector of 16 idle) and copies of its growing
input. In the deploy form one wide convolution computes the part of all shortcuts that
sees the input of the module, nothing is concatenated before a convolution, and batch
norms are folded into the convolutions before them.
"""

import copy
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..models.dcrm import DCRM


def deploy_form(model: nn.Module) -> nn.Module:
    """Copies a model into a form that is faster and cannot be trained.

    Outputs agree up to rounding. A pose estimator still works with MMPose's API. Its
    weights get other names, so build the deploy form from the trained model each time
    instead of saving it.

    Args:
        model: a model with LDCRN in it, which is not changed.

    Raises:
        ValueError: if the model has no DCRM.
    """
    if not any(isinstance(module, DCRM) for module in model.modules()):
        raise ValueError(
            f'{type(model).__name__} has no DCRM: the deploy form is for LDCRN. '
            'Export other networks without it.'
        )
    form = copy.deepcopy(model).eval().requires_grad_(False)
    _rewrite(form)
    return form.requires_grad_(False).eval()


def _rewrite(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, DCRM):
            if can_deploy(child):
                setattr(module, name, DeployDCRM(child))
        elif type(child) is nn.Sequential:
            _rewrite(child)
            setattr(module, name, fold_sequential(child))
        else:
            _rewrite(child)


class DeployDCRM(nn.Module):
    """A DCRM in its deploy form.

    Shape: as :class:`~ldcrn_mm.models.DCRM`.

    Args:
        dcrm: the trained module, in evaluation mode, for which :func:`can_deploy`
            is true.
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
        """The input, followed by the output of every layer."""
        grown: list[Tensor] = []
        shares = self.shortcut(x).split(self.growth_rates, dim=1)
        for layer, share in zip(self.layers, shares):
            parts = [x, torch.cat(grown, dim=1)] if len(grown) > 1 else [x, *grown]
            grown.append(layer(parts, share))
        return torch.cat([x, *grown], dim=1)


class DeployDCRMLayer(nn.Module):
    """A dense layer of a :class:`DeployDCRM`.

    Shape: the input of the module ``(N, in_channels, H, W)`` and the channels
    ``(N, grown, H, W)`` of the layers before (none for the first layer), and the
    share of the shortcut that sees the input, ``(N, growth_rate, H, W)``, to
    ``(N, growth_rate, H, W)``.

    Args:
        bottleneck: the bottleneck of the layer, in evaluation mode.
        shortcut: the part of its folded shortcut that sees the grown channels.
        in_channels: channels of the input of the module.
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
        """The new channels from ``parts``, the input and the grown channels."""
        for conv, grown in zip(self.shortcut, parts[1:]):
            share = share + conv(grown)
        return F.relu(share + self.expand(self.reduce(*parts)))


def _of_grown(shortcut: nn.Conv2d, in_channels: int) -> nn.ModuleList:
    """The part of a shortcut that sees more than the input of the module, if any."""
    weight = shortcut.weight[:, in_channels:]
    return nn.ModuleList([conv_from(weight, None)] if weight.shape[1] else [])


def can_deploy(dcrm: DCRM) -> bool:
    """Whether all norms of a module are batch norms with running statistics."""
    return all(
        is_foldable(member)
        for layer in dcrm.layers
        for member in (*layer.bottleneck, *layer.shortcut)
        if not isinstance(member, nn.Conv2d | nn.ReLU)
    )


class PreactConvOfParts(nn.Module):
    """BN, ReLU and convolution of concatenated maps, without the concatenation.

    The convolution of a concatenation is the sum of the convolutions of its parts.
    The norm and the ReLU work on each channel alone.

    Shape: maps ``(N, widths[i], H, W)`` to ``(N, out_channels, H, W)``.

    Args:
        norm: the norm of all maps, foldable.
        conv: the convolution of all maps.
        widths: channels of each map.
    """

    def __init__(self, norm: _BatchNorm, conv: nn.Conv2d, widths: list[int]) -> None:
        super().__init__()
        ends = [0, *torch.tensor(widths).cumsum(0).tolist()]
        self.parts = nn.ModuleList(
            nn.Sequential(
                norm_of_channels(norm, start, stop),
                nn.ReLU(inplace=True),
                conv_from(
                    conv.weight[:, start:stop], conv.bias if start == 0 else None
                ),
            )
            for start, stop in pairwise(ends)
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """The sum over the parts."""
        first, *others = (part(x) for part, x in zip(self.parts, maps))
        return sum(others, first)


def is_foldable(norm: nn.Module) -> bool:
    """Whether a layer is one scale and one shift per channel in evaluation mode."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def fold_sequential(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Folds each batch norm that follows a convolution into it.

    Args:
        layers: the members of an ``nn.Sequential``, in evaluation mode.
    """
    folded: list[nn.Module] = []
    for layer in layers:
        if is_foldable(layer) and folded and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


def norm_of_channels(norm: _BatchNorm, start: int, stop: int) -> nn.BatchNorm2d:
    """The batch norm of a range of the channels of a batch norm."""
    part = nn.BatchNorm2d(stop - start, eps=norm.eps, affine=norm.affine)
    part.to(norm.running_mean)  # the dtype first, so that no value is rounded
    values = part.state_dict()
    values.update(
        (name, value[start:stop])
        for name, value in norm.state_dict().items()
        if value.dim()
    )
    part.load_state_dict(values)
    return part.eval()


def conv_from(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution with these weights, stride 1 and the padding that keeps H and W."""
    out_channels, in_channels, size, _ = weight.shape
    conv = nn.Conv2d(
        in_channels, out_channels, size, padding=size // 2, bias=bias is not None
    )
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv

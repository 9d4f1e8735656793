"""The deploy form of LDCRN: the same outputs from fewer and larger operations.

Two things make a trained DCRM slow beside its multiply-adds: convolutions with few
outputs (12 outputs leave a quarter of a vector of 16 idle) and copies of its growing
input. In the deploy form one wide convolution computes the part of all shortcuts that
sees the input of the module, nothing is concatenated before a convolution, and batch
norms are folded into the convolutions before them.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..models.dcrm import DCRM, DCRMLayer
from .winograd import use_winograd


def deploy_form(model: nn.Module, suffix: str | None = None) -> nn.Module:
    """Copies a model into a form that is faster and cannot be trained.

    Outputs agree up to rounding. A pose estimator still works with MMPose's API. Its
    weights get other names, so build the deploy form from the trained model each time
    instead of saving it.

    Args:
        model: a model with LDCRN in it, which is not changed.
        suffix: of the float32 file that it is exported to, ``'.onnx'`` or ``'.xml'``:
            wide convolutions are computed as is fastest there, see ``winograd``.

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
    if suffix:
        use_winograd(form, suffix)
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
        shortcuts = [fold_sequential(layer.shortcut)[0] for layer in dcrm.layers]
        width = shortcuts[0].in_channels
        self.growth_rates = [conv.out_channels for conv in shortcuts]
        self.shortcut = conv_from(
            torch.cat([conv.weight[:, :width] for conv in shortcuts]),
            torch.cat([conv.bias for conv in shortcuts]),
        )
        self.layers = nn.ModuleList(
            DeployDCRMLayer(layer, conv.weight[:, width:])
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
    """A dense layer of a :class:`DeployDCRM`, without concatenation before it.

    A convolution of concatenated maps is the sum of the convolutions of its parts. The
    norm and the ReLU before it work on each channel alone.

    Shape: the input of the module ``(N, in_channels, H, W)`` and the channels
    ``(N, grown, H, W)`` of the layers before (none for the first layer), and the
    share of the shortcut that sees the input, ``(N, growth_rate, H, W)``, to
    ``(N, growth_rate, H, W)``.

    Args:
        layer: the trained layer, in evaluation mode.
        shortcut: the weights of its folded shortcut that see the grown channels.
    """

    def __init__(self, layer: DCRMLayer, shortcut: Tensor) -> None:
        super().__init__()
        norm, relu, *rest = layer.bottleneck
        reduce, *expand = fold_sequential(rest)
        self.expand = nn.Sequential(*expand)
        cut = norm.num_features - shortcut.shape[1]
        ends = [(0, cut), (cut, norm.num_features)] if shortcut.shape[1] else [(0, cut)]
        self.reduce = nn.ModuleList(
            nn.Sequential(
                norm_of_channels(norm, start, stop),
                copy.deepcopy(relu),
                conv_from(reduce.weight[:, start:stop], None if start else reduce.bias),
            )
            for start, stop in ends
        )
        self.shortcut = nn.ModuleList([conv_from(shortcut, None)] if ends[1:] else [])

    def forward(self, parts: list[Tensor], share: Tensor) -> Tensor:
        """The new channels from ``parts``, the input and the grown channels."""
        for conv, grown in zip(self.shortcut, parts[1:]):
            share = share + conv(grown)
        narrow, *others = (conv(part) for conv, part in zip(self.reduce, parts))
        return F.relu(share + self.expand(sum(others, narrow)))


def can_deploy(dcrm: DCRM) -> bool:
    """Whether all norms of a module are batch norms with running statistics."""
    return all(
        isinstance(member, nn.Conv2d | nn.ReLU) or is_foldable(member)
        for layer in dcrm.layers
        for member in (*layer.bottleneck, *layer.shortcut)
    )


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
    values = norm.state_dict()
    values.pop('num_batches_tracked')
    part.load_state_dict({n: v[start:stop] for n, v in values.items()}, strict=False)
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

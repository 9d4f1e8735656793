"""The deploy form of LDCRN: the same outputs from fewer and larger operations.

Three things make a trained DCRM slow beside its multiply-adds: convolutions with few
outputs (12 outputs leave a quarter of a vector of 16 idle), copies of its growing
input, and batch norms before convolutions. In the deploy form one wide convolution
computes the part of all shortcuts that sees the input of the module, nothing large is
concatenated before a convolution, and batch norms are folded into the convolutions
before them where there are some.
"""

import copy
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..models.dcrm import DCRM, DCRMLayer
from .winograd import RULES, Rule, is_plain, pays, use_winograd

# Channels of a map are multiples of this many in ONNX Runtime's own memory layout for
# floating point. Other maps are copied to the usual layout and back.
ALIGNMENT = {'.onnx': 16}


def deploy_form(
    model: nn.Module, suffix: str | None = None, precision: str = 'fp32'
) -> nn.Module:
    """Copies a model into a form that is faster and cannot be trained.

    Outputs agree up to rounding. A pose estimator still works with MMPose's API. Its
    weights get other names, so build the deploy form from the trained model each time
    instead of saving it.

    Args:
        model: a model with LDCRN in it, which is not changed.
        suffix: of the file that it is exported to, ``'.onnx'`` or ``'.xml'``. The form
            is what is fastest in that file's runtime.
        precision: of the file. In ``'fp32'`` wide convolutions are computed by
            minimal filtering, see ``winograd``. For ``'int8'`` in OpenVINO the layers
            stay as trained, which is faster there.

    Raises:
        ValueError: if the model has no DCRM.
    """
    if not any(isinstance(module, DCRM) for module in model.modules()):
        raise ValueError(
            f'{type(model).__name__} has no DCRM: the deploy form is for LDCRN. '
            'Export other networks without it.'
        )
    form = copy.deepcopy(model).eval()
    rule = RULES.get(suffix) if precision == 'fp32' else None
    if (suffix, precision) != ('.xml', 'int8'):
        _rewrite(form, 1 if precision == 'int8' else ALIGNMENT.get(suffix, 1), rule)
    if rule:
        use_winograd(form, rule)
    return form.requires_grad_(False).eval()


def _rewrite(module: nn.Module, alignment: int, rule: Rule | None) -> None:
    children = list(module.named_children())
    for (name, child), (after, following) in zip(children, [*children[1:], ('', None)]):
        if child is not getattr(module, name):  # a transition that was taken
            continue
        if isinstance(child, DCRM):
            if not can_deploy(child):
                continue
            transition = None
            if isinstance(module, nn.Sequential) and is_transition(following):
                transition = following
                setattr(module, after, nn.Identity())
            setattr(module, name, DeployDCRM(child, transition, alignment, rule))
        elif type(child) is nn.Sequential:
            _rewrite(child, alignment, rule)
            setattr(module, name, fold_sequential(child))
        else:
            _rewrite(child, alignment, rule)


class DeployDCRM(nn.Module):
    """A DCRM in its deploy form, with the transition that follows it.

    The transition is the sum of a convolution of the input and one of the grown
    channels, whose norm is folded into the convolution that collects them, if there is
    one. A transition by minimal filtering is one convolution.

    Shape: as :class:`~ldcrn_mm.models.DCRM`, or as the transition after it.

    Args:
        dcrm: the trained module, in evaluation mode, for which :func:`can_deploy`
            is true.
        transition: the norm, ReLU and convolution that its output goes through.
        alignment: the new channels of each layer are filled with zeros up to a
            multiple of this number.
        rule: for minimal filtering.
    """

    def __init__(
        self,
        dcrm: DCRM,
        transition: nn.Sequential | None = None,
        alignment: int = 1,
        rule: Rule | None = None,
    ) -> None:
        super().__init__()
        shortcuts = [fold_sequential(layer.shortcut)[0] for layer in dcrm.layers]
        width, growth = shortcuts[0].in_channels, shortcuts[0].out_channels
        aligned = math.ceil(growth / alignment) * alignment
        self.growth_rate = growth
        self.shortcut = conv_from(
            torch.cat([conv.weight[:, :width] for conv in shortcuts]),
            torch.cat([conv.bias for conv in shortcuts]),
        )
        self.layers = nn.ModuleList(
            DeployDCRMLayer(layer, conv.weight[:, width:], aligned)
            for layer, conv in zip(dcrm.layers, shortcuts)
        )
        # The shares of the layers, and all grown channels, by 1x1 convolutions
        self.select, collect = nn.ModuleList(), nn.Sequential()
        if aligned > growth:
            channels = torch.eye(growth * len(shortcuts)).to(self.shortcut.weight)
            places = spread(channels, growth, aligned, 0)[..., None, None]
            self.select.extend(conv_from(x, None) for x in places.split(aligned))
            collect.append(conv_from(places.transpose(0, 1), None).eval())
        self.before, self.transition = nn.Sequential(), nn.ModuleList()
        if transition is not None:
            norm, relu, conv = transition
            self.before = nn.Sequential(norm_of_channels(norm, 0, width), relu)
            after = norm_of_channels(norm, width, norm.num_features)
            collect = fold_sequential([*collect, after])
            collect.append(copy.deepcopy(relu))
            parts = [conv]
            if not (rule and pays(conv, rule)):
                parts = [
                    conv_from(conv.weight[:, :width], conv.bias),
                    conv_from(conv.weight[:, width:], None),
                ]
            self.transition.extend(parts)
        self.collect = collect

    def forward(self, x: Tensor) -> Tensor:
        """The input, followed by the output of every layer, or the transition's."""
        grown: list[Tensor] = []
        shares = self.shortcut(x)
        if self.select:
            shares = [select(shares) for select in self.select]
        else:
            shares = shares.split(self.growth_rate, dim=1)
        for layer, share in zip(self.layers, shares):
            parts = [x, torch.cat(grown, dim=1)] if len(grown) > 1 else [x, *grown]
            grown.append(layer(parts, share))
        parts = [self.before(x), self.collect(torch.cat(grown, dim=1))]
        if len(self.transition) != 2:
            parts = [torch.cat(parts, dim=1)]
        if not self.transition:
            return parts[0]
        first, *others = (conv(part) for conv, part in zip(self.transition, parts))
        return sum(others, first)


class DeployDCRMLayer(nn.Module):
    """A dense layer of a :class:`DeployDCRM`, without concatenation before it.

    A convolution of concatenated maps is the sum of the convolutions of its parts. The
    norm and the ReLU before it work on each channel alone.

    Shape: the input of the module ``(N, in_channels, H, W)`` and the channels
    ``(N, grown, H, W)`` of the layers before (none for the first layer), and the
    share of the shortcut that sees the input, ``(N, aligned, H, W)``, to
    ``(N, aligned, H, W)``.

    Args:
        layer: the trained layer, in evaluation mode.
        shortcut: the weights of its folded shortcut that see the grown channels.
        aligned: channels of the output. Those beyond the growth rate are zeros, in the
            output and in each of the grown maps.
    """

    def __init__(self, layer: DCRMLayer, shortcut: Tensor, aligned: int) -> None:
        super().__init__()
        norm, relu, *rest = layer.bottleneck
        reduce, *middle, expand = fold_sequential(rest)
        growth, grown = shortcut.shape[:2]
        width = norm.num_features - grown
        weight, bias = reduce.weight, reduce.bias
        parts = [(norm_of_channels(norm, 0, width), weight[:, :width], bias)]
        self.shortcut = nn.ModuleList()
        if grown:
            after = norm_of_channels(norm, width, norm.num_features, growth, aligned)
            parts.append((after, spread(weight[:, width:], growth, aligned, 1), None))
            shortcut = spread(spread(shortcut, growth, aligned, 0), growth, aligned, 1)
            self.shortcut.append(conv_from(shortcut, None))
        self.reduce = nn.ModuleList(
            nn.Sequential(norm, copy.deepcopy(relu), conv_from(weight, bias))
            for norm, weight, bias in parts
        )
        expand = conv_from(spread(expand.weight, growth, aligned, 0), None)
        self.expand = nn.Sequential(*middle, expand)

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


def is_transition(module: nn.Module | None) -> bool:
    """Whether a module is a batch norm, a ReLU and a plain 3x3 convolution."""
    if type(module) is not nn.Sequential or len(module) != 3:
        return False
    norm, relu, conv = module
    return is_foldable(norm) and isinstance(relu, nn.ReLU) and is_plain(conv)


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


def norm_of_channels(
    norm: _BatchNorm, start: int, stop: int, size: int = 1, aligned: int = 1
) -> nn.BatchNorm2d:
    """The batch norm of a range of the channels of a batch norm, see :func:`spread`.

    It maps the channels that are added to zero.
    """
    values = norm.state_dict()
    values.pop('num_batches_tracked')
    values = {n: spread(v[start:stop], size, aligned, 0) for n, v in values.items()}
    num_features = len(values['running_mean'])
    part = nn.BatchNorm2d(num_features, eps=norm.eps, affine=norm.affine)
    part.to(norm.running_mean)  # the dtype first, so that no value is rounded
    part.load_state_dict(values, strict=False)
    return part.eval()


def spread(x: Tensor, size: int, aligned: int, dim: int) -> Tensor:
    """Fills each ``size`` entries of a dimension with zeros up to ``aligned``."""
    groups = x.unflatten(dim, (-1, size)).movedim(dim + 1, -1)
    return F.pad(groups, (0, aligned - size)).movedim(-1, dim + 1).flatten(dim, dim + 1)


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

"""Muon for convolutional networks: fewer samples for the same loss than Adam.

PyTorch's own ``torch.optim.Muon`` takes matrices only, and a convolution's
weight has four dimensions.

References:
    Jordan et al.: "Muon: an optimizer for hidden layers in neural networks", 2024.
    Kingma, Ba: "Adam: a method for stochastic optimization", ICLR 2015.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

# Five steps of Jordan's quintic take singular values in [0.01, 1] to about [0.7, 1.2].
# Muon needs no more precision.
QUINTIC = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
LR = 5e-3


def orthogonalized(matrices: Tensor) -> Tensor:
    """Brings all singular values of matrices near 1.

    Args:
        matrices: (B, M, N).

    Returns:
        Approximately ``U @ V.mT`` of their singular value decompositions, (B, M, N).
    """
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    # Polynomials of x @ x.mT commute. So the steps need this small square only, and
    # their product is applied once to the long matrix.
    square = x @ x.mT
    identity = torch.eye(x.size(1), dtype=x.dtype, device=x.device).expand_as(square)
    a, b, c = QUINTIC
    product = identity
    for _ in range(NUM_ITERATIONS):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c).add_(
            identity, alpha=a
        )
        product = factor @ product
        square = factor @ square @ factor
    x = product @ x
    return x.mT if tall else x


@OPTIMIZERS.register_module()
class ConvMuon(Optimizer):
    """Muon for the weights of convolutions, Adam for everything else.

    A weight is the matrix of its filters, (C_out, C_in * K_h * K_w). Its step is the
    orthogonalised momentum of its gradient. The size of that step depends on the
    matrix's shape only, so it suits layers whose output is normalised.

    Args:
        params: parameters or groups of them. Groups with ``orthogonalize=True`` are
            for Muon, others for Adam. :class:`ConvMuonOptimWrapperConstructor` makes
            the two groups.
        lr: default learning rate of the groups.
        momentum: decay of Muon's average of gradients (with Nesterov's step).
        betas: Adam's decays.
        eps: Adam's term against division by zero.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = LR,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(
            params,
            dict(lr=lr, momentum=momentum, betas=betas, eps=eps, orthogonalize=False),
        )

    @torch.no_grad()
    def step(self) -> None:
        """Updates the parameters that have a gradient."""
        for group in self.param_groups:
            params = [p for p in group['params'] if p.grad is not None]
            if group['orthogonalize']:
                self._muon(params, group)
            else:
                self._adam(params, group)

    def _muon(self, params: list[Tensor], group: dict) -> None:
        """Orthogonalises all matrices of one shape at once, which is faster."""
        alike = defaultdict(list)
        for param in params:
            alike[param.size(0), param[0].numel()].append(param)
        for (rows, columns), weights in alike.items():
            matrices = [
                self._nesterov(weight, group['momentum']).reshape(rows, columns)
                for weight in weights
            ]
            lr = group['lr'] * max(1, rows / columns) ** 0.5
            for weight, update in zip(weights, orthogonalized(torch.stack(matrices))):
                weight.sub_(update.view(weight.shape), alpha=lr)

    def _nesterov(self, param: Tensor, momentum: float) -> Tensor:
        state = self.state[param]
        if not state:
            state['average'] = torch.zeros_like(param)
        state['average'].lerp_(param.grad, 1 - momentum)
        return param.grad.lerp(state['average'], momentum)

    def _adam(self, params: list[Tensor], group: dict) -> None:
        beta1, beta2 = group['betas']
        for param in params:
            state = self.state[param]
            if not state:
                state.update(
                    average=torch.zeros_like(param),
                    square=torch.zeros_like(param),
                    steps=0,
                )
            state['steps'] += 1
            state['average'].lerp_(param.grad, 1 - beta1)
            state['square'].lerp_(param.grad.square(), 1 - beta2)
            scale = 1 - beta1 ** state['steps']
            root = math.sqrt(1 - beta2 ** state['steps'])
            spread = state['square'].sqrt().div_(root).add_(group['eps'])
            param.addcdiv_(state['average'], spread, value=-group['lr'] / scale)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ConvMuonOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Selects the parameters of a model that :class:`ConvMuon` orthogonalises.

    These are the weights of convolutions without bias, since a normalisation follows
    them. Depthwise ones are left out, since their filters share no input, and so is
    the head's last convolution, which has a bias and whose scale counts.

    The config's ``optimizer`` has ``type='ConvMuon'``, its arguments, and
    ``adam_lr``, the learning rate of the other parameters. ``paramwise_cfg`` is
    MMEngine's: ``lr_mult`` multiplies either learning rate. There is no weight decay.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Builds the optimizer of a model and its wrapper.

        Raises:
            ValueError: the optimizer is another, or ``adam_lr`` is missing.
        """
        optimizer = dict(self.optimizer_cfg)
        adam_lr = optimizer.pop('adam_lr', None)
        if optimizer['type'] not in ('ConvMuon', ConvMuon) or adam_lr is None:
            raise ValueError(
                f"{type(self).__name__} expects optimizer=dict(type='ConvMuon', "
                f'adam_lr=1e-3, ...), got {self.optimizer_cfg}.'
            )
        lrs = {True: optimizer.get('lr', LR), False: adam_lr}
        optimizer['params'] = self._groups(getattr(model, 'module', model), lrs)
        wrapper = dict(type='OptimWrapper') | self.optim_wrapper_cfg
        return OPTIM_WRAPPERS.build(
            wrapper, default_args=dict(optimizer=OPTIMIZERS.build(optimizer))
        )

    def _groups(self, model: nn.Module, lrs: dict[bool, float]) -> list[dict[str, Any]]:
        """One group for all parameters with the same settings, Muon's groups first."""
        self.base_lr = 1.0  # so that `add_params` writes factors
        hidden = {id(weight) for weight in weights_before_normalisation(model)}
        single: list[dict[str, Any]] = []
        self.add_params(single, model)
        groups: dict[str, dict[str, Any]] = {}
        for settings in sorted(single, key=lambda x: id(x['params'][0]) not in hidden):
            params = settings.pop('params')
            is_hidden = id(params[0]) in hidden
            settings['lr'] = lrs[is_hidden] * settings.pop('lr', 1.0)
            settings['orthogonalize'] = is_hidden
            group = groups.setdefault(str(sorted(settings.items())), settings)
            group.setdefault('params', []).extend(params)
        return [*groups.values()]


def weights_before_normalisation(model: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions without bias that are not depthwise."""
    return [
        layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.bias is None and layer.groups == 1
    ]

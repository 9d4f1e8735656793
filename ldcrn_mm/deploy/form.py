"""From a trained model to its deploy form."""

import copy

from torch import nn

from ..models.dcrm import DCRM
from .dense import DeployDCRM, can_deploy
from .folding import fold_sequential


def deploy_form(model: nn.Module) -> nn.Module:
    """A copy of a model that computes the same, faster, and cannot be trained.

    Batch norms are folded into the convolutions before them; those after a
    concatenation, which nothing can take, stay. The DCRMs become
    :class:`DeployDCRM`. Outputs agree up to rounding. A pose estimator stays
    one: it predicts through MMPose's API as before; its weights have other
    names, so it is made from the trained model each time, not saved.

    Args:
        model: anything with LDCRN in it; it is left as it is.

    Raises:
        ValueError: where there is no DCRM in it.
    """
    if not any(isinstance(module, DCRM) for module in model.modules()):
        raise ValueError(
            f'{type(model).__name__} has no DCRM: the deploy form is for LDCRN. '
            'Other networks are exported as they are.'
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

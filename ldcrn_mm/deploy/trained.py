"""The estimator to export, from its config and checkpoint."""

from typing import TypeVar

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from torch import nn

from ..checkpoint import load_weights, read_checkpoint
from ..models import DCRM
from . import deploy_form

Model = TypeVar('Model', bound=nn.Module)


def load_estimator(cfg: Config, checkpoint: str) -> BasePoseEstimator:
    """Builds the model of a config, on CPU, in evaluation mode.

    Args:
        cfg: the config.
        checkpoint: path or address of its weights.

    Raises:
        FileNotFoundError, ValueError: where the checkpoint cannot be read or
            is not of this config.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    model = MODELS.build(cfg.model)
    load_weights(model, read_checkpoint(checkpoint), checkpoint)
    return model.eval()


def form_to_export(model: Model) -> Model:
    """The deploy form of an LDCRN; any other network as it is."""
    if any(isinstance(module, DCRM) for module in model.modules()):
        return deploy_form(model)
    return model

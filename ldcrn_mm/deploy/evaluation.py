"""What a checkpoint or an exported file is worth on a config's validation set."""

import contextlib
import copy
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config
from mmengine.runner import Runner

from . import is_exported, use_exported


def evaluate(cfg: Config, weights: str) -> dict[str, float]:
    """The metrics of the validation, flip test and all.

    Args:
        cfg: the config; stays as it is.
        weights: checkpoint or exported file.

    Returns:
        Values by the names of the metrics, such as ``'coco/AP'``.
    """
    cfg = _for_testing(cfg)
    if is_exported(weights):
        cfg.model = use_exported(cfg.model, weights)
    else:
        cfg.load_from = weights
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        cfg.work_dir, cfg.experiment_name = folder, Path(folder).name
        return Runner.from_cfg(cfg).test()


def _for_testing(cfg: Config) -> Config:
    """The validation as a test, with nothing to train, log or draw."""
    cfg = copy.deepcopy(cfg)
    cfg.test_cfg = cfg.val_cfg
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    for key in ('cfg', 'dataloader', 'evaluator'):
        cfg[f'val_{key}'] = None
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.load_from = cfg.auto_scale_lr = cfg.visualizer = None
    cfg.custom_hooks = []
    cfg.log_level = 'WARNING'
    return cfg

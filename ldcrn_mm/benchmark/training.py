"""Steps of training, in the settings that save time or memory."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS, TRANSFORMS
from torch import nn

from ..training.launch import use_mixed_precision
from .networks import load_config
from .record import add_results, describe_run
from .rounds import Schedule, compare
from .worker import Call, Contender

# As the flags of tools/train.py and the model's argument are called; `compile`
# is MMEngine's setting of this name.
PLAIN, OPTIONS = 'plain', ('amp', 'channels-last', 'compile', 'with-cp')
DEFAULT = (PLAIN, *OPTIONS, 'amp+channels-last', 'amp+channels-last+with-cp')


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Attributes:
        ways: :data:`PLAIN`, or some of :data:`OPTIONS` joined by ``+``.
        batch_size: people a step; by default the config's.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        ValueError: where there is no such way.
    """

    ways: Sequence[str] = DEFAULT
    batch_size: int | None = None
    device: str = 'cpu'

    def __post_init__(self) -> None:
        for way in self.ways:
            for option in () if way == PLAIN else way.split('+'):
                if option not in OPTIONS:
                    raise ValueError(
                        f'There is no way {option!r} to train. Expected {PLAIN}, or '
                        f'some of {", ".join(OPTIONS)}, joined by +.'
                    )


def measure(model: str, settings: Settings, schedule: Schedule) -> dict:
    """Times training steps of one network in several settings in turn.

    Args:
        model: name or path of its config.
        settings: the ways to train; the others are compared with the first.
        schedule: how often and how long to time.

    Returns:
        The record, as it goes into JSON.

    Raises:
        FileNotFoundError: where there is no such config.
    """
    config = load_config(model)
    batch_size = settings.batch_size or config.train_dataloader.batch_size
    everything = asdict(settings) | asdict(schedule) | dict(batch_size=batch_size)
    record = describe_run('training', everything, settings.device)
    contenders = [
        Contender(
            way,
            build,
            dict(config=model, way=way, batch_size=batch_size, device=settings.device),
            ('step',),
            settings.device,
        )
        for way in settings.ways
    ]
    add_results(record, compare(contenders, schedule))
    return record


def build(config: str, way: str, batch_size: int, device: str) -> Callable[[str], Call]:
    """Makes the call that does a training step."""
    cfg = load_config(config)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    batch = random_batch(cfg, batch_size)  # before: it has to be the same for all
    options = way.split('+')
    if 'with-cp' in options:
        cfg.model.backbone.with_cp = True
    if 'amp' in options:
        use_mixed_precision(cfg)
    model = build_model(cfg, device)
    if 'channels-last' in options:
        model = model.to(memory_format=torch.channels_last)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    step = model.train_step
    if 'compile' in options:
        step = torch.compile(step)
    return lambda case: partial(step, batch, optim_wrapper=optim_wrapper)


def build_model(cfg: Config, device: str) -> nn.Module:
    """The config's model, initialised by the config, but with nothing downloaded."""
    torch.manual_seed(0)
    if (cfg.model.backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(device).train()


def random_batch(cfg: Config, batch_size: int) -> dict:
    """Pictures of noise and random keypoints, in the training's form.

    The config's own pipeline makes the targets and packs them.

    Raises:
        ValueError: where the pipeline makes no targets.
    """
    pipeline = cfg.train_dataloader.dataset.pipeline
    kinds = [step['type'] for step in pipeline]
    if 'GenerateTarget' not in kinds:
        raise ValueError(
            'Expected a training pipeline with GenerateTarget, but it has '
            f'{", ".join(kinds)}.'
        )
    tail = Compose(
        [TRANSFORMS.build(step) for step in pipeline[kinds.index('GenerateTarget') :]]
    )
    random = np.random.default_rng(0)
    width, height = cfg.model.head.decoder.input_size
    draw = partial(_random_person, random, width, height, cfg.model.head.out_channels)
    return pseudo_collate([tail(draw()) for _ in range(batch_size)])


def _random_person(
    random: np.random.Generator, width: int, height: int, num_keypoints: int
) -> dict:
    """What a pipeline holds of a person after the affine transform."""
    keypoints = random.uniform((0, 0), (width, height), (1, num_keypoints, 2))
    keypoints = keypoints.astype(np.float32)
    visible = np.ones((1, num_keypoints), np.float32)
    return dict(
        img=random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        img_path='',
        id=0,
        img_id=0,
        ori_shape=(height, width),
        img_shape=(height, width),
        input_size=(width, height),
        input_center=np.array([width / 2, height / 2], np.float32),
        input_scale=np.array([width, height], np.float32),
        keypoints=keypoints,
        transformed_keypoints=keypoints,
        keypoints_visible=visible,
        flip_indices=list(range(num_keypoints)),
        dataset_keypoint_weights=np.ones(num_keypoints, np.float32),
        bbox=np.array([[0, 0, width, height]], np.float32),
        bbox_score=np.ones(1, np.float32),
        bbox_center=np.array([[width / 2, height / 2]], np.float32),
        bbox_scale=np.array([[width, height]], np.float32),
        category_id=np.array([1]),
    )

"""What our pipelines draw against what the original draws, sample by sample."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from scipy.stats import ks_2samp

DRAWS = 5000
KS_BOUND = 1.95 * np.sqrt(2 / DRAWS)  # exceeded by chance once in a thousand
IMAGE_WIDTH, IMAGE_HEIGHT = 640, 480
COCO_UPPER_BODY = range(11)  # nose to wrists


@dataclass(frozen=True)
class Recipe:
    """The original's augmentation, as its configuration files state it."""

    aspect: float
    scale_sigma: float
    rotation_sigma: float
    half_body: bool
    padding: float = 1.25


RECIPES = dict(
    coco=Recipe(3 / 4, scale_sigma=0.35, rotation_sigma=45, half_body=True),
    mpii=Recipe(1, scale_sigma=0.25, rotation_sigma=30, half_body=False),
)
# Which of COCO's 17 joints are visible: all; too few for a half body; hardly any of
# the lower half, so that the upper one is always taken; as few as can be of the upper.
VISIBLE = dict(
    all=range(17),
    eight=range(4, 12),
    upper=[*range(8), 11, 12],
    lower=[0, 5, 6, *range(11, 17)],
)


@dataclass(frozen=True)
class Person:
    keypoints: np.ndarray  # (K, 2), pixels
    visible: np.ndarray  # (K,)
    center: np.ndarray
    size: np.ndarray


def person(joints: int, visible: list[int]) -> Person:
    keypoints = np.random.RandomState(7).uniform((150, 60), (330, 420), (joints, 2))
    flags = np.isin(np.arange(joints), visible).astype(np.float32)
    low, high = keypoints.min(axis=0) - 9, keypoints.max(axis=0) + 9
    return Person(keypoints.astype(np.float32), flags, (low + high) / 2, high - low)


def original_draw(
    random: np.random.RandomState, who: Person, recipe: Recipe
) -> tuple[float, ...]:
    """Flipped or not, centre, width and rotation of one crop of the original.

    The rules are those of the table of the recipe, and HRNet's for half bodies:
    more than 8 joints visible, probability 0.3; the upper one is preferred where
    N(0, 1) < 0.5 and taken if it has more than 2 joints, else the lower one if
    that has, else the upper; its box, padded by 1.5, has its centre at the mean
    of the joints.
    """
    center, size = who.center.copy(), who.size * recipe.padding
    several = who.visible.sum() > 8
    if recipe.half_body and several and random.rand() < 0.3:
        joints = np.flatnonzero(who.visible)
        upper = [k for k in joints if k in COCO_UPPER_BODY]
        lower = [k for k in joints if k not in COCO_UPPER_BODY]
        prefer_upper = random.randn() < 0.5
        if prefer_upper and len(upper) > 2:
            chosen = upper
        else:
            chosen = lower if len(lower) > 2 else upper
        if len(chosen) >= 2:
            center = who.keypoints[chosen].mean(axis=0)
            size = np.ptp(who.keypoints[chosen], axis=0) * 1.5
    width = max(size[0], size[1] * recipe.aspect)
    s, r = recipe.scale_sigma, recipe.rotation_sigma
    width *= np.clip(random.randn() * s + 1, 1 - s, 1 + s)
    rotation = np.clip(random.randn() * r, -2 * r, 2 * r) if random.rand() < 0.6 else 0
    flipped = random.rand() < 0.5
    x = IMAGE_WIDTH - 1 - center[0] if flipped else center[0]
    return float(flipped), x, center[1], width, rotation


def our_draw(
    pipeline: Compose, metainfo: dict, who: Person, recipe: Recipe
) -> tuple[float, ...]:
    """The same of our pipeline, up to the crop."""
    half = who.size / 2
    results = dict(
        img=np.zeros((2, 2, 3), np.uint8),
        img_shape=(IMAGE_HEIGHT, IMAGE_WIDTH),
        bbox=np.concatenate([who.center - half, who.center + half])[None],
        keypoints=who.keypoints[None].copy(),
        keypoints_visible=who.visible[None].copy(),
        **metainfo,
    )
    results = pipeline(results)
    width, height = results['bbox_scale'][0]
    x, y = results['bbox_center'][0]
    width = max(width, height * recipe.aspect)
    return float(results['flip']), x, y, width, results['bbox_rotation'][0]


@pytest.fixture
def pipeline(cfg: Config) -> Compose:
    """The training pipeline without the picture: what comes before the crop."""
    names = [t.type for t in cfg.train_pipeline]
    return Compose(cfg.train_pipeline[1 : names.index('TopdownAffine')])


@pytest.fixture
def metainfo(cfg: Config) -> dict:
    data = DATASETS.get(cfg.train_dataloader.dataset.type)
    keys = ('flip_indices', 'upper_body_ids', 'lower_body_ids')
    parsed = parse_pose_metainfo(data.METAINFO)
    return {key: parsed[key] for key in keys}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(11)
    yield
    np.random.set_state(state)


@pytest.mark.parametrize('visible', VISIBLE)
def test_draws(pipeline, metainfo, dataset, visible, agreement):
    recipe = RECIPES[dataset]
    joints = len(metainfo['flip_indices'])
    who = person(joints, list(VISIBLE[visible]))
    random = np.random.RandomState(3)
    theirs = np.array([original_draw(random, who, recipe) for _ in range(DRAWS)])
    ours = np.array([our_draw(pipeline, metainfo, who, recipe) for _ in range(DRAWS)])
    for i, what in enumerate(('flip', 'centre x', 'centre y', 'size', 'rotation')):
        compare(what, ours[:, i], theirs[:, i], agreement)


def compare(
    what: str, ours: np.ndarray, theirs: np.ndarray, agreement: Callable
) -> None:
    """Distance of two samples; mean, spread and range in standard deviations."""
    distance = ks_2samp(ours.round(2), theirs.round(2)).statistic
    agreement('augmentation', f'KS distance of {what}', distance, KS_BOUND)
    spread = theirs.std() or 1.0
    for measure, mine, other, bound in (
        ('means', ours.mean(), theirs.mean(), 0.1),
        ('spreads', ours.std(), theirs.std(), 0.1),
        ('lower ends', ours.min(), theirs.min(), 0.01),
        ('upper ends', ours.max(), theirs.max(), 0.01),
    ):
        error = abs(mine - other) / spread
        agreement('augmentation', f'{measure} of all', error, bound, 'deviations')

"""Boxes drawn as the original draws them, MPII's keypoints, people cut off."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpose.registry import DATASETS, TRANSFORMS

from ldcrn_mm.transforms import ClippedGaussianBBoxTransform, RandomTruncation

NUM_BOXES = 40000


def cdf(z):
    return (1 + math.erf(z / math.sqrt(2))) / 2


def pdf(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@pytest.fixture(scope='module')
def drawn():
    """Size factors and angles of many boxes, COCO's numbers."""
    np.random.seed(0)
    boxes = dict(bbox_scale=np.full((NUM_BOXES, 2), [100, 200], np.float32))
    transform = ClippedGaussianBBoxTransform(scale_sigma=0.35, rotation_sigma=45)
    done = transform(boxes)
    return done['bbox_scale'] / [100, 200], done['bbox_rotation']


def fraction(condition):
    return float(np.mean(condition))


def test_sizes_are_those_of_a_normal_clipped_at_one_sigma(drawn):
    factors, angle = drawn
    assert factors.shape == (NUM_BOXES, 2)
    factor = factors[:, 0]
    np.testing.assert_allclose(factor, factors[:, 1], rtol=1e-6)
    assert abs(np.corrcoef(factor, angle)[0, 1]) < 0.02
    assert (factor.min(), factor.max()) == pytest.approx((0.65, 1.35))
    for beyond in (factor < 0.65001, factor > 1.34999):
        assert fraction(beyond) == pytest.approx(1 - cdf(1), abs=0.01)
    # E[clip(z, -1, 1)^2]: inside by parts, and one at the ends.
    variance = (cdf(1) - cdf(-1)) - 2 * pdf(1) + 2 * (1 - cdf(1))
    assert factor.mean() == pytest.approx(1, abs=0.005)
    assert factor.std() == pytest.approx(0.35 * math.sqrt(variance), rel=0.01)


def test_three_of_five_boxes_are_turned_by_at_most_two_sigmas(drawn):
    angle = drawn[1]
    assert angle.shape == (NUM_BOXES,)
    assert fraction(angle != 0) == pytest.approx(0.6, abs=0.01)
    assert (angle.min(), angle.max()) == (-90, 90)
    assert fraction(angle == 90) == pytest.approx(0.6 * (1 - cdf(2)), abs=0.003)
    turned = angle[(angle != 0) & (abs(angle) < 90)]
    variance = 1 - 4 * pdf(2) / (cdf(2) - cdf(-2))  # of a normal cut at two sigmas
    assert turned.std() == pytest.approx(45 * math.sqrt(variance), rel=0.02)


def test_a_seed_repeats_its_draws_and_the_caller_keeps_its_boxes():
    def draw(seed, *sigmas):
        np.random.seed(seed)
        scale = np.array([[3.0, 4.0]], np.float32)
        transform = ClippedGaussianBBoxTransform(*sigmas, rotation_prob=1)
        done = transform(dict(bbox_scale=scale, bbox_id='kept'))
        np.testing.assert_array_equal(scale, [[3, 4]])
        assert done['bbox_id'] == 'kept'
        assert done['bbox_scale'].dtype == done['bbox_rotation'].dtype == np.float32
        return [*done['bbox_scale'][0], *done['bbox_rotation']]

    assert draw(1, 0.25, 30) == draw(1, 0.25, 30) != draw(2, 0.25, 30)
    assert draw(1, 0, 0) == [3, 4, 0]


@pytest.mark.parametrize(('probability', 'turned'), [(0, 0), (1, 1)])
def test_the_probability_of_a_rotation_is_an_argument(probability, turned):
    boxes = dict(bbox_scale=np.ones((50, 2), np.float32))
    angle = ClippedGaussianBBoxTransform(0.2, 30, probability)(boxes)['bbox_rotation']
    assert fraction(angle != 0) == turned


@pytest.mark.parametrize(
    'arguments', [(1, 0), (-0.1, 0), (0.1, -1), (0.1, 1, 1.1), (0.1, 1, -0.1)]
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=r'sigma|prob'):
        ClippedGaussianBBoxTransform(*arguments)


def test_the_picture_follows_size_and_angle(monkeypatch):
    """A joint right of the centre of a box that doubles and turns by 90 degrees."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        cfg = dict(type='ClippedGaussianBBoxTransform')
        transform = TRANSFORMS.build(dict(cfg, scale_sigma=0.5, rotation_sigma=90))
        affine = TRANSFORMS.build(dict(type='TopdownAffine', input_size=(64, 64)))
    monkeypatch.setattr(
        transform, '_draw', lambda n: (np.full((n, 1), 2.0), np.full(n, 90.0))
    )
    sample = dict(
        img=np.zeros((100, 100, 3), np.uint8),
        bbox_center=np.array([[50.0, 50.0]], np.float32),
        bbox_scale=np.array([[32.0, 32.0]], np.float32),
        keypoints=np.array([[[58.0, 50.0]]], np.float32),
        keypoints_visible=np.ones((1, 1), np.float32),
    )
    done = Compose([transform, affine])(sample)
    # One pixel is one pixel now; 8 right of the centre has become 8 above it.
    np.testing.assert_allclose(done['transformed_keypoints'], [[[32, 24]]], atol=1e-3)


LEFT, TOP = 120, 80  # middle of the spot, counted from zero


@pytest.fixture
def mpii(tmp_path: Path) -> Path:
    """A black picture with a white spot on every joint of its one person."""
    image = np.zeros((200, 240, 3), np.uint8)
    image[TOP - 1 : TOP + 2, LEFT - 1 : LEFT + 2] = 255
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / '000000001.png'), image)
    person = dict(
        image='000000001.png',
        center=[110.0, 90.0],
        scale=1.024,  # of 200 pixels, padded by 1.25: 256 pixels
        joints=[[LEFT + 1.0, TOP + 1.0]] * 16,
        joints_vis=[1] * 16,
    )
    (tmp_path / 'mpii.json').write_text(json.dumps([person]))
    return tmp_path


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_training_target_lies_on_the_spot(root, mpii, flip):
    cfg = Config.fromfile(root / 'configs' / 'ldcrn_mpii.py')
    steps = [t for t in cfg.train_pipeline if t.type != 'ClippedGaussianBBoxTransform']
    steps = [dict(t, prob=flip) if t.type == 'RandomFlip' else t for t in steps]
    data = dict(cfg.train_dataloader.dataset, pipeline=steps[:-2])
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(dict(data, data_root=str(mpii), ann_file='mpii.json'))
        sample = dataset[0]
    weights = sample['img'][..., 0] / sample['img'][..., 0].sum()
    rows, columns = np.indices(weights.shape)
    spot = [(weights * columns).sum(), (weights * rows).sum()]
    assert np.allclose(sample['transformed_keypoints'][0], spot, atol=0.02)


def test_keypoints_of_the_caller_are_left_alone():
    keypoints = np.array([[[1.0, 1.0], [5.5, 3.0]]], np.float32)
    transform = TRANSFORMS.build(dict(type='KeypointsFromZero'))
    result = transform(dict(keypoints=keypoints))
    assert result['keypoints'].tolist() == [[[0.0, 0.0], [4.5, 2.0]]]
    assert keypoints.tolist() == [[[1.0, 1.0], [5.5, 3.0]]]
    assert repr(transform) == 'KeypointsFromZero()'
    assert repr(ClippedGaussianBBoxTransform(0.35, 45)) == (
        'ClippedGaussianBBoxTransform(scale_sigma=0.35, rotation_sigma=45, '
        'rotation_prob=0.6)'
    )


@pytest.fixture
def person():
    """A grey picture of 100x80, a person of 40x60 and five joints down the middle."""
    joints = [[40, y] for y in (15, 30, 45, 60, 75)]
    return dict(
        img=np.full((100, 80, 3), 7, np.uint8),
        bbox=np.array([[20, 10, 60, 70]], np.float32),
        keypoints=np.array([joints], np.float32),
        keypoints_visible=np.array([[1, 1, 1, 0, 1]], np.float32),
    )


def cut_off(person, side, share, min_keypoints=1):
    """The person with one share of the box kept."""
    sides = [float(side == name) for name in RandomTruncation.SIDES]
    transform = RandomTruncation(1, (share, share), sides, min_keypoints)
    return transform({key: value.copy() for key, value in person.items()})


@pytest.mark.parametrize(
    ('side', 'bbox', 'left', 'visible'),
    [
        ('bottom', [20, 10, 60, 40], np.s_[:40], [1, 1, 0, 0, 0]),
        ('top', [20, 40, 60, 70], np.s_[40:], [0, 0, 1, 0, 1]),
        ('left', [40, 10, 60, 70], np.s_[:, 40:], None),
        ('right', [20, 10, 40, 70], np.s_[:, :40], None),
    ],
)
def test_beyond_the_line_is_black_without_weight(person, side, bbox, left, visible):
    person['keypoints'][0, :, 0] += 1e-3 if side == 'left' else -1e-3
    done = cut_off(person, side, 0.5)
    expected = np.zeros_like(person['img'])
    expected[left] = 7
    np.testing.assert_array_equal(done['img'], expected)
    np.testing.assert_allclose(done['bbox'], [bbox])
    kept = [visible] if visible else person['keypoints_visible']
    np.testing.assert_array_equal(done['keypoints_visible'], kept)
    np.testing.assert_array_equal(done['keypoints'], person['keypoints'])


def test_a_person_who_would_keep_too_few_joints_stays_whole(person):
    assert cut_off(person, 'bottom', 0.5, 2)['img'].min() == 0
    done = cut_off(person, 'bottom', 0.5, 3)
    for key, value in person.items():
        np.testing.assert_array_equal(done[key], value)


def test_a_share_of_the_people_is_cut(person):
    np.random.seed(0)
    transform = RandomTruncation(0.3, min_keypoints=0)
    cut = [transform(dict(person))['img'].min() == 0 for _ in range(2000)]
    assert fraction(cut) == pytest.approx(0.3, abs=0.04)
    assert person['img'].min() == 7  # the caller's picture is left alone


@pytest.mark.parametrize(
    ('argument', 'value'),
    [('prob', 2), ('keep', (0.8, 0.4)), ('keep', (0, 1)), ('side_prob', (1, 1, 0, 0))],
)
def test_truncation_names_an_argument_out_of_range(argument, value):
    with pytest.raises(ValueError, match=argument):
        RandomTruncation(**{argument: value})

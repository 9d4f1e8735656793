"""Poses stay within the limits of joints, and differ."""

from dataclasses import fields

import numpy as np
import pytest

from ldcrn_mm.synthetic.pose import (
    ARM_LIMITS,
    FAMILIES,
    LEG_LIMITS,
    SPINE_LIMITS,
    sample_pose,
)


def outside(angles, limits):
    return [
        (name, getattr(angles, name))
        for name, (low, high) in limits.items()
        if not low <= getattr(angles, name) <= high
    ]


@pytest.mark.parametrize('family', FAMILIES)
def test_angles_stay_within_their_limits(family):
    for seed in range(40):
        pose = sample_pose(np.random.default_rng(seed), family)
        assert not outside(pose, SPINE_LIMITS)
        for side in ('left', 'right'):
            assert not outside(getattr(pose, f'{side}_arm'), ARM_LIMITS)
            assert not outside(getattr(pose, f'{side}_leg'), LEG_LIMITS)


def test_every_angle_of_a_limb_has_limits():
    pose = sample_pose(np.random.default_rng(0))
    assert set(ARM_LIMITS) == {item.name for item in fields(pose.left_arm)}
    assert set(LEG_LIMITS) == {item.name for item in fields(pose.left_leg)}


def test_same_seed_gives_same_pose():
    first, second = (sample_pose(np.random.default_rng(7)) for _ in range(2))
    assert first == second
    assert first != sample_pose(np.random.default_rng(8))


def test_one_sided_families_use_both_sides():
    raised = [
        pose.left_arm.abduct > pose.right_arm.abduct
        for pose in (sample_pose(np.random.default_rng(s), 'wave') for s in range(60))
    ]
    assert 0.3 < np.mean(raised) < 0.7


def test_headings_are_towards_sideways_and_away():
    yaw = np.array([sample_pose(np.random.default_rng(s)).yaw for s in range(400)])
    cosine, sine = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    assert 0.35 < np.mean(cosine > 0.6) < 0.65
    assert 0.12 < np.mean(cosine < -0.6) < 0.35
    assert np.mean(sine > 0.8) > 0.08
    assert np.mean(sine < -0.8) > 0.08


def test_unknown_family_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'swim'.*stand"):
        sample_pose(np.random.default_rng(0), 'swim')

"""The kinematic tree: a build and a pose give joints and bone frames in space.

The space of a figure is right-handed: x to the viewer's right, y up, z towards
the viewer, in metres. A figure with yaw 0 faces the viewer, so its left hand is
at larger x. Every bone has a frame, a rotation whose columns are its own left,
up and front.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .pose import Arm, Leg, Pose

SIDES = ('left', 'right')


@dataclass(frozen=True)
class Build:
    """Proportions of a body; lengths are fractions of the stature.

    The default proportions are those of Drillis and Contini (Body segment
    parameters, 1966), rounded.

    Args:
        stature: Height, in metres.
        girth: Multiplies the thickness of limbs and trunk.
        belly: Extra depth of the waist, as a fraction.
        head: Multiplies the size of the head.
        shoulders: Distance from the spine to a shoulder joint.
        hips: Distance from the spine to a hip joint.
        legs: Multiplies the length of the legs; the trunk makes up for it.
    """

    stature: float = 1.72
    girth: float = 1.0
    belly: float = 0.0
    head: float = 1.0
    shoulders: float = 0.105
    hips: float = 0.055
    legs: float = 1.0

    @property
    def spine(self) -> float:
        """From the middle of the hips to the middle of the shoulders."""
        return 0.779 - self.leg

    @property
    def leg(self) -> float:
        """From a hip to an ankle."""
        return 0.491 * self.legs

    @property
    def half_head(self) -> float:
        """Half of the height of the head, in metres."""
        return 0.066 * self.head * self.stature


@dataclass(frozen=True)
class Figure:
    """A posed skeleton.

    Args:
        build: Its proportions.
        joints: Name to position (3,), in metres.
        frames: Name of a bone to its rotation (3, 3); columns: left, up, front.
    """

    build: Build
    joints: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]


def sample_build(rng: Generator) -> Build:
    """Draws an adult or, one time in six, a child."""
    child = rng.random() < 1 / 6
    stature = rng.uniform(1.05, 1.45) if child else rng.normal(1.72, 0.09)
    return Build(
        stature=float(np.clip(stature, 1.05, 2.0)),
        girth=float(np.clip(rng.normal(1.17, 0.14), 0.88, 1.55)),
        belly=float(max(0.0, rng.normal(0.02, 0.15))),
        head=rng.uniform(1.2, 1.35) if child else rng.uniform(0.98, 1.12),
        shoulders=rng.uniform(0.095, 0.115),
        hips=rng.uniform(0.050, 0.060),
        legs=rng.uniform(0.95, 1.04),
    )


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Right-handed rotation about ``'x'``, ``'y'`` or ``'z'``, shape (3, 3)."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    if axis == 'x':
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == 'y':
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def pose_figure(build: Build, pose: Pose) -> Figure:
    """Forward kinematics, with the middle of the hips at the origin."""
    pelvis = (
        rotation('y', pose.yaw) @ rotation('z', -pose.roll) @ rotation('x', pose.pitch)
    )
    chest = (
        pelvis
        @ rotation('y', pose.turn)
        @ rotation('z', -pose.side)
        @ rotation('x', pose.bend)
    )
    head = (
        chest
        @ rotation('y', pose.look)
        @ rotation('z', -pose.tilt)
        @ rotation('x', pose.nod - 0.4 * pose.bend)  # people look ahead
    )
    frames = {'pelvis': pelvis, 'chest': chest, 'head': head}
    joints = _trunk(build, frames)
    for side in SIDES:
        sign = 1 if side == 'left' else -1
        _arm(build, getattr(pose, f'{side}_arm'), side, sign, joints, frames)
        _leg(build, getattr(pose, f'{side}_leg'), side, sign, joints, frames)
    return Figure(build, joints, frames)


def _trunk(build: Build, frames: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    size = build.stature
    pelvis, chest, head = frames['pelvis'], frames['chest'], frames['head']
    waist = pelvis @ (0, 0.4 * build.spine * size, 0)
    thorax = waist + chest @ (0, 0.6 * build.spine * size, 0)
    upper_neck = thorax + chest @ (0, 0.055 * size, 0.006 * size)
    half = build.half_head
    centre = upper_neck + head @ np.array([0, 0.95, 0.16]) * half
    return {
        'pelvis': np.zeros(3),
        'waist': waist,
        'thorax': thorax,
        'upper_neck': upper_neck,
        'head': centre,
        'head_top': centre + head @ (0, half, 0),
    }


def _arm(
    build: Build,
    arm: Arm,
    side: str,
    sign: int,
    joints: dict[str, np.ndarray],
    frames: dict[str, np.ndarray],
) -> None:
    size, chest = build.stature, frames['chest']
    upper = (
        chest
        @ rotation('x', -arm.flex)
        @ rotation('z', sign * arm.abduct)
        @ rotation('y', -sign * arm.twist)
    )
    lower = upper @ rotation('x', -arm.elbow)
    # A raised arm lifts its shoulder.
    raised = 0.02 * max(0.0, max(arm.abduct, arm.flex) - 60) / 110
    at = chest @ np.array([sign * build.shoulders, raised, 0]) * size
    joints[f'{side}_shoulder'] = joints['thorax'] + at
    joints[f'{side}_elbow'] = joints[f'{side}_shoulder'] - upper[:, 1] * 0.176 * size
    joints[f'{side}_wrist'] = joints[f'{side}_elbow'] - lower[:, 1] * 0.148 * size
    frames[f'{side}_upper_arm'], frames[f'{side}_forearm'] = upper, lower


def _leg(
    build: Build,
    leg: Leg,
    side: str,
    sign: int,
    joints: dict[str, np.ndarray],
    frames: dict[str, np.ndarray],
) -> None:
    length, pelvis = build.leg * build.stature, frames['pelvis']
    thigh = (
        pelvis
        @ rotation('x', -leg.flex)
        @ rotation('z', sign * leg.abduct)
        @ rotation('y', sign * leg.twist)
    )
    shin = thigh @ rotation('x', leg.knee)
    joints[f'{side}_hip'] = pelvis @ (sign * build.hips * build.stature, 0, 0)
    joints[f'{side}_knee'] = joints[f'{side}_hip'] - thigh[:, 1] * 0.5 * length
    joints[f'{side}_ankle'] = joints[f'{side}_knee'] - shin[:, 1] * 0.5 * length
    frames[f'{side}_thigh'], frames[f'{side}_shin'] = thigh, shin
    frames[f'{side}_foot'] = shin @ rotation('x', leg.toes)

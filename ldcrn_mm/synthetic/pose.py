"""Poses: joint angles of a kinematic tree, drawn from families with noise.

All angles are degrees. Positive values mean what a physiotherapist would call
flexion or abduction, for the left and the right side alike, so one family
describes both sides and mirrored poses are equally likely. The limits are
rounded from the ranges of motion of healthy adults, e.g. the tables of the
American Academy of Orthopaedic Surgeons.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.random import Generator


@dataclass
class Arm:
    """Angles of one arm, in degrees.

    Args:
        flex: Shoulder: 0 hangs down, 90 points forward.
        abduct: Shoulder: 0 hangs down, 90 points to the side.
        twist: Upper arm: positive turns the forearm towards the other side.
        elbow: 0 is straight.
    """

    flex: float = 0.0
    abduct: float = 8.0
    twist: float = 0.0
    elbow: float = 12.0


@dataclass
class Leg:
    """Angles of one leg, in degrees.

    Args:
        flex: Hip: 0 is standing, 90 points forward.
        abduct: Hip: positive moves the leg to its own side.
        twist: Thigh: positive turns the toes outwards.
        knee: 0 is straight, positive moves the heel back.
        toes: Ankle: positive points the toes down.
    """

    flex: float = 0.0
    abduct: float = 4.0
    twist: float = 6.0
    knee: float = 3.0
    toes: float = 0.0


@dataclass
class Pose:
    """A pose of the whole body, in degrees.

    Args:
        yaw: Heading: 0 faces the viewer, 90 the viewer's right.
        pitch: Whole body forward (90 lies on the belly).
        roll: Whole body towards its left.
        bend: Spine forward.
        side: Spine towards the left.
        turn: Spine about itself, towards the left.
        nod: Head forward.
        tilt: Head towards the left.
        look: Head about the neck, towards the left.
        left_arm: Left arm.
        right_arm: Right arm.
        left_leg: Left leg.
        right_leg: Right leg.
        lift: Height above the ground, in statures.
        seated: Whether the pose needs a seat below the hips.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    bend: float = 2.0
    side: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    tilt: float = 0.0
    look: float = 0.0
    left_arm: Arm = field(default_factory=Arm)
    right_arm: Arm = field(default_factory=Arm)
    left_leg: Leg = field(default_factory=Leg)
    right_leg: Leg = field(default_factory=Leg)
    lift: float = 0.0
    seated: bool = False


ARM_LIMITS = {
    'flex': (-50, 175),
    'abduct': (-15, 175),
    'twist': (-80, 90),
    'elbow': (0, 145),
}
LEG_LIMITS = {
    'flex': (-30, 120),
    'abduct': (-10, 60),
    'twist': (-35, 45),
    'knee': (0, 140),
    'toes': (-25, 50),
}
SPINE_LIMITS = {
    'bend': (-20, 80),
    'side': (-30, 30),
    'turn': (-40, 40),
    'nod': (-35, 40),
    'tilt': (-25, 25),
    'look': (-70, 70),
}

Family = Callable[[Generator], Pose]


def _stand(rng: Generator) -> Pose:
    shift = rng.normal(0, 3)  # weight on one leg
    return Pose(
        side=shift,
        left_leg=Leg(abduct=4 + shift, knee=3 + max(0, shift) * 2),
        right_leg=Leg(abduct=4 - shift, knee=3 + max(0, -shift) * 2),
    )


def _stride(rng: Generator, hip: float, knee: float, arm: float, elbow: float) -> Pose:
    phase = rng.uniform(0, 2 * np.pi)
    swing = np.sin(phase)

    def leg(swing: float, phase: float) -> Leg:
        lifted = max(0.0, np.cos(phase))  # the knee bends while swinging forward
        return Leg(flex=hip * (0.2 + swing), knee=6 + knee * lifted, toes=8 * -swing)

    return Pose(
        turn=-0.3 * arm * swing,
        left_leg=leg(swing, phase),
        right_leg=leg(-swing, phase + np.pi),
        left_arm=Arm(flex=-arm * swing, elbow=elbow),
        right_arm=Arm(flex=arm * swing, elbow=elbow),
    )


def _walk(rng: Generator) -> Pose:
    return _stride(rng, hip=26, knee=45, arm=24, elbow=20)


def _run(rng: Generator) -> Pose:
    pose = _stride(rng, hip=48, knee=95, arm=45, elbow=90)
    pose.pitch, pose.lift = 10, rng.uniform(0, 0.06)
    return pose


def _sit(rng: Generator) -> Pose:
    knees = rng.uniform(70, 100)
    pose = Pose(bend=8, pitch=rng.uniform(-12, 12), seated=True)
    for leg in (pose.left_leg, pose.right_leg):
        leg.flex, leg.knee, leg.abduct = 88, knees, rng.uniform(0, 16)
    for arm in (pose.left_arm, pose.right_arm):
        arm.flex, arm.elbow, arm.twist = 28, rng.uniform(20, 80), 15
    return pose


def _squat(rng: Generator) -> Pose:
    depth = rng.uniform(0.5, 1.0)
    leg = dict(flex=112 * depth, knee=125 * depth, abduct=14, toes=-20 * depth)
    reach = dict(flex=rng.uniform(20, 95), elbow=rng.uniform(5, 70))
    return Pose(
        bend=28 * depth,
        pitch=12 * depth,
        left_leg=Leg(**leg),
        right_leg=Leg(**leg),
        left_arm=Arm(**reach),
        right_arm=Arm(**reach),
    )


def _arms_up(rng: Generator) -> Pose:
    pose = _stand(rng)
    for arm in (pose.left_arm, pose.right_arm):
        arm.abduct, arm.elbow = rng.uniform(115, 172), rng.uniform(0, 50)
    return pose


def _wave(rng: Generator) -> Pose:
    pose = _stand(rng)
    pose.left_arm = Arm(
        abduct=rng.uniform(70, 110), elbow=rng.uniform(60, 120), twist=-75
    )
    return pose


def _hands_on_hips(rng: Generator) -> Pose:
    pose = _stand(rng)
    for arm in (pose.left_arm, pose.right_arm):
        arm.abduct, arm.elbow, arm.twist, arm.flex = 45, 100, 75, -18
    return pose


def _hands_in_front(rng: Generator) -> Pose:
    """Holding a phone, arms crossed, clapping."""
    pose = _stand(rng)
    for arm in (pose.left_arm, pose.right_arm):
        arm.flex, arm.abduct = rng.uniform(10, 50), 8
        arm.elbow, arm.twist = rng.uniform(70, 125), rng.uniform(15, 60)
    return pose


def _reach_sideways(rng: Generator) -> Pose:
    pose = _stand(rng)
    for arm in (pose.left_arm, pose.right_arm):
        arm.abduct, arm.elbow = rng.uniform(60, 105), rng.uniform(0, 25)
    return pose


def _bend_over(rng: Generator) -> Pose:
    bend = rng.uniform(35, 75)
    pose = Pose(bend=bend, pitch=0.35 * bend, nod=-15)
    for leg in (pose.left_leg, pose.right_leg):
        leg.flex, leg.knee = 0.35 * bend + 5, rng.uniform(0, 35)
    for arm in (pose.left_arm, pose.right_arm):
        arm.flex, arm.elbow = 1.2 * bend + rng.normal(0, 15), 15
    return pose


def _kick(rng: Generator) -> Pose:
    pose = Pose(bend=-4, pitch=-8)
    pose.left_leg = Leg(flex=rng.uniform(35, 90), knee=rng.uniform(0, 45), toes=25)
    pose.right_leg = Leg(flex=6, knee=12)
    for arm in (pose.left_arm, pose.right_arm):
        arm.abduct, arm.elbow = rng.uniform(25, 80), rng.uniform(10, 60)
    return pose


def _lunge(rng: Generator) -> Pose:
    pose = _hands_on_hips(rng) if rng.random() < 0.4 else _stand(rng)
    depth = rng.uniform(0.5, 1)
    pose.left_leg = Leg(flex=75 * depth, knee=80 * depth)
    pose.right_leg = Leg(flex=-22 * depth, knee=45 * depth, toes=10)
    return pose


def _jump(rng: Generator) -> Pose:
    pose = _arms_up(rng) if rng.random() < 0.6 else _reach_sideways(rng)
    for leg in (pose.left_leg, pose.right_leg):
        leg.flex, leg.knee = rng.uniform(0, 60), rng.uniform(20, 110)
        leg.abduct, leg.toes = rng.uniform(2, 30), 35
    pose.lift = rng.uniform(0.08, 0.25)
    return pose


def _lie(rng: Generator) -> Pose:
    pose = _stand(rng)
    pose.pitch = -90 if rng.random() < 0.6 else 90
    for leg in (pose.left_leg, pose.right_leg):
        leg.flex, leg.knee = rng.uniform(0, 45), rng.uniform(0, 70)
    for arm in (pose.left_arm, pose.right_arm):
        arm.abduct, arm.elbow = rng.uniform(10, 150), rng.uniform(0, 90)
    return pose


def _dance(rng: Generator) -> Pose:
    """Anything within moderate limits, standing on at least one leg."""
    pose = Pose(bend=rng.normal(5, 10), side=rng.normal(0, 10), turn=rng.normal(0, 15))
    for arm in (pose.left_arm, pose.right_arm):
        arm.flex, arm.abduct = rng.uniform(-30, 130), rng.uniform(0, 120)
        arm.twist, arm.elbow = rng.uniform(-60, 70), rng.uniform(0, 130)
    pose.left_leg = Leg(
        flex=rng.uniform(-20, 80), abduct=rng.uniform(0, 40), knee=rng.uniform(0, 100)
    )
    pose.right_leg = Leg(flex=rng.uniform(-5, 25), knee=rng.uniform(0, 40))
    return pose


def _tumble(rng: Generator) -> Pose:
    pose = _dance(rng)
    pose.roll, pose.lift = rng.uniform(-180, 180), rng.uniform(0, 0.15)
    return pose


FAMILIES: dict[str, tuple[float, Family]] = {
    'stand': (0.19, _stand),
    'walk': (0.15, _walk),
    'run': (0.10, _run),
    'sit': (0.08, _sit),
    'squat': (0.05, _squat),
    'arms_up': (0.07, _arms_up),
    'wave': (0.06, _wave),
    'hands_on_hips': (0.05, _hands_on_hips),
    'hands_in_front': (0.07, _hands_in_front),
    'reach_sideways': (0.04, _reach_sideways),
    'bend_over': (0.03, _bend_over),
    'kick': (0.03, _kick),
    'lunge': (0.03, _lunge),
    'jump': (0.03, _jump),
    'lie': (0.02, _lie),
    'dance': (0.07, _dance),
    'tumble': (0.01, _tumble),
}


# Standing on their feet, with every limb in view: what is easily learnt.
PLAIN_FAMILIES = (
    'stand',
    'walk',
    'arms_up',
    'wave',
    'hands_on_hips',
    'hands_in_front',
    'reach_sideways',
    'dance',
)


def sample_plain_pose(rng: Generator) -> Pose:
    """Draws a pose out of :data:`PLAIN_FAMILIES`, towards the viewer."""
    pose = sample_pose(rng, str(rng.choice(PLAIN_FAMILIES)))
    pose.yaw = float(rng.normal(0, 28))
    return pose


def sample_pose(rng: Generator, family: str | None = None) -> Pose:
    """Draws a pose: a family, its mirror image half the time, noise, a heading.

    Args:
        rng: Source of randomness.
        family: Name in :data:`FAMILIES`; drawn by weight when ``None``.

    Returns:
        The pose, with every joint angle within its limits.

    Raises:
        ValueError: If the family does not exist.
    """
    if family is None:
        weights = np.array([weight for weight, _ in FAMILIES.values()])
        family = str(rng.choice(list(FAMILIES), p=weights / weights.sum()))
    if family not in FAMILIES:
        raise ValueError(
            f'unknown family of poses {family!r}: choose one of {", ".join(FAMILIES)}'
        )
    pose = FAMILIES[family][1](rng)
    if rng.random() < 0.5:
        _mirror(pose)
    _perturb(pose, rng)
    pose.yaw = _sample_heading(rng, lying=family == 'lie')
    return pose


def _mirror(pose: Pose) -> None:
    pose.left_arm, pose.right_arm = pose.right_arm, pose.left_arm
    pose.left_leg, pose.right_leg = pose.right_leg, pose.left_leg
    pose.side, pose.turn, pose.roll = -pose.side, -pose.turn, -pose.roll


def _perturb(pose: Pose, rng: Generator) -> None:
    spread = {'bend': 4, 'side': 3, 'turn': 6, 'nod': 9, 'tilt': 5, 'look': 22}
    _shake(pose, spread, SPINE_LIMITS, rng)
    for arm in (pose.left_arm, pose.right_arm):
        spread = {'flex': 10, 'abduct': 6, 'twist': 12, 'elbow': 10}
        _shake(arm, spread, ARM_LIMITS, rng)
    for leg in (pose.left_leg, pose.right_leg):
        spread = {'flex': 4, 'abduct': 3, 'twist': 6, 'knee': 5, 'toes': 4}
        _shake(leg, spread, LEG_LIMITS, rng)
    # A thigh that is far from the body's plane lets the hip twist less.
    for leg in (pose.left_leg, pose.right_leg):
        leg.twist *= max(0.0, 1 - max(0.0, leg.flex) / 90)
    pose.pitch += rng.normal(0, 3)
    pose.roll += rng.normal(0, 3)


def _shake(
    angles: Pose | Arm | Leg,
    spread: dict[str, float],
    limits: dict[str, tuple[float, float]],
    rng: Generator,
) -> None:
    for name in (item.name for item in fields(angles) if item.name in spread):
        value = getattr(angles, name) + rng.normal(0, spread[name])
        setattr(angles, name, float(np.clip(value, *limits[name])))


def _sample_heading(rng: Generator, lying: bool) -> float:
    """Mostly towards the viewer, often sideways, sometimes away."""
    side = 90 if rng.random() < 0.5 else -90
    if lying:  # along the picture rather than into it
        return float(side + rng.normal(0, 25))
    kind = rng.choice(4, p=[0.45, 0.22, 0.18, 0.15])
    centre, spread = [(0, 28), (side, 25), (180, 28), (0, 180)][kind]
    return float(centre + rng.normal(0, spread))

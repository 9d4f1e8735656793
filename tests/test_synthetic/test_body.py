"""The surface of a body encloses its joints and is dressed as told."""

from dataclasses import replace

import numpy as np
import pytest

from ldcrn_mm.synthetic.body import Dresser
from ldcrn_mm.synthetic.figure import Build, pose_figure
from ldcrn_mm.synthetic.looks import Fabric, sample_look
from ldcrn_mm.synthetic.mesh import PART_NUMBER
from ldcrn_mm.synthetic.pose import Pose, sample_pose

PLAIN = replace(
    sample_look(np.random.default_rng(0)),
    skin=(1, 1, 1),
    top=Fabric((2, 2, 2), (2, 2, 2)),
    bottom=Fabric((3, 3, 3), (3, 3, 3)),
    shoe=(4, 4, 4),
    sock=None,
    inner=None,
    tie=None,
    print_colour=None,
    bag=None,
    skirt=0.0,
    tucked=True,
)


def dress(pose=None, **changes):
    look = replace(PLAIN, **changes)
    return Dresser(pose_figure(Build(), pose or Pose()), look, 12).dress()


def of(mesh, part):
    return mesh.parts == PART_NUMBER[part]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize(
    ('joint', 'part'),
    [
        ('left_elbow', 'left_upper_arm'),
        ('left_elbow', 'left_forearm'),
        ('right_wrist', 'right_forearm'),
        ('left_knee', 'left_thigh'),
        ('right_knee', 'right_shin'),
        ('right_ankle', 'right_shin'),
        ('left_ankle', 'left_foot'),
        ('pelvis', 'torso'),
        ('left_hip', 'left_thigh'),
        ('right_shoulder', 'right_upper_arm'),
    ],
)
def test_joints_lie_inside_the_parts_they_join(seed, joint, part):
    figure = pose_figure(Build(), sample_pose(np.random.default_rng(seed)))
    mesh = Dresser(figure, PLAIN, 12).dress()
    points = mesh.corners[of(mesh, part)].reshape(-1, 3)
    assert (points.min(0) < figure.joints[joint]).all()
    assert (points.max(0) > figure.joints[joint]).all()


def share_of(mesh, part, colour):
    return np.mean((mesh.colours[of(mesh, part)] == colour).all(1))


@pytest.mark.parametrize(
    ('sleeve', 'upper', 'lower'), [(0.0, 0, 0), (0.5, 0.5, 0), (1.0, 1, 0), (2.0, 1, 1)]
)
def test_sleeves_cover_what_they_say(sleeve, upper, lower):
    mesh = dress(sleeve=sleeve)
    # Cloth hides the skin below it, of which a little stays under the hem.
    assert share_of(mesh, 'left_upper_arm', 2) == pytest.approx(upper, abs=0.2)
    assert share_of(mesh, 'right_forearm', 2) == pytest.approx(lower, abs=0.2)


def test_trousers_and_shoes_have_their_colours():
    mesh = dress(leg=2.0)
    assert share_of(mesh, 'left_shin', 3) == 1
    assert share_of(mesh, 'left_foot', 4) > 0.5
    assert share_of(dress(shoe=None), 'left_foot', 1) == 1


def test_skirt_and_bag_appear_when_worn():
    assert not of(dress(), 'skirt').any()
    assert not of(dress(), 'bag').any()
    mesh = dress(skirt=1.0, bag=(5, 5, 5))
    assert of(mesh, 'skirt').any()
    behind = mesh.corners[of(mesh, 'bag')].reshape(-1, 3)[:, 2].mean()
    assert behind < mesh.corners[of(mesh, 'torso')].reshape(-1, 3)[:, 2].mean()


def test_a_print_is_on_the_front_only():
    mesh = dress(print_colour=(7, 7, 7))
    patch = (mesh.colours == 7).all(1)
    assert patch.any()
    assert (mesh.corners[patch][..., 2] > 0).all()


def test_left_and_right_parts_are_on_their_sides():
    mesh = dress()
    for part in ('upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot'):
        left, right = (
            mesh.corners[of(mesh, f'{side}_{part}')][..., 0].mean()
            for side in ('left', 'right')
        )
        assert left > 0.02 > -0.02 > right


def test_a_wide_build_is_wider():
    def width(girth):
        figure = pose_figure(Build(girth=girth), Pose())
        mesh = Dresser(figure, PLAIN, 12).dress()
        return np.ptp(mesh.corners[of(mesh, 'torso')][..., 0])

    assert width(1.3) > 1.1 * width(0.9)

"""Heads: a face in front, hair and hats where they belong."""

from dataclasses import replace

import numpy as np
import pytest

from ldcrn_mm.synthetic.figure import Build, pose_figure
from ldcrn_mm.synthetic.head import build_head, face_point, landmarks, outline
from ldcrn_mm.synthetic.looks import HAIR_STYLES, HATS, sample_look
from ldcrn_mm.synthetic.mesh import PART_NUMBER
from ldcrn_mm.synthetic.pose import Pose

BASE = replace(
    sample_look(np.random.default_rng(0)),
    hair_style='bald',
    hat='none',
    glasses=False,
    beard=False,
    skin=(9, 9, 9),
    hair=(3, 3, 3),
)


def head(yaw=0.0, **changes):
    figure = pose_figure(Build(), Pose(yaw=yaw, look=0, bend=0))
    return figure, build_head(figure, replace(BASE, **changes), 18)


def test_face_points_lie_on_the_skull():
    for x, y in ((0, 0), (0.3, 0.1), (-0.4, -0.5)):
        width, depth, shift = outline(y)
        _, _, z = face_point(x, y)
        assert (x / width) ** 2 + ((z - shift) / depth) ** 2 == pytest.approx(1)


@pytest.mark.parametrize('yaw', [0, 70, 180])
def test_landmarks_lie_on_the_surface(yaw):
    figure, mesh = head(yaw)
    points = mesh.corners.reshape(-1, 3)
    for name, place in landmarks(figure).items():
        nearest = np.linalg.norm(points - place, axis=1).min()
        limit = 0.2 if name.endswith('ear') else 0.1
        assert nearest < limit * figure.build.half_head, name


def test_face_is_in_front_and_its_left_at_larger_x():
    figure, _ = head()
    points, centre = landmarks(figure), figure.joints['head']
    assert points['nose'][2] > centre[2] + figure.build.half_head * 0.9
    assert points['left_eye'][0] > centre[0] > points['right_eye'][0]
    assert points['left_ear'][0] > points['left_eye'][0]
    turned, _ = head(yaw=180)
    assert landmarks(turned)['left_eye'][0] < landmarks(turned)['right_eye'][0]


def test_skull_reaches_the_head_top():
    figure, mesh = head()
    assert mesh.corners[..., 1].max() == pytest.approx(figure.joints['head_top'][1])


def hair_of(**changes):
    _, mesh = head(**changes)
    return mesh.corners[mesh.parts == PART_NUMBER['hair']]


def test_bald_heads_have_no_hair_and_others_do():
    assert len(hair_of()) == 0
    for style in set(HAIR_STYLES) - {'bald'}:
        assert len(hair_of(hair_style=style)) > 0


def test_hair_leaves_the_face_free():
    figure, _ = head()
    for style in set(HAIR_STYLES) - {'bald'}:
        hair = hair_of(hair_style=style).mean(1) - landmarks(figure)['nose']
        frontal = hair[hair[:, 2] > -0.5 * figure.build.half_head]
        # At the height of the nose nothing is in front of the face.
        level = np.abs(frontal[:, 1]) < 0.25 * figure.build.half_head
        middle = np.abs(frontal[:, 0]) < 0.4 * figure.build.half_head
        assert not (level & middle).any(), style


def test_long_hair_hangs_behind():
    figure, _ = head()
    longest = hair_of(hair_style='long')
    low = longest[longest[..., 1].mean(1) < figure.joints['upper_neck'][1]]
    assert len(low) > 0
    assert low[..., 2].mean() < figure.joints['head'][2]


def test_hats_sit_on_top():
    figure, _ = head()
    for hat in set(HATS) - {'none'}:
        assert hair_of(hat=hat)[..., 1].max() > figure.joints['head_top'][1]


def test_beards_glasses_and_eyes_are_drawn():
    def facets(**changes):
        return len(head(**changes)[1].corners)

    assert facets(glasses=True) > facets()
    _, mesh = head(beard=True, hair_style='bald')
    chin = mesh.corners[..., 1].mean(1) < mesh.corners[..., 1].min() + 0.03
    assert (mesh.colours[chin & (mesh.parts == PART_NUMBER['head'])] == 3).any()

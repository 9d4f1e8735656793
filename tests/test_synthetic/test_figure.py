"""The kinematic tree: lengths, directions, left and right."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.figure import Build, pose_figure, rotation, sample_build
from ldcrn_mm.synthetic.pose import Arm, Leg, Pose, sample_pose

RIGHT, UP, FRONT = np.eye(3)
BONES = (
    ('left_shoulder', 'left_elbow'),
    ('right_elbow', 'right_wrist'),
    ('left_hip', 'left_knee'),
    ('right_knee', 'right_ankle'),
    ('left_hip', 'right_hip'),
    ('pelvis', 'waist'),
    ('waist', 'thorax'),
    ('upper_neck', 'head'),
)


def straight(**changes) -> Pose:
    """Standing upright, arms down, facing the viewer."""
    pose = Pose(bend=0)
    for side in ('left', 'right'):
        setattr(pose, f'{side}_arm', Arm(abduct=0, elbow=0))
        setattr(pose, f'{side}_leg', Leg(abduct=0, twist=0, knee=0))
    for name, value in changes.items():
        setattr(pose, name, value)
    return pose


def bone(figure, start, end):
    vector = figure.joints[end] - figure.joints[start]
    return vector / np.linalg.norm(vector)


def test_rotation_is_right_handed():
    np.testing.assert_allclose(rotation('x', 90) @ UP, FRONT, atol=1e-12)
    np.testing.assert_allclose(rotation('y', 90) @ FRONT, RIGHT, atol=1e-12)
    np.testing.assert_allclose(rotation('z', 90) @ RIGHT, UP, atol=1e-12)


def test_bones_keep_their_lengths_in_every_pose():
    build = sample_build(np.random.default_rng(0))

    def lengths(pose):
        joints = pose_figure(build, pose).joints
        return [np.linalg.norm(joints[a] - joints[b]) for a, b in BONES]

    expected = lengths(Pose())
    for seed in range(20):
        pose = sample_pose(np.random.default_rng(seed))
        np.testing.assert_allclose(lengths(pose), expected, rtol=1e-9)


def test_frames_are_rotations():
    figure = pose_figure(Build(), sample_pose(np.random.default_rng(3)))
    for frame in figure.frames.values():
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1)


def test_upright_figure_is_as_tall_as_its_stature():
    build = Build(stature=1.8)
    joints = pose_figure(build, straight()).joints
    sole = joints['left_ankle'][1] - 0.039 * build.stature
    assert joints['head_top'][1] - sole == pytest.approx(1.8, rel=0.01)


@pytest.mark.parametrize('name', ['shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'])
def test_left_is_at_larger_x_when_facing_the_viewer(name):
    joints = pose_figure(Build(), straight()).joints
    assert joints[f'left_{name}'][0] > joints[f'right_{name}'][0] + 0.1
    joints = pose_figure(Build(), straight(yaw=180)).joints
    assert joints[f'left_{name}'][0] < joints[f'right_{name}'][0] - 0.1


def test_facing_the_viewers_right_hides_the_left_side():
    joints = pose_figure(Build(), straight(yaw=90)).joints
    assert joints['left_hip'][2] < joints['right_hip'][2]


@pytest.mark.parametrize('side', ['left', 'right'])
class TestDirections:
    def outwards(self, side):
        return RIGHT if side == 'left' else -RIGHT

    def test_arm_flexes_to_the_front(self, side):
        figure = pose_figure(
            Build(), straight(**{f'{side}_arm': Arm(flex=90, abduct=0, elbow=0)})
        )
        way = bone(figure, f'{side}_shoulder', f'{side}_elbow')
        np.testing.assert_allclose(way, FRONT, atol=1e-9)

    def test_arm_abducts_to_its_own_side(self, side):
        figure = pose_figure(Build(), straight(**{f'{side}_arm': Arm(abduct=90)}))
        way = bone(figure, f'{side}_shoulder', f'{side}_elbow')
        np.testing.assert_allclose(way, self.outwards(side), atol=1e-9)

    def test_elbow_bends_the_forearm_forward(self, side):
        figure = pose_figure(
            Build(), straight(**{f'{side}_arm': Arm(abduct=0, elbow=90)})
        )
        way = bone(figure, f'{side}_elbow', f'{side}_wrist')
        np.testing.assert_allclose(way, FRONT, atol=1e-9)

    def test_twist_turns_the_forearm_inwards(self, side):
        arm = Arm(abduct=0, elbow=90, twist=90)
        figure = pose_figure(Build(), straight(**{f'{side}_arm': arm}))
        way = bone(figure, f'{side}_elbow', f'{side}_wrist')
        np.testing.assert_allclose(way, -self.outwards(side), atol=1e-9)

    def test_hip_flexes_to_the_front_and_knee_to_the_back(self, side):
        leg = Leg(flex=90, abduct=0, twist=0, knee=90)
        figure = pose_figure(Build(), straight(**{f'{side}_leg': leg}))
        thigh = bone(figure, f'{side}_hip', f'{side}_knee')
        shin = bone(figure, f'{side}_knee', f'{side}_ankle')
        np.testing.assert_allclose(thigh, FRONT, atol=1e-9)
        np.testing.assert_allclose(shin, -UP, atol=1e-9)

    def test_toes_point_to_the_front(self, side):
        figure = pose_figure(Build(), straight())
        np.testing.assert_allclose(
            figure.frames[f'{side}_foot'][:, 2], FRONT, atol=1e-9
        )


def test_spine_bends_forward_and_pitch_turns_the_whole_body():
    bent = pose_figure(Build(), straight(bend=60))
    assert bone(bent, 'waist', 'thorax') @ FRONT > 0.8
    assert bone(bent, 'left_hip', 'left_knee') @ -UP > 0.99
    lying = pose_figure(Build(), straight(pitch=90))
    assert bone(lying, 'pelvis', 'thorax') @ FRONT > 0.99
    assert bone(lying, 'left_hip', 'left_knee') @ -FRONT > 0.99


def test_roll_and_side_lean_to_the_figures_left():
    assert bone(pose_figure(Build(), straight(roll=30)), 'pelvis', 'waist')[0] > 0.4
    assert bone(pose_figure(Build(), straight(side=30)), 'waist', 'thorax')[0] > 0.4


def test_children_are_smaller_with_larger_heads():
    builds = [sample_build(np.random.default_rng(s)) for s in range(200)]
    children = [build for build in builds if build.stature < 1.46]
    adults = [build for build in builds if build.stature >= 1.46]
    assert 10 < len(children) < 70
    assert np.mean([b.head for b in children]) > np.mean([b.head for b in adults])

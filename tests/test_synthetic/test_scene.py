"""Whole pictures: the ground truth must agree with the pixels."""

from dataclasses import replace

import numpy as np
import pytest

from ldcrn_mm.synthetic.mesh import PARTS
from ldcrn_mm.synthetic.scene import LANDMARKS, draw_scene

# Written down once more on purpose: what may be seen at a joint.
ADJOINING = {
    'nose': {'head'},
    'eye': {'head'},
    'ear': {'head'},
    'shoulder': {'upper_arm', 'torso'},
    'elbow': {'upper_arm', 'forearm'},
    'wrist': {'forearm', 'hand'},
    'hip': {'thigh', 'torso', 'skirt'},
    'knee': {'thigh', 'shin', 'skirt'},
    'ankle': {'shin', 'foot'},
}


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene((3, index)) for index in range(64)]


@pytest.fixture(scope='module')
def people(scenes):
    return [person for scene in scenes for person in scene.people]


def adjoining(name):
    side, _, joint = name.rpartition('_')
    names = ADJOINING[joint]
    return names | {f'{side}_{part}' for part in names}


def around(scene, point, radius=1):
    """Owners and names of parts of the pixels around a point."""
    x, y = (round(value) for value in point)
    window = np.s_[
        max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1
    ]
    parts = [PARTS[part] for part in scene.parts[window].ravel()]
    return list(zip(scene.owners[window].ravel(), parts))


def joints(scenes, *states):
    """Scene, number of the person, joint and place of all joints of COCO."""
    for scene in scenes:
        for number, person in enumerate(scene.people, 1):
            for name, state in person.visibility.items():
                if state in states and name.rpartition('_')[2] in ADJOINING:
                    yield scene, number, name, person.points[name]


def test_same_seed_gives_the_same_scene():
    first, second = draw_scene((1, 2)), draw_scene((1, 2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.parts, second.parts)
    assert [p.points for p in first.people] == [p.points for p in second.people]


def test_other_seeds_give_other_scenes():
    first, second = draw_scene(1, 128, 96), draw_scene(2, 128, 96)
    assert np.mean(first.image != second.image) > 0.5


def test_drawing_leaves_the_global_random_state_alone():
    np.random.seed(0)
    expected = np.random.RandomState(0).random_sample()
    draw_scene(0, 64, 64)
    assert np.random.random_sample() == expected


def test_size_is_as_asked():
    scene = draw_scene(0, width=200, height=120)
    assert scene.image.shape == (120, 200, 3)
    assert scene.image.dtype == np.uint8
    assert scene.owners.shape == scene.parts.shape == (120, 200)


def test_half_a_size_is_refused():
    with pytest.raises(ValueError, match='both width and height'):
        draw_scene(0, width=200)


def test_tiny_pictures_are_refused():
    with pytest.raises(ValueError, match=r'at least 64 x 64.*got 64 x 32'):
        draw_scene(0, width=64, height=32)


def test_seen_joints_show_the_limbs_they_join(scenes):
    count = 0
    for scene, number, name, point in joints(scenes, 2):
        allowed = adjoining(name)
        pixels = around(scene, point)
        assert any(o == number and part in allowed for o, part in pixels), name
        count += 1
    assert count > 1000


def test_joints_under_somebody_or_something_else_are_hidden(scenes):
    count = 0
    for scene, number, name, point in joints(scenes, 1, 2):
        if all(owner != number for owner, _ in around(scene, point, radius=3)):
            assert scene.people[number - 1].visibility[name] == 1, name
            count += 1
    assert count > 50


def test_joints_under_the_persons_other_limbs_are_hidden(scenes):
    count = 0
    for scene, number, name, point in joints(scenes, 1, 2):
        allowed = adjoining(name)
        pixels = around(scene, point, radius=3)
        if all(o == number and part not in allowed for o, part in pixels):
            assert scene.people[number - 1].visibility[name] == 1, name
            count += 1
    assert count > 50


def test_limbs_in_full_view_have_seen_joints(scenes):
    """Most wrists and ankles with only their own limb around are not hidden."""
    states = []
    for scene, number, name, point in joints(scenes, 1, 2):
        if name.endswith(('wrist', 'ankle', 'elbow', 'knee')):
            allowed = adjoining(name)
            if all(o == number and p in allowed for o, p in around(scene, point)):
                states.append(scene.people[number - 1].visibility[name])
    assert len(states) > 200
    assert np.mean(np.array(states) == 2) > 0.9


def test_visibility_is_zero_exactly_outside_the_picture(scenes):
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for person in scene.people:
            for name, (x, y) in person.points.items():
                inside = -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
                assert (person.visibility[name] > 0) == inside


def test_profiles_show_the_ear_and_the_hip_of_one_side(people):
    same = []
    for person in people:
        ears = [person.visibility[f'{side}_ear'] for side in ('left', 'right')]
        hips = [person.visibility[f'{side}_hip'] for side in ('left', 'right')]
        if sorted(ears) == sorted(hips) == [1, 2]:
            same.append(ears == hips)
    assert len(same) >= 5
    assert np.mean(same) > 0.8


def test_masks_are_the_owners(scenes):
    for scene in scenes:
        for number, person in enumerate(scene.people, 1):
            np.testing.assert_array_equal(person.mask, scene.owners == number)
        assert scene.owners.max() <= len(scene.people)
        assert (scene.parts[scene.owners > 0] > 0).all()


def test_shown_share_falls_with_what_stands_before(people):
    shown = np.array([person.shown for person in people])
    assert ((shown >= 0) & (shown <= 1)).all()
    assert np.mean(shown > 0.95) > 0.4
    assert np.mean(shown < 0.9) > 0.1


def test_nearly_hidden_people_are_not_labelled(people):
    whole = next(person for person in people if person.shown == 1)
    assert whole.labelled
    assert not replace(whole, shown=0.1).labelled
    assert not replace(whole, visibility=dict.fromkeys(LANDMARKS, 1)).labelled
    assert 0.9 < np.mean([person.labelled for person in people]) <= 1


def test_head_boxes_surround_the_face(people):
    for person in people:
        left, top, right, bottom = person.head_box
        x, y = person.points['left_eye']
        margin = 0.02 * person.stature
        assert left - margin < x < right + margin
        assert top - margin < y < bottom + margin
        diagonal = np.hypot(right - left, bottom - top)
        assert 0.11 < diagonal / person.stature < 0.32


def test_facing_the_viewer_puts_the_left_at_larger_x(people):
    """Where both eyes and both shoulders show, most bodies follow the face."""
    order = []
    for person in people:
        names = ('left_eye', 'right_eye', 'left_shoulder', 'right_shoulder')
        if all(person.visibility[name] == 2 for name in names):
            eyes = person.points['left_eye'][0] - person.points['right_eye'][0]
            head = person.points['head_top'][1] < person.points['upper_neck'][1]
            width = (
                person.points['left_shoulder'][0] - person.points['right_shoulder'][0]
            )
            if head and eyes > 0.02 * person.stature:
                order.append(width > 0)
    assert len(order) > 15
    assert np.mean(order) > 0.9


def test_facing_away_hides_the_face(people):
    noses = []
    for person in people:
        eyes = person.points['left_eye'][0] - person.points['right_eye'][0]
        upright = person.points['head_top'][1] < person.points['upper_neck'][1]
        if upright and eyes < -0.025 * person.stature:
            assert person.visibility['left_eye'] < 2
            assert person.visibility['right_eye'] < 2
            noses.append(person.visibility['nose'])
    assert len(noses) >= 10
    assert np.mean(np.array(noses) < 2) > 0.9  # its tip may show past a cheek


def test_pictures_are_varied(scenes, people):
    assert {len(scene.people) for scene in scenes} == {1, 2, 3, 4}
    assert len({scene.image.shape for scene in scenes}) >= 3
    brightness = [scene.image.mean() for scene in scenes]
    assert np.std(brightness) > 15
    sizes = [person.stature for person in people]
    assert np.percentile(sizes, 90) > 1.6 * np.percentile(sizes, 10)


def test_shares_of_seen_hidden_and_missing_joints(people):
    states = np.array([[p.visibility[name] for name in LANDMARKS] for p in people])
    assert 0.5 < np.mean(states == 2) < 0.85
    assert 0.12 < np.mean(states == 1) < 0.4
    assert 0.01 < np.mean(states == 0) < 0.25


def test_poses_are_spread(people):
    """Wrists, relative to the thorax, are found all around it."""
    wrists = np.array(
        [
            np.subtract(p.points['left_wrist'], p.points['thorax']) / p.stature
            for p in people
        ]
    )
    assert (wrists.std(0) > 0.12).all()
    assert np.mean(wrists[:, 1] < 0) > 0.1  # above the shoulders


def test_simple_pictures_show_one_whole_person_towards_the_viewer():
    for index in range(16):
        (person,) = draw_scene((3, index), simple=True).people
        points = person.points
        assert person.shown > 0.95
        assert points['left_shoulder'][0] > points['right_shoulder'][0]
        head, hips = points['head_top'][1], points['pelvis'][1]
        feet = max(points['left_ankle'][1], points['right_ankle'][1])
        assert head < hips < feet

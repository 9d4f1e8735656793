"""Ids and smooth keypoints, on people who walk by formula."""

import math

import numpy as np
import pytest

from ldcrn_mm.inference.tracking import OneEuroFilter, Tracker

SIGMAS = [0.08] * 5  # a list, as in published checkpoints
SHAPE = np.array([[0, 0], [20, 40], [-20, 40], [15, 100], [-15, 100]], float)
SECONDS = 1 / 30


def person(x, y=100.0):
    """Keypoints (5, 2) and box (4,) of somebody 120 pixels tall."""
    return SHAPE + np.array([x, y]), np.array([x - 30, y - 10, x + 30, y + 110])


def update(tracker, positions, time):
    people = [person(*np.atleast_1d(position)) for position in positions]
    keypoints = np.array([one for one, _ in people]).reshape(-1, 5, 2)
    boxes = np.array([box for _, box in people]).reshape(-1, 4)
    return tracker.update(keypoints, np.ones(keypoints.shape[:2]), boxes, time)


def ids(frames):
    tracker = Tracker(SIGMAS)
    return [
        [*update(tracker, people, i * SECONDS)[0]] for i, people in enumerate(frames)
    ]


def test_a_person_keeps_the_id_in_any_order():
    frames = [[100, 300, 500], [503, 103, 303], [306, 506, 106]]
    assert ids(frames) == [[1, 2, 3], [3, 1, 2], [2, 3, 1]]


def test_the_nearest_person_is_followed_where_two_are_near():
    # Each is more like the other's last place than like nobody.
    assert ids([[100, 130], [118, 148]]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize(('gap', 'expected'), [(25, 1), (35, 2)])
def test_who_was_lost_for_up_to_a_second_keeps_the_id(gap, expected):
    assert ids([[100], *[[]] * gap, [100]])[-1] == [expected]


def test_a_jump_across_the_picture_is_somebody_new():
    assert ids([[100], [400]]) == [[1], [2]]


def test_ids_are_never_given_twice():
    assert ids([[100], [100, 400], [], [100, 400, 700]])[-1] == [1, 2, 3]


def test_a_still_person_jitters_less_than_half():
    tracker, random = Tracker(SIGMAS), np.random.default_rng(0)
    places = 100 + random.normal(0, 1, 300)
    smooth = [
        update(tracker, [x], i * SECONDS)[1][0, 0, 0] for i, x in enumerate(places)
    ]
    assert np.std(smooth[30:]) < 0.5 * np.std(places[30:])
    assert np.mean(smooth[30:]) == pytest.approx(100, abs=0.3)


def test_a_runner_is_followed_with_little_delay():
    tracker, speed = Tracker(SIGMAS), 340  # pixels a second: four body sizes
    for i in range(60):
        smooth = update(tracker, [100 + speed * i * SECONDS], i * SECONDS)[1]
    delay = (100 + speed * 59 * SECONDS - smooth[0, 0, 0]) / speed
    assert 0 <= delay < 0.02  # seconds, less than a frame


def test_the_filter_is_the_formula_of_the_paper():
    one_euro, points = OneEuroFilter(), [3.0, 5.0, 4.5]
    found = [one_euro(np.array([[x, 0.0]]), 10, 0.1)[0, 0] for x in points]

    def alpha(cutoff):
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / 0.1)

    expected, speed = [points[0]], 0
    for x in points[1:]:
        speed = alpha(1) * (x - expected[-1]) / (10 * 0.1) + (1 - alpha(1)) * speed
        weight = alpha(1.5 + 4 * abs(speed))
        expected.append(weight * x + (1 - weight) * expected[-1])
    np.testing.assert_allclose(found, expected)


def test_data_without_sigmas():
    with pytest.raises(ValueError, match='sigma for each keypoint'):
        Tracker([])


def test_nobody_in_a_frame():
    found, smooth = update(Tracker(SIGMAS), [], 0)
    assert (found.shape, smooth.shape) == ((0,), (0, 5, 2))

"""Places of camera, people and things."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.stage import sample_light, stage_people, stage_props

STAGES = [stage_people(np.random.default_rng(seed), 320, 256) for seed in range(40)]


def test_people_stand_on_the_ground_from_far_to_near():
    for _, actors in STAGES:
        distances = [actor.distance for actor in actors]
        assert distances == sorted(distances, reverse=True)
        for actor in actors:
            assert 0 <= actor.mesh.corners[..., 1].min() < 0.8  # they may jump


def test_one_to_four_people():
    counts = [len(actors) for _, actors in STAGES]
    assert set(counts) == {1, 2, 3, 4}


def test_meshes_surround_their_joints():
    for _, actors in STAGES:
        for actor in actors:
            points = actor.mesh.corners.reshape(-1, 3)
            joints = np.stack(list(actor.figure.joints.values())) + actor.offset
            assert (points.min(0) <= joints.min(0) + 1e-9).all()
            assert (points.max(0) >= joints.max(0) - 1e-9).all()


def test_somebody_fills_much_of_the_picture():
    for camera, actors in STAGES:
        scales = [camera.focal * a.figure.build.stature / a.distance for a in actors]
        assert max(scales) > 0.45 * camera.height


def test_things_stand_before_and_behind_people():
    before, behind = 0, 0
    for seed, (camera, actors) in enumerate(STAGES):
        for distance, mesh in stage_props(np.random.default_rng(seed), camera, actors):
            middle = -mesh.corners[..., 2].mean()
            assert middle == pytest.approx(distance, abs=0.2)
            before += distance < actors[0].distance
            behind += distance > actors[0].distance
    assert before > 5
    assert behind > 5


def test_light_comes_from_above():
    for seed in range(50):
        light = sample_light(np.random.default_rng(seed))
        assert np.linalg.norm(light.direction) == pytest.approx(1)
        assert light.direction[1] > 0
        assert 0.9 < light.ambient + light.strength < 1.6

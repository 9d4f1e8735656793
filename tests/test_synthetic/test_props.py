"""Things stand on the ground and are turned outwards."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.props import PROPS, sample_prop, seat


@pytest.mark.parametrize('prop', PROPS)
def test_props_stand_on_the_ground_and_belong_to_nobody(prop):
    for seed in range(5):
        mesh = prop(np.random.default_rng(seed))
        lowest = mesh.corners[..., 1].min()
        assert lowest == pytest.approx(0, abs=0.1)  # leaves may hang a little lower
        assert 0.1 < mesh.corners[..., 1].max() < 4
        assert not mesh.parts.any()


def test_seats_are_as_high_as_asked():
    for seed in range(10):
        mesh = seat(np.random.default_rng(seed), 0.45)
        top = mesh.corners[mesh.normals[:, 1] > 0.99][..., 1]
        middle = np.abs(mesh.corners[mesh.normals[:, 1] > 0.99][..., 2].mean(1)) < 0.15
        assert top[middle].max() == pytest.approx(0.45)
        assert mesh.corners[..., 1].min() == pytest.approx(0)


def test_backrests_are_behind():
    for seed in range(10):
        mesh = seat(np.random.default_rng(seed), 0.45)
        above = mesh.corners[mesh.corners[..., 1].mean(1) > 0.5]
        assert (above[..., 2] < 0).all()


def test_all_kinds_occur():
    shapes = {len(sample_prop(np.random.default_rng(s)).corners) for s in range(60)}
    assert len(shapes) > 10

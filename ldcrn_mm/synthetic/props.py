"""Things that stand around: they hide parts of people, or people sit on them."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from .backdrop import FLOORS, WALLS
from .looks import FABRICS, pick_colour
from .mesh import Mesh, MeshBuilder, box, ellipsoid, shifted, tube


def seat(rng: Generator, height: float) -> Mesh:
    """A stool, or a chair that faces z, whose top is ``height`` metres high."""
    builder = MeshBuilder()
    colour = pick_colour(rng, FLOORS + FABRICS[:12])
    wide = rng.uniform(0.36, 0.5)
    thick = 0.06 if rng.random() < 0.6 else height
    top = box((wide, min(thick, height), wide), 0.12)
    builder.add(shifted(top, y=height - min(thick, height)), colour)
    if thick < height:
        for x, z in np.ndindex(2, 2):
            leg = box((0.04, height - thick, 0.04), 0.15)
            at = (wide - 0.05) * (np.array([x, z]) - 0.5)
            builder.add(shifted(leg, x=at[0], z=at[1]), 0.8 * np.asarray(colour))
    if rng.random() < 0.5:
        back = box((wide, rng.uniform(0.3, 0.5), 0.04), 0.12)
        builder.add(shifted(back, y=height, z=-wide / 2 - 0.04), colour)
    return builder.build()


def crate(rng: Generator) -> Mesh:
    """A box of any proportions."""
    builder = MeshBuilder()
    size = rng.uniform(0.3, 1.0, 3) * (1, 0.9, 0.7)
    builder.add(box(size, 0.2), pick_colour(rng, FLOORS + FABRICS))
    return builder.build()


def pole(rng: Generator) -> Mesh:
    """A post, a trunk or a barrel."""
    builder = MeshBuilder()
    barrel = rng.random() < 0.35
    height = rng.uniform(0.5, 0.9) if barrel else rng.uniform(1.2, 3.5)
    radius = rng.uniform(0.2, 0.3) if barrel else rng.uniform(0.03, 0.12)
    levels = np.linspace(height, 0, 9)
    centres = np.stack([0 * levels, levels, 0 * levels], 1)
    bulge = radius * (1 + 0.15 * barrel * np.sin(np.pi * levels / height))
    bulge = np.concatenate([[0.0], bulge])  # closes the top
    centres = np.concatenate([centres[:1], centres])
    left, front = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    corners = tube(centres, left, front, bulge, bulge, 12)
    colour = np.asarray(pick_colour(rng, FLOORS + WALLS))
    bands = 1 - 0.25 * (np.arange(len(corners)) % 4 == 1) * (rng.random() < 0.5)
    builder.add(corners, colour * bands[:, None, None])
    return builder.build()


def bush(rng: Generator) -> Mesh:
    """Leaves at random."""
    builder = MeshBuilder()
    wide, tall = rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.9)
    count = 260
    at = rng.normal(0, 1, (count, 3))
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    at *= rng.random((count, 1)) ** 0.4 * (wide, tall / 2, wide)
    at[:, 1] += tall / 2
    axes = rng.normal(0, 1, (2, count, 3))
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    axes *= rng.uniform(0.03, 0.07)
    leaves = np.stack([at - axes[0], at + axes[1], at + axes[0], at - axes[1]], 1)
    greens = ((70, 160, 90), (80, 190, 150), (70, 140, 120), (90, 160, 190))
    green = np.asarray(pick_colour(rng, greens))
    colours = green * rng.uniform(0.7, 1.25, (count, 1))
    # Lit as the round whole that they make, not leaf by leaf.
    normals = shifted(at, y=-tall / 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    builder.add(leaves, colours, normals=normals)
    builder.add(leaves[:, ::-1], colours, normals=normals)
    return builder.build()


def bench(rng: Generator) -> Mesh:
    """A table or a bench: a board on legs."""
    builder = MeshBuilder()
    wide, deep = rng.uniform(0.8, 1.6), rng.uniform(0.3, 0.6)
    height = rng.uniform(0.42, 0.8)
    colour = np.asarray(pick_colour(rng, FLOORS))
    board = box((wide, 0.06, deep), 0.15)
    builder.add(shifted(board, y=height - 0.06), colour)
    for x, z in np.ndindex(2, 2):
        at = (np.array([x, z]) - 0.5) * (wide - 0.1, deep - 0.06)
        leg = box((0.05, height - 0.06, 0.05), 0.2)
        builder.add(shifted(leg, x=at[0], z=at[1]), 0.75 * colour)
    return builder.build()


def fence(rng: Generator) -> Mesh:
    """Upright boards between two rails."""
    builder = MeshBuilder()
    height, pitch = rng.uniform(0.5, 1.0), rng.uniform(0.18, 0.35)
    colour = np.asarray(pick_colour(rng, WALLS + FLOORS))
    count = int(rng.integers(3, 7))
    for i in range(count):
        board = box((0.06, height, 0.03), 0.25)
        builder.add(shifted(board, x=(i - (count - 1) / 2) * pitch), colour)
    for share in (0.3, 0.8):
        rail = box((count * pitch, 0.05, 0.03), 0.25)
        builder.add(shifted(rail, y=share * height, z=-0.03), 0.9 * colour)
    return builder.build()


def ball(rng: Generator) -> Mesh:
    """A ball in two colours."""
    builder = MeshBuilder()
    radius = rng.uniform(0.1, 0.2)
    corners = ellipsoid(np.array([0, radius, 0]), np.eye(3), (radius,) * 3, 14)
    pair = np.array([pick_colour(rng, FABRICS), pick_colour(rng, FABRICS)])
    builder.add(corners, pair[np.arange(14) // 2 % 2][None])
    return builder.build()


PROPS: tuple[Callable[[Generator], Mesh], ...] = (
    crate,
    pole,
    bush,
    bench,
    fence,
    ball,
)


def sample_prop(rng: Generator) -> Mesh:
    """Draws a thing that stands on the ground around the origin."""
    return PROPS[rng.integers(len(PROPS))](rng)

"""Surfaces made of small coloured quadrilaterals.

Everything that is drawn in front of the backdrop, people and objects, is a
:class:`Mesh`. Corners run so that the outward normal of a quadrilateral is
``(p2 - p0) x (p3 - p1)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

# What a pixel of a person shows; the position is the number in part masks.
PARTS = (
    'none',
    'torso',
    'neck',
    'head',
    'hair',
    'skirt',
    'bag',
    'left_upper_arm',
    'right_upper_arm',
    'left_forearm',
    'right_forearm',
    'left_hand',
    'right_hand',
    'left_thigh',
    'right_thigh',
    'left_shin',
    'right_shin',
    'left_foot',
    'right_foot',
)
PART_NUMBER = {name: number for number, name in enumerate(PARTS)}
_OWN = np.full(3, np.nan)


@dataclass
class Mesh:
    """Quadrilaterals with their colours.

    Args:
        corners: (N, 4, 3), metres.
        colours: (N, 3), blue, green, red in 0..255.
        parts: (N,), numbers of :data:`PARTS`.
        bias: (N,), metres by which a quadrilateral is drawn nearer than it is.
        normals: (N, 3), unit vectors by which it is lit.
    """

    corners: np.ndarray
    colours: np.ndarray
    parts: np.ndarray
    bias: np.ndarray
    normals: np.ndarray

    def moved(self, rotation: np.ndarray, offset: Sequence[float]) -> 'Mesh':
        """The same surface rotated, then shifted."""
        corners = self.corners @ rotation.T + np.asarray(offset)
        normals = self.normals @ rotation.T
        return Mesh(corners, self.colours, self.parts, self.bias, normals)


class MeshBuilder:
    """Collects surfaces and joins them once."""

    def __init__(self) -> None:
        self._pieces: list[Mesh] = []

    def add(
        self,
        corners: np.ndarray,
        colours: np.ndarray | Sequence[float],
        part: str = 'none',
        bias: float = 0.0,
        keep: np.ndarray | None = None,
        normals: np.ndarray | None = None,
    ) -> None:
        """Adds a surface.

        Args:
            corners: (..., 4, 3).
            colours: One colour or one per quadrilateral, (..., 3).
            part: Name in :data:`PARTS`.
            bias: Metres to be drawn nearer by.
            keep: Boolean (...): which quadrilaterals to use; all by default.
            normals: (..., 3), by which they are lit; their own by default.
        """
        shape = corners.shape[:-2]
        colours = np.broadcast_to(colours, (*shape, 3))
        normals = np.broadcast_to(_OWN if normals is None else normals, (*shape, 3))
        if keep is not None:
            keep = np.broadcast_to(keep, shape)
            corners, colours, normals = corners[keep], colours[keep], normals[keep]
        corners = corners.reshape(-1, 4, 3)
        numbers = np.full(len(corners), PART_NUMBER[part], np.uint8)
        biases = np.full(len(corners), bias)
        colours, normals = colours.reshape(-1, 3), normals.reshape(-1, 3)
        self.add_mesh(Mesh(corners, colours, numbers, biases, normals))

    def add_mesh(self, mesh: Mesh) -> None:
        """Adds all of another mesh."""
        self._pieces.append(mesh)

    def build(self) -> Mesh:
        """Everything added so far as one mesh."""
        names = (item.name for item in fields(Mesh))
        columns = ([getattr(mesh, name) for mesh in self._pieces] for name in names)
        mesh = Mesh(*map(np.concatenate, columns))
        own = np.isnan(mesh.normals[:, 0])  # all at once is much faster
        mesh.normals[own] = outward(mesh.corners[own])
        return mesh


def outward(corners: np.ndarray) -> np.ndarray:
    """Unit normals (..., 3) of quadrilaterals (..., 4, 3)."""
    a = np.moveaxis(corners[..., 2, :] - corners[..., 0, :], -1, 0)
    b = np.moveaxis(corners[..., 3, :] - corners[..., 1, :], -1, 0)
    # Written out: np.cross takes five times as long.
    normals = np.stack(
        [
            a[1] * b[2] - a[2] * b[1],
            a[2] * b[0] - a[0] * b[2],
            a[0] * b[1] - a[1] * b[0],
        ],
        -1,
    )
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.maximum(length, 1e-12)


def shifted(
    points: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0
) -> np.ndarray:
    """The points (..., 3), moved."""
    return points + np.array([x, y, z])


def circle(sides: int) -> np.ndarray:
    """Angles of the corners of a cross-section, (sides + 1,), closed."""
    return np.linspace(0, 2 * np.pi, sides + 1)


def facet_angles(sides: int) -> np.ndarray:
    """Angles of the middles of the facets, (sides,); 90 degrees is the front."""
    return (np.arange(sides) + 0.5) * (2 * np.pi / sides)


def tube(
    centres: np.ndarray,
    left: np.ndarray,
    front: np.ndarray,
    half_widths: np.ndarray,
    half_depths: np.ndarray,
    sides: int,
) -> np.ndarray:
    """Elliptic rings along a line, joined by quadrilaterals.

    The rings must follow ``left x front``, or the surface is inside out.

    Args:
        centres: (R, 3).
        left: Direction of the width, (3,) or (R, 3).
        front: Direction of the depth, (3,) or (R, 3).
        half_widths: (R,), along ``left``.
        half_depths: (R,), along ``front``.
        sides: Facets per ring.

    Returns:
        Corners, (R - 1, sides, 4, 3).
    """
    angles = circle(sides)
    left = np.broadcast_to(left, centres.shape)
    front = np.broadcast_to(front, centres.shape)
    across = half_widths[:, None, None] * np.cos(angles)[:, None] * left[:, None]
    along = half_depths[:, None, None] * np.sin(angles)[:, None] * front[:, None]
    return quads(centres[:, None] + across + along)


def quads(grid: np.ndarray) -> np.ndarray:
    """Corners (R - 1, C - 1, 4, 3) of the cells of a grid of points (R, C, 3)."""
    return np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], 2)


def disc(
    centre: np.ndarray,
    left: np.ndarray,
    up: np.ndarray,
    half_width: float,
    half_height: float,
    sides: int = 8,
) -> np.ndarray:
    """A flat ellipse that faces ``left x up``; corners (1, sides, 4, 3)."""
    angles = circle(sides)[:, None]
    rim = np.cos(angles) * half_width * left + np.sin(angles) * half_height * up
    middle = np.broadcast_to(centre, rim.shape)
    return quads(np.stack([middle + rim, middle]))


def ellipsoid(
    centre: np.ndarray,
    frame: np.ndarray,
    radii: Sequence[float],
    sides: int,
) -> np.ndarray:
    """An ellipsoid with ``radii`` along the columns of ``frame``."""
    polar = np.linspace(0, np.pi, max(5, sides // 2 + 2))
    centres = centre + np.cos(polar)[:, None] * radii[1] * frame[:, 1]
    width, depth = np.sin(polar) * radii[0], np.sin(polar) * radii[2]
    return tube(centres, frame[:, 0], frame[:, 2], width, depth, sides)


def box(size: Sequence[float], step: float) -> np.ndarray:
    """A cuboid that stands on the ground around the origin.

    Args:
        size: Width (x), height (y), depth (z).
        step: Largest side of a facet: small ones sort well by depth.

    Returns:
        Corners, (N, 4, 3).
    """
    half = np.asarray(size) / 2
    faces = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        cells_u, cells_v = (max(1, int(np.ceil(size[i] / step))) for i in (u, v))
        for sign in (1, -1):
            grid = np.zeros((cells_u + 1, cells_v + 1, 3))
            grid[..., axis] = sign * half[axis]
            grid[..., u] = np.linspace(-half[u], half[u], cells_u + 1)[:, None]
            grid[..., v] = np.linspace(-half[v], half[v], cells_v + 1)
            face = quads(grid).reshape(-1, 4, 3)
            # u x v is +axis and rows run along u: columns first turn it around
            faces.append(face[:, ::-1] if sign > 0 else face)
    corners = np.concatenate(faces)
    corners[..., 1] += half[1]
    return corners

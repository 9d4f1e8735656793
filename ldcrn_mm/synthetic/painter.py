"""Camera, light and the rasteriser.

Facets are filled from far to near into an image of facet numbers, at twice the
final resolution; colours, parts, owners and depths are looked up in tables by
that number, so one pass gives the picture and the ground truth that belongs to
it, pixel by pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from .mesh import Mesh, outward

OVERSAMPLING = 2
NEAREST = 0.15  # metres: what is nearer to the camera is not drawn
_SUBPIXEL_BITS = 3


@dataclass(frozen=True)
class Camera:
    """A pinhole with a horizontal axis, as a shift lens: verticals stay vertical.

    Args:
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        focal: Focal length, in pixels.
        horizon: Image row of the horizon; may be outside the image.
        elevation: Height above the ground, in metres.
    """

    width: int
    height: int
    focal: float
    horizon: float
    elevation: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points in metres (..., 3) to continuous image positions (..., 2).

        The camera looks along -z. The centre of the upper left pixel is
        (0.5, 0.5).
        """
        distance = np.maximum(-points[..., 2], NEAREST)
        x = self.width / 2 + self.focal * points[..., 0] / distance
        y = self.horizon + self.focal * (self.elevation - points[..., 1]) / distance
        return np.stack([x, y], -1)

    def view_of(self, points: np.ndarray) -> np.ndarray:
        """Vectors from the points to the camera, (..., 3)."""
        return np.array([0.0, self.elevation, 0.0]) - points


@dataclass(frozen=True)
class Light:
    """A distant lamp and the sky.

    Args:
        direction: Towards the lamp, a unit vector (3,).
        ambient: Share of light without the lamp.
        strength: Of the lamp.
        tint: Colour of the light, (3,), about 1.
    """

    direction: np.ndarray
    ambient: float
    strength: float
    tint: np.ndarray

    def shade(self, normals: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Brightness per facet, (N,); edges are darker, which parts the limbs."""
        lamp = np.maximum(normals @ self.direction, 0)
        sky = 0.5 + 0.5 * normals[:, 1]
        facing = np.abs(np.sum(normals * views, 1))
        value = self.ambient * (0.75 + 0.25 * sky) + self.strength * lamp
        return value * (0.78 + 0.22 * facing)


@dataclass
class Canvas:
    """Collects drawn meshes; ``facets`` is the image of facet numbers.

    Args:
        camera: How points become pixels.
        light: How facets are lit.
        smoothing: Side of the window over which light is averaged, in pixels
            of the oversampled image; odd.
    """

    camera: Camera
    light: Light
    smoothing: int = 5
    facets: np.ndarray = field(init=False)
    _colours: list[np.ndarray] = field(init=False)
    _shades: list[np.ndarray] = field(init=False)
    _parts: list[np.ndarray] = field(init=False)
    _owners: list[np.ndarray] = field(init=False)
    _depths: list[np.ndarray] = field(init=False)
    _count: int = 1

    def __post_init__(self) -> None:
        size = (
            self.camera.height * OVERSAMPLING,
            self.camera.width * OVERSAMPLING,
        )
        self.facets = np.zeros(size, np.int32)  # facet 0 is the backdrop
        self._colours, self._shades = [np.zeros((1, 3))], [np.zeros(1)]
        self._parts, self._owners = [np.zeros(1, np.uint8)], [np.zeros(1, np.uint8)]
        self._depths = [np.full(1, np.inf)]

    def draw(self, mesh: Mesh, owner: int = 0) -> int:
        """Draws a mesh over what is there; draw far things first.

        Args:
            mesh: Surface in the camera's space.
            owner: Number of the person it belongs to, from 1; 0 for objects.

        Returns:
            Number of pixels of the oversampled image that it covers, before
            anything is drawn over it.
        """
        middles = mesh.corners.mean(1)
        views = self.camera.view_of(middles)
        views /= np.maximum(np.linalg.norm(views, axis=1, keepdims=True), 1e-12)
        nearest = -mesh.corners[..., 2].max(1)
        facing = np.sum(outward(mesh.corners) * views, 1) > 0
        shown = np.flatnonzero(facing & (nearest > NEAREST))
        depths = -middles[shown, 2]
        order = np.argsort(-(depths - mesh.bias[shown]), kind='stable')
        shown, depths = shown[order], depths[order]

        self._shades.append(self.light.shade(mesh.normals[shown], views[shown]))
        self._colours.append(mesh.colours[shown])
        # A seat is drawn together with who sits on it, but is not of the person.
        parts = mesh.parts[shown]
        self._parts.append(parts)
        self._owners.append(np.where(parts > 0, owner, 0).astype(np.uint8))
        self._depths.append(depths)
        first, self._count = self._count, self._count + len(shown)
        self._fill(self.camera.project(mesh.corners[shown]), first)
        return int(np.count_nonzero(self.facets >= first))

    def _fill(self, outlines: np.ndarray, first: int) -> None:
        # OpenCV counts positions from the centre of the first pixel.
        outlines = (outlines * OVERSAMPLING - 0.5) * (1 << _SUBPIXEL_BITS)
        limit = 1 << 20
        outlines = np.clip(np.rint(outlines), -limit, limit).astype(np.int32)
        for number, outline in enumerate(outlines, first):
            cv2.fillConvexPoly(self.facets, outline, number, 8, _SUBPIXEL_BITS)

    def picture(self, backdrop: np.ndarray) -> np.ndarray:
        """The drawn things before a backdrop (H, W, 3), both uint8 BGR."""
        table = np.zeros((self._count, 4), np.uint8)
        table[:, :3] = np.clip(np.concatenate(self._colours) * self.light.tint, 0, 255)
        table[1:, 3] = 255
        packed = table.view(np.uint32)[:, 0].take(self.facets)
        layers = packed.view(np.uint8).reshape(*self.facets.shape, 4)
        layers = cv2.multiply(layers, self._light_map(layers[..., 3]), scale=1 / 128)
        size = (self.camera.width, self.camera.height)
        layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA)
        share = 255 - layers[..., 3:].astype(np.uint16)
        rest = (backdrop * share + 127) // 255
        return (layers[..., :3] + rest).clip(0, 255).astype(np.uint8)

    def _light_map(self, cover: np.ndarray) -> np.ndarray:
        """Brightness (128 is 1) of the facets, smoothed, which hides their edges."""
        shades = np.clip(128 * np.concatenate(self._shades), 0, 255).astype(np.uint8)
        size = (self.smoothing, self.smoothing)
        light = cv2.blur(shades.take(self.facets), size)
        # Normalised by the share of the window that is covered at all.
        light = cv2.divide(light, cv2.blur(cover, size), scale=255)
        return cv2.merge([light, light, light, np.full_like(light, 128)])

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Owners and parts of the pixels of the picture, both (H, W) uint8."""
        facets = self.facets[OVERSAMPLING // 2 :: OVERSAMPLING]
        facets = facets[:, OVERSAMPLING // 2 :: OVERSAMPLING]
        return np.concatenate(self._owners)[facets], np.concatenate(self._parts)[facets]

    def sees(
        self,
        points: np.ndarray,
        owner: int,
        parts: Sequence[Sequence[int]],
        reach: Sequence[float],
    ) -> np.ndarray:
        """Which points inside a person show at the surface of the picture.

        Args:
            points: (K, 3), in metres.
            owner: Number of the person.
            parts: For each point, the parts under which it counts as seen.
            reach: For each point, how far below the surface it may be, in
                metres: a hip of the far side is behind the whole trunk.

        Returns:
            Boolean (K,); False outside the picture.
        """
        table_parts = np.concatenate(self._parts)
        table_owners = np.concatenate(self._owners)
        table_depths = np.concatenate(self._depths)
        places = np.floor(self.camera.project(points) * OVERSAMPLING).astype(int)
        seen = np.zeros(len(points), bool)
        height, width = self.facets.shape
        for index, (x, y) in enumerate(places):
            if not (0 <= x < width and 0 <= y < height):
                continue
            facets = self.facets[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].ravel()
            near = -points[index, 2] - table_depths[facets] < reach[index]
            right = np.isin(table_parts[facets], parts[index])
            seen[index] = np.any((table_owners[facets] == owner) & right & near)
        return seen

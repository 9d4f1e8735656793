"""Backdrops: rooms, streets, meadows, studios and plain clutter."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator

from .looks import FABRICS, SKINS, Colour, pick_colour
from .painter import Camera

Picture = np.ndarray  # (H, W, 3) float32, blue, green, red in 0..255
Tone = Colour | np.ndarray
Tones = tuple[Colour, ...]

WALLS = (
    (200, 214, 222),
    (228, 230, 232),
    (190, 200, 180),
    (205, 190, 170),
    (150, 175, 205),
    (120, 140, 170),
    (170, 160, 190),
    (110, 110, 112),
    (90, 120, 160),
)
FLOORS = (
    (70, 110, 160),
    (50, 80, 120),
    (110, 140, 170),
    (140, 140, 140),
    (90, 90, 95),
    (60, 70, 110),
    (170, 185, 195),
    (100, 90, 60),
)
ROADS = ((120, 118, 116), (90, 90, 92), (150, 155, 160))


def noise(rng: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise (H, W) of mean 0 and about unit range; ``cell`` in pixels."""
    rows, columns = (max(2, int(np.ceil(size / cell)) + 1) for size in (height, width))
    grid = rng.random((rows, columns), np.float32) - 0.5
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal(rng: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Three octaves of :func:`noise`."""
    octaves = (noise(rng, height, width, cell / 2**i) / 2**i for i in range(3))
    return sum(octaves)


def _colour(colour: Tone) -> np.ndarray:
    return np.asarray(colour, np.float32)


def _blend(low: Tone, high: Tone, share: np.ndarray) -> Picture:
    share = np.clip(share, 0, 1, dtype=np.float32)[..., None]
    return _colour(low) + (_colour(high) - _colour(low)) * share


def _rectangle(
    image: Picture, x0: float, y0: float, x1: float, y1: float, colour: Tone
) -> None:
    corners = [(round(x), round(y)) for x, y in ((x0, y0), (x1, y1))]
    cv2.rectangle(image, *corners, tuple(map(float, colour)), -1, cv2.LINE_AA)


def _sky(rng: Generator, camera: Camera) -> Picture:
    height, width = camera.height, camera.width
    rows = np.arange(height, dtype=np.float32)[:, None] / max(1.0, camera.horizon)
    top = pick_colour(rng, ((225, 150, 80), (200, 170, 140), (190, 120, 60)), 15)
    low = pick_colour(rng, ((240, 225, 205), (225, 225, 228), (190, 210, 245)), 8)
    image = _blend(top, low, np.broadcast_to(rows, (height, width)))
    clouds = np.clip(fractal(rng, height, width, width / 3) * 2.2, 0, 0.8)
    return image * (1 - clouds[..., None]) + 245 * clouds[..., None]


def _ground_position(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask (H, W) of the ground, and where on it a pixel lies, in metres."""
    rows = np.arange(camera.height, dtype=np.float32)[:, None] + 0.5
    columns = np.arange(camera.width, dtype=np.float32)[None] + 0.5
    below = np.maximum(rows - camera.horizon, 0.5)
    depth = camera.focal * camera.elevation / below
    across = (columns - camera.width / 2) * depth / camera.focal
    shape = (camera.height, camera.width)
    mask = np.broadcast_to(rows > camera.horizon, shape)
    return mask, across, np.broadcast_to(depth, shape)


def _floor(
    rng: Generator, camera: Camera, colours: Tones, kinds: Sequence[str]
) -> Picture:
    """Tiles, planks or a plain surface in perspective; fades far away."""
    _, across, depth = _ground_position(camera)
    base = _colour(pick_colour(rng, colours))
    size = rng.uniform(0.3, 0.8)
    kind = rng.choice(list(kinds))
    # Where a tile is smaller than some pixels its pattern would only flicker.
    sharp = np.clip(camera.focal * size / depth / 12, 0, 1)
    if kind == 'tiles':
        odd = (np.floor(across / size) + np.floor(depth / size)) % 2
        tone = (odd - 0.5) * rng.uniform(0.08, 0.35)
    elif kind == 'planks':
        plank = np.floor(across / (size / 3))
        tone = 0.25 * (np.modf(np.abs(np.sin(plank * 12.9898) * 437.585))[0] - 0.5)
    else:
        tone = np.zeros_like(depth)
    grain = fractal(rng, camera.height, camera.width, 10) * rng.uniform(0.02, 0.16)
    return base * (1 + tone * sharp + grain)[..., None]


def _lawn(rng: Generator, camera: Camera, colours: Tones) -> Picture:
    height, width = camera.height, camera.width
    grain = 0.6 * noise(rng, height, width, 2.5) + 0.6 * fractal(rng, height, width, 30)
    base = _colour(pick_colour(rng, colours))
    return base * (1 + rng.uniform(0.2, 0.5) * grain)[..., None]


def _below(camera: Camera, row: float) -> np.ndarray:
    rows = np.arange(camera.height)[:, None, None]
    return rows >= row


def _tree(rng: Generator, image: Picture, x: float, base: float, size: float) -> None:
    trunk = tuple(float(c) * rng.uniform(0.7, 1.1) for c in (45, 65, 90))
    top = (round(x + rng.normal(0, 0.05) * size), round(base - 0.6 * size))
    thick = max(1, round(0.06 * size))
    cv2.line(image, (round(x), round(base)), top, trunk, thick, cv2.LINE_AA)
    green = _colour(pick_colour(rng, ((50, 110, 60), (40, 90, 90), (60, 140, 130))))
    for _ in range(22):
        at = np.array(top) + rng.normal(0, 0.16, 2) * size
        tone = tuple((green * rng.uniform(0.6, 1.25)).tolist())
        radius = max(1, round(size * rng.uniform(0.06, 0.16)))
        cv2.circle(image, tuple(np.rint(at).astype(int)), radius, tone, -1, cv2.LINE_AA)


def meadow(rng: Generator, camera: Camera, depth: float) -> Picture:
    """Sky, hills, trees and grass."""
    image, height, width = _sky(rng, camera), camera.height, camera.width
    base = camera.horizon
    for layer in range(rng.integers(1, 4)):
        rise = noise(rng, 1, width, width / 4)[0] * 40 + rng.uniform(10, 50)
        ridge = base - np.maximum(rise / (layer + 1), 2)
        tint = _colour(pick_colour(rng, ((150, 150, 110), (110, 130, 90))))
        tint = tint * (1 - 0.15 * layer)
        under = np.arange(height)[:, None] >= ridge[None]
        image[under] = tint
    for _ in range(rng.integers(0, 7)):
        size = rng.uniform(0.15, 0.5) * height
        _tree(rng, image, rng.uniform(0, width), base + 0.06 * size, size)
    greens = ((60, 130, 80), (70, 150, 120), (80, 120, 70), (150, 190, 210))
    return np.where(_below(camera, base), _lawn(rng, camera, greens), image)


def street(rng: Generator, camera: Camera, depth: float) -> Picture:
    """Houses with windows, a road, lamp posts and trees."""
    image, width = _sky(rng, camera), camera.width
    base = camera.horizon + rng.uniform(2, 14)
    x = -rng.uniform(0, 60)
    while x < width:
        wide = rng.uniform(40, 130)
        _house(rng, image, x, base, wide, rng.uniform(0.3, 1.2) * camera.height)
        x += wide
    ground = _floor(rng, camera, ROADS, ('tiles', 'plain', 'plain'))
    _, across, away = _ground_position(camera)
    lane = np.abs(across - rng.uniform(-2, 2)) < 0.08
    dashes = (away % 3 < 1.6) & lane & (away < 25)
    ground[dashes] = 225
    image = np.where(_below(camera, base), ground, image)
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(rng.integers(0, 4)):
        at, size = rng.uniform(0, width), rng.uniform(0.4, 0.9) * camera.height
        if rng.random() < 0.5:
            _tree(rng, image, at, base + 0.05 * size, 0.6 * size)
        else:
            foot, top = (round(at), round(base + 8)), (round(at), round(base - size))
            cv2.line(image, foot, top, (70, 70, 72), rng.integers(2, 6), cv2.LINE_AA)
    return image


def _house(
    rng: Generator, image: Picture, x: float, base: float, wide: float, tall: float
) -> None:
    wall = pick_colour(rng, WALLS, 18)
    _rectangle(image, x, base - tall, x + wide, base, wall)
    pane = pick_colour(rng, ((110, 90, 60), (60, 55, 50), (200, 190, 170)), 12)
    pitch, storey = rng.uniform(12, 26), rng.uniform(18, 34)
    for left in np.arange(x + 0.3 * pitch, x + wide - 0.7 * pitch, pitch):
        for top in np.arange(base - tall + 0.3 * storey, base - 0.8 * storey, storey):
            tone = np.asarray(pane) * rng.uniform(0.8, 1.2)
            right, bottom = left + 0.5 * pitch, top + 0.55 * storey
            _rectangle(image, left, top, right, bottom, tone)


def room(rng: Generator, camera: Camera, depth: float) -> Picture:
    """A wall with things on it and a floor."""
    height, width = camera.height, camera.width
    distance = depth + rng.uniform(0.6, 3.0)
    edge = camera.horizon + camera.focal * camera.elevation / distance
    image = _wall(rng, camera)
    for _ in range(rng.integers(0, 5)):
        _hang(rng, image, edge)
    for _ in range(rng.integers(0, 3)):
        _cupboard(rng, image, edge)
    board = np.asarray(pick_colour(rng, WALLS)) * 0.9
    _rectangle(image, 0, edge - 0.02 * height, width, edge, board)
    floor = _floor(rng, camera, FLOORS, ('tiles', 'planks', 'plain'))
    return np.where(_below(camera, edge), floor, image)


def _wall(rng: Generator, camera: Camera) -> Picture:
    height, width = camera.height, camera.width
    base = _colour(pick_colour(rng, WALLS))
    tone = fractal(rng, height, width, width / 2) * 0.15
    kind = rng.choice(['plain', 'stripes', 'bricks'], p=[0.6, 0.2, 0.2])
    if kind == 'stripes':
        columns = np.arange(width) // int(rng.integers(6, 24))
        tone = tone + (columns % 2)[None] * rng.uniform(0.04, 0.2)
    elif kind == 'bricks':
        tall = int(rng.integers(6, 12))
        rows, columns = np.arange(height)[:, None], np.arange(width)[None]
        shifted = columns + (rows // tall % 2) * tall
        tone = tone - 0.22 * ((rows % tall == 0) | (shifted % (2 * tall) == 0))
        base = _colour(pick_colour(rng, ((80, 100, 160), (150, 160, 175)), 15))
    return np.ascontiguousarray(base * (1 + tone)[..., None], np.float32)


def _hang(rng: Generator, image: Picture, edge: float) -> None:
    """A window or a picture."""
    height, width = image.shape[:2]
    x, y = rng.uniform(-0.1, 0.95) * width, rng.uniform(0.02, 0.5) * edge
    wide, tall = rng.uniform(0.12, 0.35) * width, rng.uniform(0.15, 0.4) * height
    frame = pick_colour(rng, ((235, 235, 235), (40, 60, 90), (50, 50, 52)), 8)
    _rectangle(image, x, y, x + wide, y + tall, frame)
    if rng.random() < 0.5:
        pane = pick_colour(rng, ((245, 235, 220), (230, 200, 160)), 8)
        for i, j in np.ndindex(2, 2):
            left, top = x + wide * (0.06 + 0.47 * i), y + tall * (0.06 + 0.47 * j)
            _rectangle(image, left, top, left + 0.41 * wide, top + 0.41 * tall, pane)
    else:
        inside = (x + 3, y + 3, x + wide - 3, y + tall - 3)
        _rectangle(image, *inside, pick_colour(rng, FABRICS))
        centre = (round(x + wide * rng.random()), round(y + tall * 0.6))
        colour = pick_colour(rng, FABRICS)
        cv2.circle(image, centre, round(0.2 * tall), colour, -1, cv2.LINE_AA)


def _cupboard(rng: Generator, image: Picture, edge: float) -> None:
    """A cupboard, or shelves of books, against the wall."""
    height, width = image.shape[:2]
    wide, tall = rng.uniform(0.15, 0.4) * width, rng.uniform(0.15, 0.6) * height
    x, y = rng.uniform(-0.1, 0.9) * width, edge - tall
    wood = np.asarray(pick_colour(rng, FLOORS))
    _rectangle(image, x, y, x + wide, edge + 4, wood)
    if rng.random() < 0.5:
        shelf = max(14.0, tall / 4)
        for top in np.arange(y + 3, edge - shelf, shelf):
            _rectangle(image, x + 3, top, x + wide - 3, top + shelf - 3, 0.5 * wood)
            left = x + 4.0
            while left < x + wide - 8:
                thick, size = rng.uniform(2, 6), shelf * rng.uniform(0.5, 0.8)
                spine = (left, top + shelf - 3 - size, left + thick, top + shelf - 4)
                _rectangle(image, *spine, pick_colour(rng, FABRICS))
                left += thick + 1
    else:
        middle = x + wide / 2
        _rectangle(image, middle - 1, y, middle, edge, 0.6 * wood)


def studio(rng: Generator, camera: Camera, depth: float) -> Picture:
    """A smooth backdrop, lighter in one place."""
    height, width = camera.height, camera.width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    reach = rng.uniform(0.5, 1.2) * width
    share = np.exp(-(((columns - x) ** 2 + (rows - y) ** 2) / reach**2))
    dark = _colour(pick_colour(rng, WALLS + FABRICS)) * rng.uniform(0.4, 0.8)
    return _blend(dark, pick_colour(rng, WALLS), share)


def clutter(rng: Generator, camera: Camera, depth: float) -> Picture:
    """Noise and random shapes: nothing here is a clue."""
    height, width = camera.height, camera.width
    low, high = pick_colour(rng, FABRICS), pick_colour(rng, WALLS)
    share = 0.5 + fractal(rng, height, width, rng.uniform(15, 120))
    image = np.ascontiguousarray(_blend(low, high, share))
    for _ in range(rng.integers(5, 30)):
        colour = pick_colour(rng, FABRICS + WALLS)
        x, y = round(rng.uniform(0, width)), round(rng.uniform(0, height))
        size = (rng.uniform(4, 60, 2)).astype(int)
        if rng.random() < 0.5:
            angle = rng.uniform(0, 180)
            size = tuple(size.tolist())
            cv2.ellipse(image, (x, y), size, angle, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = np.array([x, y]) + rng.normal(0, 1, (4, 2)) * size
            hull = cv2.convexHull(corners.astype(np.int32))
            cv2.fillConvexPoly(image, hull, colour, cv2.LINE_AA)
    return image


THEMES: tuple[tuple[float, Callable[[Generator, Camera, float], Picture]], ...] = (
    (0.25, meadow),
    (0.22, street),
    (0.30, room),
    (0.11, studio),
    (0.12, clutter),
)


def _limb_like(rng: Generator, image: Picture) -> None:
    """A jointed stick in the colour of skin or cloth that belongs to nobody."""
    height, width = image.shape[:2]
    colour = pick_colour(rng, SKINS + FABRICS)
    thick = int(rng.integers(2, 14))
    start = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    for _ in range(rng.integers(1, 3)):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(15, 80)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        ends = (tuple(np.rint(p).astype(int).tolist()) for p in (start, end))
        cv2.line(image, *ends, colour, thick, cv2.LINE_AA)
        start = end


def paint_backdrop(rng: Generator, camera: Camera, depth: float) -> np.ndarray:
    """Draws a backdrop.

    Args:
        rng: Source of randomness.
        camera: Its horizon and elevation shape the ground.
        depth: Metres to the farthest person, who must stand before any wall.

    Returns:
        Image (H, W, 3), uint8 BGR.
    """
    weights = np.array([weight for weight, _ in THEMES])
    theme = THEMES[rng.choice(len(THEMES), p=weights / weights.sum())][1]
    image = np.ascontiguousarray(theme(rng, camera, depth), np.float32)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 5)):
            _limb_like(rng, image)
    if rng.random() < 0.5:  # out of focus
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))
    return np.clip(image, 0, 255).astype(np.uint8)

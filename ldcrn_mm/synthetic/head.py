"""Heads: a face that shows where it looks, ears, hair, hats, glasses.

Inside this module lengths are half heads (half of the height of the head), in
the head's own frame: x to its left, y up, z to the front.
"""

from dataclasses import replace

import numpy as np

from .figure import Figure
from .looks import Colour, Look
from .mesh import Mesh, MeshBuilder, disc, ellipsoid, facet_angles, quads, shifted, tube

EYE = (0.27, 0.06)  # x and y of the left eye
NOSE_TIP_Y = -0.22
EAR = (0.72, -0.06, -0.06)
# High over the face (1), above the ears (0), low at the nape (-1).
HAIRLINE = ((-1, -0.3, 0.3, 0.6, 1), (-0.6, -0.45, 0.1, 0.5, 0.56))
WHITE, LIP_RED = (238, 240, 242), (70, 60, 150)


def outline(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, half depth and forward shift of the skull at heights -1..1."""
    y = np.asarray(y, float)
    ring = np.sqrt(np.maximum(1 - y**2, 0))
    jaw = np.maximum(-y, 0)
    return (
        ring * (0.72 - 0.10 * jaw),
        ring * (0.86 - 0.16 * jaw),
        0.16 * jaw,
    )


def face_point(x: float, y: float) -> np.ndarray:
    """The point of the face at ``x`` and ``y``, shape (3,)."""
    width, depth, shift = outline(y)
    z = shift + depth * np.sqrt(max(0.0, 1 - (x / width) ** 2))
    return np.array([x, y, float(z)])


def landmarks(figure: Figure) -> dict[str, np.ndarray]:
    """Positions in space of the nose, the eyes and the ears."""
    nose = shifted(face_point(0.0, NOSE_TIP_Y), z=0.16)
    points = {
        'nose': nose,
        'left_eye': face_point(*EYE),
        'right_eye': face_point(-EYE[0], EYE[1]),
        'left_ear': np.array(EAR),
        'right_ear': np.array((-EAR[0], *EAR[1:])),
    }
    frame, half = figure.frames['head'], figure.build.half_head
    centre = figure.joints['head']
    return {name: centre + frame @ point * half for name, point in points.items()}


def build_head(figure: Figure, look: Look, sides: int) -> Mesh:
    """The surface of a head.

    Args:
        figure: Posed skeleton.
        look: Skin, hair, hat, glasses, beard.
        sides: Facets around the head.
    """
    builder = MeshBuilder()
    _skull(builder, look, sides)
    _face(builder, look)
    _hair(builder, look, sides)
    _hat(builder, look, sides)
    mesh = builder.build()
    mesh = replace(mesh, corners=mesh.corners * figure.build.half_head)
    return mesh.moved(figure.frames['head'], figure.joints['head'])


def _shell(grow: float, sides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The skull blown up: corners, and height and angle of every facet."""
    polar = np.linspace(0, np.pi, max(9, int(0.9 * sides)))
    y = np.cos(polar)
    width, depth, shift = outline(y)
    centres = np.stack([np.zeros_like(y), y * grow, shift], 1)
    left, front = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    corners = tube(centres, left, front, width * grow, depth * grow, sides)
    middles = np.cos((polar[:-1] + polar[1:]) / 2)[:, None]
    return corners, middles, facet_angles(sides)[None]


def _skull(builder: MeshBuilder, look: Look, sides: int) -> None:
    corners, y, angles = _shell(1.0, sides)
    skin = np.asarray(look.skin)
    frontal = np.sin(angles)  # 1 in front, -1 behind
    colours = np.broadcast_to(skin, (*corners.shape[:2], 3)).copy()
    stubble = 0.45 * np.asarray(look.hair) + 0.55 * skin
    if look.beard:
        colours[(y < -0.36) & (frontal > -0.2)] = look.hair
    if look.hair_style == 'bald':
        colours[(y > -0.3) & (y < 0.35) & (frontal < 0.1)] = stubble
    builder.add(corners, colours, 'head')
    for sign in (-1, 1):
        ear = np.array((sign * EAR[0], *EAR[1:]))
        corners = ellipsoid(ear, np.eye(3), (0.09, 0.20, 0.13), 8)
        builder.add(corners, 0.93 * skin, 'head', bias=0.006)


def _face(builder: MeshBuilder, look: Look) -> None:
    left, up = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    bias, skin = 0.015, np.asarray(look.skin)
    for sign in (-1, 1):
        eye = shifted(face_point(sign * EYE[0], EYE[1]), z=0.01)
        builder.add(disc(eye, left, up, 0.135, 0.075), WHITE, 'head', bias)
        pupil = disc(shifted(eye, z=0.02), left, up, 0.065, 0.075)
        builder.add(pupil, (30, 34, 40), 'head', bias + 0.002)
        brow = shifted(face_point(sign * (EYE[0] + 0.01), EYE[1] + 0.2), z=0.02)
        dark = 0.6 * np.asarray(look.hair)
        builder.add(disc(brow, left, up, 0.17, 0.035), dark, 'head', bias)
        if look.glasses:
            _lens(builder, shifted(eye, z=0.06), left, up)
    mouth = shifted(face_point(0.0, -0.52), z=0.015)
    lips = 0.55 * skin + 0.45 * np.asarray(LIP_RED)
    builder.add(disc(mouth, left, up, 0.21, 0.065), lips, 'head', bias + 0.002)
    bridge, base = face_point(0, 0.08), face_point(0, NOSE_TIP_Y - 0.10)
    tip = shifted(face_point(0, NOSE_TIP_Y), z=0.16)
    wings = [face_point(sign * 0.13, NOSE_TIP_Y - 0.06) for sign in (-1, 1)]
    for corners in (
        (bridge, bridge, wings[0], tip),
        (bridge, bridge, tip, wings[1]),
        (tip, wings[0], base, wings[1]),
    ):
        builder.add(np.array(corners), skin, 'head', bias)


def _lens(
    builder: MeshBuilder, centre: np.ndarray, left: np.ndarray, up: np.ndarray
) -> None:
    angles = np.linspace(0, 2 * np.pi, 13)[:, None]
    rim = np.cos(angles) * 0.22 * left + np.sin(angles) * 0.17 * up
    grid = np.stack([centre + rim, centre + 0.72 * rim])
    builder.add(quads(grid), (30, 30, 34), 'head', 0.03)


def _hair(builder: MeshBuilder, look: Look, sides: int) -> None:
    style, colour = look.hair_style, np.asarray(look.hair)
    if style == 'bald':
        return
    grow = {'short': 1.05, 'afro': 1.32}.get(style, 1.10)
    corners, y, angles = _shell(grow, sides)
    frontal = np.sin(angles)
    hairline = np.interp(frontal, *HAIRLINE)
    if style in ('full', 'long', 'afro'):
        hairline = np.where(frontal < 0.25, hairline - 0.35, hairline - 0.08)
    if look.hat != 'none':  # what a hat leaves to see
        corners, y, angles = _shell(1.04, sides)
    strands = 0.93 + 0.07 * np.cos(7 * angles + 3 * y)
    builder.add(corners, colour * strands[..., None], 'hair', 0.008, y > hairline)
    if style == 'long':
        _long_hair(builder, colour, sides)
    elif style == 'tail':
        frame = np.array([[1, 0, 0], [0, 0.94, -0.34], [0, 0.34, 0.94]]).T
        tail = ellipsoid(np.array([0, -0.45, -1.10]), frame, (0.22, 0.75, 0.2), 8)
        builder.add(tail, colour, 'hair')
    elif style == 'bun':
        bun = ellipsoid(np.array([0, 0.72, -0.72]), np.eye(3), (0.36, 0.34, 0.36), 10)
        builder.add(bun, colour, 'hair')


def _long_hair(builder: MeshBuilder, colour: np.ndarray, sides: int) -> None:
    """A curtain from ear to ear around the back, down to the shoulders."""
    angles = np.linspace(0.92 * np.pi, 2.08 * np.pi, sides + 1)
    levels = np.linspace(0.2, -1.75, 7)
    radius = np.interp(levels, [-1.75, -1, 0.2], [0.62, 0.82, 0.98])
    x = 0.86 * radius[:, None] * np.cos(angles)
    z = 0.95 * radius[:, None] * np.sin(angles) - 0.04
    y = np.broadcast_to(levels[:, None], x.shape)
    grid = np.stack([x, y, z], -1)
    strands = 0.93 + 0.07 * np.cos(9 * (angles[:-1] + angles[1:]))
    colours = colour * strands[None, :, None]
    builder.add(quads(grid), colours, 'hair', 0.012)
    # Seen from the front, its inner side is behind the neck.
    builder.add(quads(grid[:, ::-1]), 0.6 * colours, 'hair', -0.02)


def _hat(builder: MeshBuilder, look: Look, sides: int) -> None:
    if look.hat == 'none':
        return
    colour: Colour = look.hat_colour
    corners, y, angles = _shell(1.13, sides)
    edge = {'beanie': 0.22, 'cap': 0.34, 'brim': 0.34}[look.hat]
    band = np.where(y < edge + 0.2, 0.75, 1.0)
    colours = np.asarray(colour) * np.broadcast_to(band, corners.shape[:2])[..., None]
    builder.add(corners, colours, 'hair', 0.012, y > edge)
    if look.hat == 'beanie':
        return
    full = look.hat == 'brim'
    start, end = (0, 2 * np.pi) if full else (0.12 * np.pi, 0.88 * np.pi)
    angles = np.linspace(start, end, 15)
    reach = np.array([[0.75], [1.45]])
    x, z = 0.85 * reach * np.cos(angles), reach * np.sin(angles)
    y = np.broadcast_to([[0.42], [0.34]], x.shape)
    grid = np.stack([x, y, z], -1)
    dark = 0.8 * np.asarray(colour)
    builder.add(quads(grid[:, ::-1]), dark, 'hair', 0.015)
    builder.add(quads(grid), 0.6 * dark, 'hair', 0.015)

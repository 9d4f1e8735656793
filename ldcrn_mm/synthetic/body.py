"""The surface of a dressed body, without its head."""

import numpy as np

from .figure import SIDES, Figure
from .looks import Colour, Fabric, Look
from .mesh import Mesh, MeshBuilder, disc, ellipsoid, facet_angles, quads, tube

# Profiles: position along the bone (0 at its start, 1 at its end), half width,
# half depth and shift to the front, the last three in statures. They start and
# end in a point, which rounds the joints.
UPPER_ARM = np.array(
    [
        (-0.13, 0.000, 0.000, 0.000),
        (-0.11, 0.012, 0.014, 0.000),
        (-0.06, 0.023, 0.026, 0.000),
        (0.04, 0.030, 0.032, 0.000),
        (0.18, 0.030, 0.031, 0.001),
        (0.50, 0.025, 0.027, 0.002),
        (0.85, 0.021, 0.022, 0.000),
        (1.00, 0.020, 0.020, 0.000),
        (1.05, 0.013, 0.013, 0.000),
        (1.08, 0.000, 0.000, 0.000),
    ]
)
FOREARM = np.array(
    [
        (-0.12, 0.000, 0.000, 0.000),
        (-0.09, 0.012, 0.012, 0.000),
        (-0.04, 0.019, 0.019, 0.000),
        (0.03, 0.021, 0.020, 0.000),
        (0.22, 0.024, 0.022, 0.001),
        (0.60, 0.019, 0.017, 0.001),
        (0.95, 0.015, 0.012, 0.000),
        (1.04, 0.014, 0.012, 0.000),
        (1.08, 0.000, 0.000, 0.000),
    ]
)
THIGH = np.array(
    [
        (-0.22, 0.000, 0.000, 0.000),
        (-0.16, 0.036, 0.040, 0.000),
        (0.00, 0.053, 0.057, 0.000),
        (0.18, 0.053, 0.056, 0.001),
        (0.55, 0.043, 0.046, 0.003),
        (0.85, 0.033, 0.035, 0.002),
        (1.00, 0.031, 0.032, 0.001),
        (1.04, 0.022, 0.022, 0.001),
        (1.07, 0.000, 0.000, 0.000),
    ]
)
SHIN = np.array(
    [
        (-0.11, 0.000, 0.000, 0.000),
        (-0.09, 0.016, 0.016, 0.001),
        (-0.04, 0.028, 0.028, 0.001),
        (0.04, 0.032, 0.032, 0.000),
        (0.28, 0.032, 0.034, -0.007),
        (0.65, 0.023, 0.024, -0.004),
        (0.95, 0.018, 0.020, 0.000),
        (1.05, 0.018, 0.020, 0.000),
        (1.10, 0.000, 0.000, 0.000),
    ]
)
# Height above the hips in spines, half width, half depth, shift to the front.
TRUNK = np.array(
    [
        (1.19, 0.030, 0.032, 0.000),
        (1.15, 0.042, 0.040, -0.002),
        (1.10, 0.074, 0.046, -0.002),
        (1.06, 0.100, 0.050, 0.000),
        (1.00, 0.112, 0.055, 0.000),
        (0.90, 0.110, 0.064, 0.002),
        (0.72, 0.101, 0.068, 0.006),
        (0.52, 0.089, 0.060, 0.004),
        (0.34, 0.082, 0.057, 0.003),
        (0.18, 0.089, 0.062, 0.002),
        (0.02, 0.098, 0.067, -0.004),
        (-0.12, 0.096, 0.066, -0.006),
        (-0.26, 0.070, 0.054, -0.002),
        (-0.32, 0.030, 0.030, 0.000),
        (-0.34, 0.000, 0.000, 0.000),
    ]
)
EASE = 0.007  # metres between skin and cloth


class Dresser:
    """Builds the surface of one figure in one look.

    Args:
        figure: Posed skeleton.
        look: Clothes and colours.
        sides: Facets around a limb: more for people that are drawn large.
    """

    def __init__(self, figure: Figure, look: Look, sides: int) -> None:
        self.figure, self.look, self.sides = figure, look, sides
        self.size = figure.build.stature
        self.builder = MeshBuilder()

    def dress(self) -> Mesh:
        """The whole body below the chin."""
        self._trunk()
        self._neck()
        for side in SIDES:
            self._arm(side)
            self._hand(side)
            self._leg(side)
            self._foot(side)
        if self.look.skirt:
            self._skirt()
        if self.look.bag is not None:
            self._bag(self.look.bag)
        return self.builder.build()

    # -- limbs ---------------------------------------------------------------

    def _limb(
        self,
        part: str,
        ends: tuple[str, str],
        profile: np.ndarray,
        fabric: Fabric,
        covered: float,
        cuff: float = 0.0,
    ) -> None:
        """Skin where the cloth, from the start to ``covered``, leaves it bare."""
        if covered < 1:
            skin = Fabric(self.look.skin, self.look.skin)
            start = max(profile[0, 0], covered - 0.1)
            self._section(part, ends, profile, skin, (start, profile[-1, 0]), 0.0)
        if covered > 0:
            end = profile[-1, 0] if covered >= 1 else covered
            self._section(part, ends, profile, fabric, (profile[0, 0], end), EASE, cuff)

    def _section(
        self,
        part: str,
        ends: tuple[str, str],
        profile: np.ndarray,
        fabric: Fabric,
        span: tuple[float, float],
        ease: float,
        cuff: float = 0.0,
    ) -> None:
        start, end = (self.figure.joints[name] for name in ends)
        frame = self.figure.frames[part]
        length = np.linalg.norm(end - start)
        rings = max(6, int(1.1 * self.sides))
        knots = profile[(profile[:, 0] >= span[0]) & (profile[:, 0] <= span[1]), 0]
        at = np.unique(np.concatenate([np.linspace(*span, rings), knots]))
        width, depth, shift = (
            np.interp(at, profile[:, 0], profile[:, i]) * self.size for i in (1, 2, 3)
        )
        girth = self.figure.build.girth
        # Cloth widens towards its hem; ends that close in a point stay closed.
        slack = (ease + cuff * np.clip(at, 0, 1) ** 2) * (width > 0)
        width, depth = width * girth + slack, depth * girth + slack
        centres = start + at[:, None] * (end - start) + shift[:, None] * frame[:, 2]
        corners = tube(centres, frame[:, 0], frame[:, 2], width, depth, self.sides)
        middles = (at[:-1] + at[1:]) / 2 * length
        colours = fabric.paint(middles, facet_angles(self.sides))
        # Lit as a cylinder: rounded ends would show as rings around the joints.
        angles = facet_angles(self.sides)[:, None]
        normals = np.cos(angles) * frame[:, 0] + np.sin(angles) * frame[:, 2]
        sink = -0.025 if part.endswith('thigh') else 0.0  # tops hang over thighs
        self.builder.add(corners, colours, part, bias=ease + sink, normals=normals)

    def _arm(self, side: str) -> None:
        sleeve, top = self.look.sleeve, self.look.top
        shoulder, elbow, wrist = (f'{side}_{j}' for j in ('shoulder', 'elbow', 'wrist'))
        cuff = 0.008 if sleeve < 1 else 0.002
        self._limb(f'{side}_upper_arm', (shoulder, elbow), UPPER_ARM, top, sleeve, cuff)
        self._limb(f'{side}_forearm', (elbow, wrist), FOREARM, top, sleeve - 1, 0.004)

    def _leg(self, side: str) -> None:
        leg, bottom = self.look.leg, self.look.bottom
        hip, knee, ankle = (f'{side}_{j}' for j in ('hip', 'knee', 'ankle'))
        cuff = 0.012 if leg <= 1 else 0.004
        self._limb(f'{side}_thigh', (hip, knee), THIGH, bottom, leg, cuff)
        self._limb(f'{side}_shin', (knee, ankle), SHIN, bottom, leg - 1, 0.012)
        if self.look.sock is not None and leg < 1.7:
            sock = Fabric(self.look.sock, self.look.sock)
            ends = (knee, ankle)
            self._section(f'{side}_shin', ends, SHIN, sock, (0.72, 1.1), EASE / 2)

    def _hand(self, side: str) -> None:
        wrist = self.figure.joints[f'{side}_wrist']
        frame, size = self.figure.frames[f'{side}_forearm'], self.size
        part, sides = f'{side}_hand', max(6, self.sides - 4)
        # The palm turns to the body: its broad side is the front-back axis.
        palm = wrist - 0.045 * size * frame[:, 1]
        radii = np.array([0.010, 0.050, 0.021]) * size
        self.builder.add(ellipsoid(palm, frame, radii, sides), self.look.skin, part)
        thumb = wrist + size * (frame @ (0.0, -0.038, 0.020))
        radii = np.array([0.007, 0.025, 0.008]) * size
        self.builder.add(ellipsoid(thumb, frame, radii, 6), self.look.skin, part)

    def _foot(self, side: str) -> None:
        ankle = self.figure.joints[f'{side}_ankle']
        frame, size = self.figure.frames[f'{side}_foot'], self.size
        # From heel to toe: position, half width, half height, height of the middle.
        profile = np.array(
            [
                (-0.036, 0.000, 0.000, -0.020),
                (-0.032, 0.016, 0.016, -0.020),
                (-0.010, 0.021, 0.022, -0.015),
                (0.030, 0.022, 0.021, -0.017),
                (0.070, 0.026, 0.014, -0.024),
                (0.100, 0.022, 0.011, -0.027),
                (0.114, 0.012, 0.007, -0.030),
                (0.118, 0.000, 0.000, -0.030),
            ]
        )
        at, width, height, middle = profile.T * size
        centres = ankle + at[:, None] * frame[:, 2] + middle[:, None] * frame[:, 1]
        corners = tube(centres, frame[:, 0], frame[:, 1], width, height, self.sides)
        shoe = self.look.skin if self.look.shoe is None else self.look.shoe
        colours = np.broadcast_to(shoe, (self.sides, 3)).copy()
        if self.look.shoe is not None:  # a light sole
            colours[np.sin(facet_angles(self.sides)) < -0.75] = (215, 220, 222)
        self.builder.add(corners, colours[None], f'{side}_foot')

    # -- trunk ---------------------------------------------------------------

    def _trunk_rings(self, heights: np.ndarray, ease: float) -> tuple[np.ndarray, ...]:
        """Centres, directions and half axes of the trunk at heights in spines."""
        joints, frames = self.figure.joints, self.figure.frames
        build, size = self.figure.build, self.size
        blend = np.clip((heights - 0.1) / 0.6, 0, 1)[:, None]
        blend = blend * blend * (3 - 2 * blend)
        length = build.spine * size
        low = joints['pelvis'] + heights[:, None] * length * frames['pelvis'][:, 1]
        rise = (heights[:, None] - 0.4) * length
        high = joints['waist'] + rise * frames['chest'][:, 1]
        left, front = (
            (1 - blend) * frames['pelvis'][:, i] + blend * frames['chest'][:, i]
            for i in (0, 2)
        )
        order = np.argsort(TRUNK[:, 0])
        width, depth, shift = (
            np.interp(heights, TRUNK[order, 0], TRUNK[order, i]) * size
            for i in (1, 2, 3)
        )
        # Wide shoulders and hips carry the trunk with them.
        upper = np.clip((heights - 0.3) / 0.5, 0, 1)
        broad = upper * build.shoulders / 0.105 + (1 - upper) * build.hips / 0.055
        girth = 0.5 + 0.5 * build.girth
        belly = build.belly * np.exp(-(((heights - 0.35) / 0.3) ** 2))
        slack = ease * (width > 0)
        width = width * broad * girth * (1 + 0.4 * belly) + slack
        shift = shift + 0.5 * belly * depth
        depth = depth * build.girth * (1 + belly) + slack
        centres = (1 - blend) * low + blend * high + shift[:, None] * front
        return centres, left, front, width, depth

    def _trunk_section(
        self, fabric: Fabric, top: float, bottom: float, ease: float, sink: float = 0.0
    ) -> None:
        step = 0.35 / self.sides
        rings = max(4, int(np.ceil((top - bottom) / step)))
        heights = np.linspace(top, bottom, rings)
        corners = tube(*self._trunk_rings(heights, ease), 2 * self.sides)
        middles = (heights[:-1] + heights[1:]) / 2
        angles = facet_angles(2 * self.sides)
        along = (1.1 - middles) * self.figure.build.spine * self.size
        colours = fabric.paint(along, angles)
        self.builder.add(corners, colours, 'torso', bias=1.5 * ease + sink)

    def _trunk(self) -> None:
        look = self.look
        # A loose top rides up where the thighs do.
        thighs = [self.figure.frames[f'{side}_thigh'][:, 1] for side in SIDES]
        upright = min(self.figure.frames['pelvis'][:, 1] @ thigh for thigh in thighs)
        hem = 0.28 if look.tucked else np.interp(upright, [0.3, 0.9], [0.12, -0.08])
        ease = EASE if look.tucked else 2 * EASE
        self._trunk_section(look.bottom, hem + 0.08, TRUNK[-1, 0], EASE, sink=-0.02)
        self._trunk_section(look.top, 1.10, hem, ease)
        skin = Fabric(look.skin, look.skin)
        self._trunk_section(skin, TRUNK[0, 0], 1.04, 0.0)
        if look.tucked:  # a belt
            dark = tuple(0.4 * channel for channel in look.bottom.colour)
            self._trunk_section(Fabric(dark, dark), hem + 0.05, hem - 0.02, 2 * EASE)
        self._front(hem, ease)

    def _front(self, hem: float, ease: float) -> None:
        """What tells the front of a trunk from its back."""
        look = self.look
        if look.inner is not None:  # what an open jacket shows
            self._patch((1.08, hem), (0.60, 0.12), look.inner.colour, ease, layer=1)
        low = 1.06 - look.collar / 0.4
        self._patch((1.12, low), (0.50, 0.06), look.skin, ease, layer=2)
        if look.tie is not None:
            self._patch((low, 0.38), (0.08, 0.13), look.tie, ease, layer=3)
        elif look.inner is None and look.print_colour is not None:
            self._patch((0.84, 0.60), (0.42, 0.42), look.print_colour, ease, layer=2)
        if look.bag is not None:  # its straps
            for sign in (-1, 1):
                span = (1.10, 0.60)
                self._patch(span, (0.12, 0.10), look.bag, ease, 3, sign * 0.62)

    def _patch(
        self,
        span: tuple[float, float],
        half_angles: tuple[float, float],
        colour: Colour,
        ease: float,
        layer: int,
        angle: float = 0.0,
    ) -> None:
        """Cloth or skin that lies on the front of the trunk.

        Args:
            span: Upper and lower end, in spines.
            half_angles: Half of the width at both ends, in radians.
            colour: Of all of it.
            ease: Of what it lies on.
            layer: Higher ones lie on lower ones.
            angle: Of its middle, from the front towards the right, in radians.
        """
        heights = np.linspace(*span, 9)
        rings = self._trunk_rings(heights, ease + 0.001 + 0.001 * layer)
        centres, left, front, width, depth = rings
        spread = np.linspace(*half_angles, len(heights))[:, None]
        angles = np.pi / 2 + angle + np.linspace(-1, 1, 7) * spread
        x = (width[:, None] * np.cos(angles))[..., None] * left[:, None]
        z = (depth[:, None] * np.sin(angles))[..., None] * front[:, None]
        corners = quads(centres[:, None] + x + z)
        bias = 1.5 * ease + 0.02 + 0.004 * layer
        self.builder.add(corners, colour, 'torso', bias)

    def _neck(self) -> None:
        joints, size = self.figure.joints, self.size
        frame = self.figure.frames['chest']
        start = joints['thorax'] + 0.02 * size * frame[:, 1]
        end = joints['upper_neck'] + 0.25 * (joints['head'] - joints['upper_neck'])
        share = np.linspace(0, 1, 5)[:, None]
        centres = end + share * (start - end)
        girth = self.figure.build.girth * size
        width = girth * np.linspace(0.029, 0.036, 5)
        corners = tube(centres, frame[:, 0], frame[:, 2], width, width, self.sides)
        self.builder.add(corners, 0.95 * np.asarray(self.look.skin), 'neck')

    def _skirt(self) -> None:
        """A tube around both thighs."""
        joints = self.figure.joints
        share = np.linspace(-0.15, self.look.skirt, max(8, self.sides))
        legs = []
        for side in SIDES:
            hip, knee, ankle = (joints[f'{side}_{j}'] for j in ('hip', 'knee', 'ankle'))
            upper = hip + np.minimum(share, 1)[:, None] * (knee - hip)
            legs.append(upper + np.maximum(share - 1, 0)[:, None] * (ankle - knee))
        apart, centres = legs[0] - legs[1], (legs[0] + legs[1]) / 2
        # The wider way goes from thigh to thigh, the other one across it; the
        # pelvis has a say, or crossed legs would turn the cloth inside out.
        left = _unit(apart + 0.08 * self.size * self.figure.frames['pelvis'][:, 0])
        front = _unit(np.cross(np.gradient(centres, axis=0), left))
        girth = self.figure.build.girth * self.size
        flare = [-0.15, 0.1, 1.5]
        thick = np.interp(share, flare, [0.062, 0.068, 0.085]) * girth
        width = np.interp(share, flare, [0.040, 0.048, 0.075]) * girth
        width = width + np.linalg.norm(apart, axis=1) / 2
        corners = tube(centres, left, front, width, thick, 2 * self.sides)
        middles = (share[:-1] + share[1:]) / 2 * 0.25 * self.size
        colours = self.look.bottom.paint(middles, facet_angles(2 * self.sides))
        self.builder.add(corners, colours, 'skirt', bias=0.03)

    def _bag(self, colour: Colour) -> None:
        joints, size = self.figure.joints, self.size
        frame = self.figure.frames['chest']
        at = joints['thorax'] + size * (frame @ (0.0, -0.12, -0.115))
        radii = np.array([0.085, 0.135, 0.062]) * size
        self.builder.add(ellipsoid(at, frame, radii, 2 * self.sides), colour, 'bag')
        pocket = at + size * (frame @ (0.0, -0.05, -0.066))
        dark = 0.7 * np.asarray(colour)
        left, up = -frame[:, 0], frame[:, 1]
        patch = disc(pocket, left, up, 0.05 * size, 0.045 * size)
        self.builder.add(patch, dark, 'bag', bias=0.03)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)

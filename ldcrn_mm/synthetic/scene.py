"""Whole pictures: people and things on a common ground before one camera."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .backdrop import paint_backdrop
from .figure import SIDES
from .head import landmarks
from .mesh import PART_NUMBER, Mesh
from .painter import OVERSAMPLING, Camera, Canvas
from .photo import cast_shadows, develop
from .stage import Actor, sample_light, stage_people, stage_props

SIZES = ((320, 256), (256, 320), (320, 240), (288, 288))  # width, height
LEAST_SIZE = 64


@dataclass(frozen=True)
class Landmark:
    """A named point of a person and what its place in a picture may show.

    Args:
        parts: Names of parts under which the point counts as seen.
        reach: How far below the surface it may be, in statures.
    """

    parts: tuple[str, ...]
    reach: float


def _both(name: str, parts: Sequence[str], reach: float) -> dict[str, Landmark]:
    """The left and the right landmark; ``*`` in a part stands for the side."""
    return {
        f'{side}_{name}': Landmark(
            tuple(part.replace('*', side) for part in parts), reach
        )
        for side in SIDES
    }


# Facial points lie on the skin, joints in the middle of limbs and trunk.
LANDMARKS: dict[str, Landmark] = {
    'nose': Landmark(('head',), 0.015),
    **_both('eye', ['head'], 0.015),
    **_both('ear', ['head'], 0.015),
    **_both('shoulder', ['*_upper_arm', 'torso'], 0.075),
    **_both('elbow', ['*_upper_arm', '*_forearm'], 0.045),
    **_both('wrist', ['*_forearm', '*_hand'], 0.04),
    **_both('hip', ['*_thigh', 'torso', 'skirt'], 0.105),
    **_both('knee', ['*_thigh', '*_shin', 'skirt'], 0.075),
    **_both('ankle', ['*_shin', '*_foot'], 0.05),
    'pelvis': Landmark(('torso', 'skirt', 'left_thigh', 'right_thigh'), 0.12),
    'thorax': Landmark(('torso', 'neck', 'head'), 0.11),
    'upper_neck': Landmark(('neck', 'head', 'torso'), 0.09),
    'head_top': Landmark(('head', 'hair'), 0.07),
}
HIDDEN_SHARE = 0.15  # people who show less than this are not labelled


@dataclass(frozen=True)
class Person:
    """The ground truth of one person.

    Args:
        points: Name in :data:`LANDMARKS` to position (x, y) in pixels; the
            centre of the upper left pixel is (0, 0). May be outside the image.
        visibility: Name to 2 (seen), 1 (hidden by something, or by the person)
            or 0 (outside the picture).
        mask: Boolean (H, W): the pixels that show the person.
        shown: Share of the person's pixels inside the picture that nothing
            else hides.
        stature: Height of the upright body at this distance, in pixels.
        head_box: Around the skull: left, top, right, bottom.
    """

    points: dict[str, tuple[float, float]]
    visibility: dict[str, int]
    mask: np.ndarray
    shown: float
    stature: float
    head_box: tuple[float, float, float, float]

    @property
    def labelled(self) -> bool:
        """Whether enough is seen for an annotator to place the joints."""
        return self.shown >= HIDDEN_SHARE and 2 in self.visibility.values()


@dataclass(frozen=True)
class Scene:
    """A picture with its ground truth.

    Args:
        image: (H, W, 3) uint8, BGR as OpenCV has it.
        people: From far to near.
        owners: (H, W) uint8: number of the person from 1, in the order of
            ``people``, 0 for everything else.
        parts: (H, W) uint8: numbers of :data:`~.mesh.PARTS`.
    """

    image: np.ndarray
    people: list[Person]
    owners: np.ndarray
    parts: np.ndarray


def draw_scene(
    seed: int | Sequence[int],
    width: int | None = None,
    height: int | None = None,
    simple: bool = False,
) -> Scene:
    """Draws a picture with one to four people.

    Args:
        seed: Any non-negative integer or integers; decides everything.
        width: Of the image; drawn from :data:`SIZES` with ``height`` by default.
        height: Of the image.
        simple: One whole person, upright, towards the viewer, nothing before it.

    Returns:
        The picture and its ground truth.

    Raises:
        ValueError: If only one of ``width`` and ``height`` is given, or one is
            below 64.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = SIZES[rng.integers(len(SIZES))]
    if (width is None) != (height is None):
        raise ValueError(
            f'give both width and height or neither; got {width} and {height}'
        )
    if width is None or height is None:
        width, height = drawn
    if min(width, height) < LEAST_SIZE:
        raise ValueError(
            f'expected an image of at least {LEAST_SIZE} x {LEAST_SIZE} pixels, '
            f'got {width} x {height}'
        )
    camera, actors = stage_people(rng, width, height, simple)
    light = sample_light(rng)
    backdrop = paint_backdrop(rng, camera, depth=actors[0].distance)
    backdrop = cast_shadows(backdrop, actors, camera, light, rng)
    canvas = Canvas(camera, light, _smoothing(camera, actors))
    props = [] if simple else stage_props(rng, camera, actors)
    covered = _draw_all(canvas, actors, props)
    owners, parts = canvas.masks()
    people = [
        _record(canvas, actor, number, covered[number], owners == number)
        for number, actor in enumerate(actors, 1)
    ]
    return Scene(develop(canvas.picture(backdrop), rng), people, owners, parts)


def _smoothing(camera: Camera, actors: list[Actor]) -> int:
    """Wide enough to hide the facets of the largest person."""
    scale = max(camera.focal / actor.distance for actor in actors)
    return 2 * int(np.clip(0.015 * scale, 1, 6)) + 1


def _draw_all(
    canvas: Canvas, actors: list[Actor], props: list[tuple[float, Mesh]]
) -> dict[int, int]:
    """Draws from far to near; pixels that each person covers when drawn."""
    queue = [(distance, 0, mesh) for distance, mesh in props]
    for number, actor in enumerate(actors, 1):
        queue.append((actor.distance, number, actor.mesh))
    queue.sort(key=lambda item: -item[0])
    return {owner: canvas.draw(mesh, owner) for _, owner, mesh in queue}


def _record(
    canvas: Canvas, actor: Actor, number: int, covered: int, mask: np.ndarray
) -> Person:
    figure, camera = actor.figure, canvas.camera
    places = {**figure.joints, **landmarks(figure)}
    points = np.stack([places[name] for name in LANDMARKS]) + actor.offset
    # Continuous positions have the first pixel's centre at one half.
    pixels = camera.project(points) - 0.5
    size = figure.build.stature
    seen = canvas.sees(
        points,
        number,
        [[PART_NUMBER[part] for part in mark.parts] for mark in LANDMARKS.values()],
        [mark.reach * size for mark in LANDMARKS.values()],
    )
    limits = (camera.width - 0.5, camera.height - 0.5)
    inside = np.all((pixels >= -0.5) & (pixels < limits), axis=1)
    visibility = np.where(inside, np.where(seen, 2, 1), 0)
    final = np.count_nonzero(mask) * OVERSAMPLING**2
    return Person(
        points=dict(zip(LANDMARKS, (tuple(xy) for xy in pixels.tolist()))),
        visibility=dict(zip(LANDMARKS, visibility.tolist())),
        mask=mask,
        shown=min(1.0, final / max(covered, 1)),
        stature=camera.focal * size / actor.distance,
        head_box=_head_box(camera, actor),
    )


def _head_box(camera: Camera, actor: Actor) -> tuple[float, float, float, float]:
    """Around the skull without hair, in pixels."""
    figure = actor.figure
    half = figure.build.half_head
    corners = np.array(list(np.ndindex(2, 2, 2))) * 2.0 - 1
    # A little inside the corners of the cube around the ellipsoid.
    cube = corners * (0.5, 0.72, 0.6) * half
    points = figure.joints['head'] + cube @ figure.frames['head'].T
    pixels = camera.project(points + actor.offset) - 0.5
    return (*pixels.min(0).tolist(), *pixels.max(0).tolist())

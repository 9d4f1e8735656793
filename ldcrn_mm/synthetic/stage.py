"""Who and what stands where: camera, light, people, things in front."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .body import Dresser
from .figure import Build, Figure, pose_figure, rotation, sample_build
from .head import build_head
from .looks import sample_look
from .mesh import Mesh, MeshBuilder
from .painter import Camera, Light
from .pose import Pose, sample_plain_pose, sample_pose
from .props import sample_prop, seat

COUNT_WEIGHTS = (0.42, 0.30, 0.18, 0.10)  # of one, two, three, four people
PORTRAIT_SHARE = 0.14


@dataclass(frozen=True)
class Actor:
    """A dressed figure in its place.

    Args:
        figure: Posed skeleton around the middle of its hips.
        mesh: Surface, in the camera's space.
        offset: From the figure's space to the camera's, (3,).
    """

    figure: Figure
    mesh: Mesh
    offset: np.ndarray

    @property
    def distance(self) -> float:
        """Metres from the camera."""
        return float(-self.offset[2])


def stage_people(
    rng: Generator, width: int, height: int, simple: bool = False
) -> tuple[Camera, list[Actor]]:
    """Places a camera and people so that they fill a picture well.

    With ``simple`` that is one whole person, upright and towards the viewer.
    """
    portrait = not simple and rng.random() < PORTRAIT_SHARE
    count = 1 + int(rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS))
    count = 1 if simple else count
    count = min(count, 2) if portrait else count
    builds = [sample_build(rng) for _ in range(count)]
    if portrait:
        tall = rng.uniform(1.3, 2.3) * height
        middle = rng.uniform(0.15, 0.32) * height + 0.42 * tall
    else:
        tall = rng.uniform(0.58, 0.92) if count == 1 else rng.uniform(0.48, 0.85)
        tall *= height
        middle = rng.uniform(0.46, 0.58) * height
    camera = _sample_camera(rng, width, height, builds[0], tall, middle)
    nearest = camera.focal * builds[0].stature / tall
    distances = [nearest, *(nearest * rng.uniform(0.92, 1.6, count - 1))]
    columns = _spread(rng, width, count, apart=0.2 * tall)
    actors = []
    for build, distance, column in zip(builds, distances, columns):
        x = (column - width / 2) * distance / camera.focal
        pose = sample_plain_pose(rng) if simple else sample_pose(rng)
        actors.append(_cast(rng, build, pose, x, distance, camera))
    return camera, sorted(actors, key=lambda actor: -actor.distance)


def _sample_camera(
    rng: Generator,
    width: int,
    height: int,
    build: Build,
    tall: float,
    middle: float,
) -> Camera:
    """A camera to which somebody standing is ``tall`` around row ``middle``."""
    elevation = rng.choice(
        [rng.uniform(1.0, 1.7), rng.uniform(1.8, 3.0), rng.uniform(0.4, 1.0)],
        p=[0.7, 0.2, 0.1],
    )
    feet = middle + tall / 2
    horizon = feet - elevation * tall / build.stature
    focal = rng.uniform(1.3, 2.6) * max(width, height)
    return Camera(width, height, float(focal), float(horizon), float(elevation))


def _spread(rng: Generator, width: int, count: int, apart: float) -> list[float]:
    """Image columns, ``apart`` pixels from each other where there is room."""
    margin = 0.22 if count == 1 else 0.08
    columns: list[float] = []
    for _ in range(count):
        for _ in range(12):
            column = rng.uniform(margin, 1 - margin) * width
            if all(abs(column - other) > apart for other in columns):
                break
        columns.append(column)
    return columns


def _cast(
    rng: Generator, build: Build, pose: Pose, x: float, distance: float, camera: Camera
) -> Actor:
    look = sample_look(rng)
    figure = pose_figure(build, pose)
    # Large people need more facets to look round.
    sides = int(np.clip(5 + 0.035 * camera.focal * build.stature / distance, 8, 20))
    body = Dresser(figure, look, sides).dress()
    head = build_head(figure, look, sides + 4)
    lowest = min(mesh.corners[..., 1].min() for mesh in (body, head))
    builder = MeshBuilder()
    builder.add_mesh(body)
    builder.add_mesh(head)
    if pose.seated:
        height = max(0.2, -0.062 * build.girth * build.stature - lowest)
        front = figure.frames['pelvis'][:, 2]
        about = rotation('y', np.rad2deg(np.arctan2(front[0], front[2])))
        builder.add_mesh(seat(rng, float(height)).moved(about, (0, lowest, 0)))
    offset = np.array([x, pose.lift * build.stature - lowest, -distance])
    return Actor(figure, builder.build().moved(np.eye(3), offset), offset)


def stage_props(
    rng: Generator, camera: Camera, actors: list[Actor]
) -> list[tuple[float, Mesh]]:
    """Things before and behind the people, with their distances."""
    props = []
    for _ in range(rng.choice(3, p=[0.62, 0.28, 0.10])):
        target = actors[rng.integers(len(actors))]
        distance = target.distance * rng.uniform(0.72, 0.92)
        beside = rng.choice([-1, 1]) * rng.uniform(0.1, 0.6)
        shift = target.offset[0] / target.distance * distance + beside
        props.append((distance, shift))
    for _ in range(rng.choice(3, p=[0.6, 0.25, 0.15])):
        distance = actors[0].distance * rng.uniform(1.15, 1.8)
        shift = rng.uniform(-0.5, 0.5) * camera.width * distance / camera.focal
        props.append((distance, shift))
    placed = []
    for distance, shift in props:
        about = rotation('y', rng.uniform(0, 360))
        thing = sample_prop(rng).moved(about, (shift, 0, -distance))
        placed.append((distance, thing))
    return placed


def sample_light(rng: Generator) -> Light:
    """A lamp above, mostly on the viewer's side."""
    direction = np.array([rng.normal(0, 0.7), rng.uniform(0.35, 1.2), 0.0])
    direction[2] = rng.uniform(0.2, 1.0) if rng.random() < 0.85 else -0.5
    ambient = rng.uniform(0.5, 0.8)
    return Light(
        direction=direction / np.linalg.norm(direction),
        ambient=ambient,
        strength=rng.uniform(0.85, 1.15) * (1.22 - ambient),
        tint=1 + rng.normal(0, 0.035, 3),
    )

"""What turns a rendering into a photograph: shadows, exposure, blur, noise."""

import cv2
import numpy as np
from numpy.random import Generator

from .painter import Camera, Light
from .stage import Actor

BONES = (
    ('head_top', 'thorax', 0.13),
    ('thorax', 'pelvis', 0.26),
    ('left_shoulder', 'left_elbow', 0.09),
    ('right_shoulder', 'right_elbow', 0.09),
    ('left_elbow', 'left_wrist', 0.07),
    ('right_elbow', 'right_wrist', 0.07),
    ('left_hip', 'left_knee', 0.14),
    ('right_hip', 'right_knee', 0.14),
    ('left_knee', 'left_ankle', 0.1),
    ('right_knee', 'right_ankle', 0.1),
)


def cast_shadows(
    backdrop: np.ndarray,
    actors: list[Actor],
    camera: Camera,
    light: Light,
    rng: Generator,
) -> np.ndarray:
    """Darkens the ground where people keep the light from it."""
    mask = np.zeros(backdrop.shape[:2], np.float32)
    slope = light.direction / max(light.direction[1], 0.35)
    for actor in actors:
        scale = camera.focal / actor.distance
        for start, end, thick in BONES:
            ends = np.stack([actor.figure.joints[name] for name in (start, end)])
            ends = ends + actor.offset
            ends = camera.project(ends - slope * ends[:, 1:2])
            ends = [tuple(map(int, np.rint(np.clip(p, -2000, 4000)))) for p in ends]
            width = max(1, round(0.7 * thick * scale))
            cv2.line(mask, *ends, 1.0, width, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1.2, 5.0))
    soft[: int(np.clip(camera.horizon, 0, camera.height))] = 0
    dark = 1 - np.float32(rng.uniform(0.2, 0.55)) * soft[..., None]
    return (backdrop * dark).astype(np.uint8)


def develop(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Exposure, contrast, tint, vignette, blur and noise; uint8 to uint8."""
    picture = image.astype(np.float32)
    height, width = picture.shape[:2]
    level = 128 * np.exp(rng.normal(0, 0.12)) * (1 + rng.normal(0, 0.04, 3))
    picture = (picture - 128) * np.float32(rng.uniform(0.8, 1.2))
    picture += level.astype(np.float32)
    fall = np.float32(rng.uniform(0, 0.3) / 2)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    picture *= (1 - fall * (rows**2 + columns**2))[..., None]
    blur = rng.uniform(-0.6, 1.1)
    if blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    grain = np.float32(max(0.0, rng.normal(2, 2.5)))
    picture += grain * rng.standard_normal((height, width, 1), np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)

"""How people look: skin, hair, clothes and their patterns.

Fronts and backs must differ, or nothing in a picture would tell a left limb
from a right one: necklines, buttons, ties and prints are in front, bags and
long hair behind.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Colour = tuple[float, float, float]  # blue, green, red in 0..255

SKINS = (
    (189, 214, 245),
    (161, 193, 232),
    (140, 175, 224),
    (118, 155, 208),
    (92, 132, 189),
    (78, 112, 166),
    (64, 92, 140),
    (54, 76, 116),
    (48, 64, 94),
)
HAIRS = (
    (24, 22, 24),
    (34, 36, 44),
    (36, 48, 70),
    (44, 66, 100),
    (58, 92, 140),
    (100, 150, 200),
    (140, 190, 224),
    (60, 84, 170),
    (170, 170, 172),
    (225, 225, 228),
)
FABRICS = (
    (60, 60, 200),
    (48, 36, 140),
    (70, 120, 225),
    (60, 190, 235),
    (90, 220, 240),
    (90, 160, 70),
    (60, 110, 50),
    (120, 180, 130),
    (150, 150, 40),
    (190, 140, 60),
    (170, 90, 40),
    (110, 60, 30),
    (200, 180, 150),
    (150, 80, 130),
    (180, 130, 200),
    (130, 110, 230),
    (235, 235, 238),
    (215, 222, 226),
    (150, 150, 150),
    (90, 90, 92),
    (44, 44, 48),
    (120, 170, 200),
    (70, 100, 130),
)
DENIMS = (
    (130, 90, 60),
    (100, 68, 48),
    (70, 48, 38),
    (165, 130, 100),
    (52, 50, 52),
    (110, 150, 175),
    (60, 80, 84),
    (140, 140, 142),
)
SUITS = ((48, 44, 42), (80, 56, 44), (110, 100, 96), (60, 70, 84), (150, 170, 180))
SHOES = ((40, 40, 42), (235, 235, 235), (50, 70, 110), (60, 60, 190), (160, 110, 60))

HAIR_STYLES = {
    'bald': 0.06,
    'short': 0.36,
    'full': 0.20,
    'long': 0.18,
    'tail': 0.10,
    'bun': 0.05,
    'afro': 0.05,
}
HATS = {'none': 0.78, 'cap': 0.10, 'beanie': 0.06, 'brim': 0.06}


@dataclass(frozen=True)
class Fabric:
    """A colour and a pattern.

    Args:
        colour: Ground colour.
        accent: Second colour of the pattern.
        pattern: One of :data:`PATTERNS`.
        pitch: Length of the pattern, in metres.
        seed: Of the random patterns.
    """

    colour: Colour
    accent: Colour
    pattern: str = 'plain'
    pitch: float = 0.08
    seed: int = 0

    def paint(self, along: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Colours of facets.

        Args:
            along: (R,), metres along the limb or trunk.
            angles: (S,), around it; 90 degrees is the front.

        Returns:
            Colours, (R, S, 3).
        """
        if self.pattern not in PATTERNS:
            raise ValueError(
                f'unknown pattern {self.pattern!r}: choose one of {", ".join(PATTERNS)}'
            )
        share = PATTERNS[self.pattern](self, along[:, None], angles[None])
        share = np.broadcast_to(share, (len(along), len(angles)))[..., None]
        return np.asarray(self.colour) * (1 - share) + np.asarray(self.accent) * share


def _blotches(fabric: Fabric, along: np.ndarray, angles: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(along.shape, angles.shape)
    return (np.random.default_rng(fabric.seed).random(shape) < 0.3) * 1.0


def _stripes(phase: np.ndarray) -> np.ndarray:
    return (np.sin(2 * np.pi * phase) > 0.2) * 1.0


PATTERNS: dict[str, Callable[[Fabric, np.ndarray, np.ndarray], np.ndarray]] = {
    'plain': lambda fabric, along, angles: np.zeros(1),
    'hoops': lambda fabric, along, angles: _stripes(along / fabric.pitch),
    'stripes': lambda fabric, along, angles: _stripes(angles * 7 / (2 * np.pi)),
    'checks': lambda fabric, along, angles: (
        0.5 * _stripes(along / fabric.pitch) + 0.5 * _stripes(angles * 5 / (2 * np.pi))
    ),
    'fade': lambda fabric, along, angles: np.clip(along / 0.5, 0, 1),
    'blotches': _blotches,
}


@dataclass(frozen=True)
class Look:
    """Everything about a person that is not pose or build.

    Args:
        skin: Colour.
        hair: Colour.
        hair_style: One of :data:`HAIR_STYLES`.
        hat: One of :data:`HATS`.
        hat_colour: Colour.
        glasses: Whether worn.
        beard: Whether worn.
        top: Fabric of the upper body.
        sleeve: 0 (none) to 2 (to the wrist); 1 is the elbow.
        inner: What an open jacket shows, ``None`` for a closed top.
        tie: Colour, ``None`` without.
        print_colour: Of a print on the chest, ``None`` without.
        collar: Depth of the neckline, in metres.
        tucked: Whether the top ends at the waist.
        bottom: Fabric of the lower body.
        leg: 0 (briefs) to 2 (to the ankle); 1 is the knee.
        skirt: Length of a skirt in thighs, 0 without.
        shoe: Colour, ``None`` for bare feet.
        sock: Colour, ``None`` without.
        bag: Colour of a bag on the back, ``None`` without.
    """

    skin: Colour
    hair: Colour
    hair_style: str
    hat: str
    hat_colour: Colour
    glasses: bool
    beard: bool
    top: Fabric
    sleeve: float
    inner: Fabric | None
    tie: Colour | None
    print_colour: Colour | None
    collar: float
    tucked: bool
    bottom: Fabric
    leg: float
    skirt: float
    shoe: Colour | None
    sock: Colour | None
    bag: Colour | None


def pick_colour(
    rng: Generator, colours: tuple[Colour, ...], spread: float = 12
) -> Colour:
    """One of ``colours``, a little changed."""
    colour = np.asarray(colours[rng.integers(len(colours))], float)
    return tuple(np.clip(colour + rng.normal(0, spread, 3), 8, 248).tolist())


def sample_fabric(rng: Generator, colours: tuple[Colour, ...], plain: float) -> Fabric:
    """A fabric, without a pattern with probability ``plain``."""
    names = [name for name in PATTERNS if name != 'plain']
    pattern = 'plain' if rng.random() < plain else str(rng.choice(names))
    return Fabric(
        colour=pick_colour(rng, colours),
        accent=pick_colour(rng, FABRICS),
        pattern=pattern,
        pitch=rng.uniform(0.07, 0.14),
        seed=int(rng.integers(2**31)),
    )


def _pick(rng: Generator, weights: dict[str, float]) -> str:
    return str(rng.choice(list(weights), p=list(weights.values())))


def _chance(
    rng: Generator, probability: float, colours: tuple[Colour, ...]
) -> Colour | None:
    """A colour with a probability, else ``None``; draws the same either way."""
    colour = pick_colour(rng, colours)
    return colour if rng.random() < probability else None


def sample_look(rng: Generator) -> Look:
    """Draws a look; some choices depend on others, as in life."""
    suit = rng.random() < 0.12
    top = sample_fabric(rng, SUITS if suit else FABRICS, plain=1.0 if suit else 0.55)
    bottom = sample_fabric(rng, DENIMS + FABRICS[:18:3], plain=0.85)
    jacket = suit or rng.random() < 0.15
    sleeve = 2.0 if jacket else float(rng.choice([0.1, 0.5, 0.6, 0.9, 1.9, 2.0]))
    skirt = 0.0 if suit or rng.random() < 0.86 else rng.uniform(0.5, 1.5)
    dress = skirt > 0 and rng.random() < 0.5
    return Look(
        skin=pick_colour(rng, SKINS, 5),
        hair=pick_colour(rng, HAIRS, 5),
        hair_style=_pick(rng, HAIR_STYLES),
        hat=_pick(rng, HATS),
        hat_colour=pick_colour(rng, FABRICS),
        glasses=rng.random() < 0.16,
        beard=skirt == 0 and rng.random() < 0.16,
        top=top,
        sleeve=sleeve,
        inner=sample_fabric(rng, FABRICS[15:19], 1.0) if jacket else None,
        tie=pick_colour(rng, FABRICS) if suit else None,
        print_colour=None if jacket else _chance(rng, 0.4, FABRICS),
        collar=rng.uniform(0.02, 0.085),
        tucked=skirt > 0 or rng.random() < 0.3,
        bottom=top if dress or (suit and rng.random() < 0.8) else bottom,
        leg=0.1 if skirt else float(rng.choice([0.45, 0.7, 1.0, 1.9, 2.0, 2.0, 2.0])),
        skirt=skirt,
        shoe=None if rng.random() < 0.07 else pick_colour(rng, SHOES),
        sock=_chance(rng, 0.4, FABRICS),
        bag=None if suit else _chance(rng, 0.1, FABRICS),
    )

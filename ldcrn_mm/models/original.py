"""The names of the original's tensors and ours: one table, read both ways."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Rules = tuple[tuple[str, str], ...]
COMMAND = 'python tools/convert_checkpoint.py ORIGINAL.pth CONVERTED.pth'


def _inside(original: str, ours: str, members: Rules) -> Rules:
    return tuple((f'{original}.{theirs}', f'{ours}.{own}') for theirs, own in members)


# Module of the original, module of ours. {x} stands for a number, {x+1} for the same
# number counted from one, {x+2} from two.
DENSE_LAYER: Rules = (
    ('denselayer{l+1}.bn1', 'layers.{l}.bottleneck.0'),
    ('denselayer{l+1}.conv1', 'layers.{l}.bottleneck.2'),
    ('denselayer{l+1}.bn2', 'layers.{l}.bottleneck.3'),
    ('denselayer{l+1}.conv2', 'layers.{l}.bottleneck.5'),
    ('denselayer{l+1}.conv3', 'layers.{l}.shortcut.0'),
    ('denselayer{l+1}.bn3', 'layers.{l}.shortcut.1'),
)
TRANSITION: Rules = (('bn', '0'), ('conv', '2'))
MODULE = ('stage{s+2}.{m}', 'backbone.stages.{s}.{m}')
RULES: Rules = (
    ('conv1', 'backbone.stem.0.0'),
    ('bn1', 'backbone.stem.0.1'),
    ('conv2', 'backbone.stem.1.0'),
    ('bn2', 'backbone.stem.1.1'),
    *_inside('layer1.{b}', 'backbone.layer1.{b}', DENSE_LAYER + TRANSITION),
    ('transition1.0.{i}', 'backbone.entry.0.{i}'),
    ('transition1.1.0.{i}', 'backbone.entry.1.{i}'),
    ('transition2.2.0.{i}', 'backbone.grow.0.{i}'),
    ('transition3.3.0.{i}', 'backbone.grow.1.{i}'),
    *_inside(*(f'{place}.branches.{{b}}.0' for place in MODULE), DENSE_LAYER),
    *_inside(*(f'{place}.branches.{{b}}.1' for place in MODULE), TRANSITION),
    *_inside(
        *MODULE,
        (
            ('fuse_layers.{to}.{at}.{i}', 'exchange.{to}.{at}.{i}'),
            ('fuse_layers.{to}.{at}.{n}.{i}', 'exchange.{to}.{at}.{n}.{i}'),
        ),
    ),
    ('fconv{n+1}', 'neck.laterals.{n}'),
    ('conv3', 'neck.stem_projection.0'),
    ('bn3', 'neck.stem_projection.1'),
    ('final_layer', 'head.final_layer'),
)


class NameTemplate:
    """A name with placeholders for numbers.

    Args:
        text: a name in which ``{x}`` stands for a number counted from zero and
            ``{x+1}`` for one counted from one.
    """

    def __init__(self, text: str) -> None:
        placeholder = re.compile(r'\{(\w+)(?:\+(\d))?\}')
        self.first = {x: int(n or 0) for x, n in placeholder.findall(text)}
        self.layout = placeholder.sub(r'{\1}', text)
        groups = {x: rf'(?P<{x}>0|[1-9]\d*)' for x in self.first}
        self.pattern = re.compile(self.layout.replace('.', r'\.').format(**groups))

    def read(self, name: str) -> dict[str, int] | None:
        """The numbers in ``name``, counted from zero; None where it differs."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        return {x: int(n) - self.first[x] for x, n in match.groupdict().items()}

    def fill(self, numbers: Mapping[str, int]) -> str:
        """The name with ``numbers``, counted from zero, in it."""
        return self.layout.format(**{x: n + self.first[x] for x, n in numbers.items()})


TEMPLATES = [(NameTemplate(theirs), NameTemplate(own)) for theirs, own in RULES]


def mmpose_name(name: str) -> str | None:
    """Our name of the original's tensor ``name``; None where it has none."""
    return _translate(name, TEMPLATES)


def original_name(name: str) -> str | None:
    """The original's name of our tensor ``name``; None where it has none."""
    return _translate(name, [(own, theirs) for theirs, own in TEMPLATES])


def _translate(
    name: str, templates: Sequence[tuple[NameTemplate, NameTemplate]]
) -> str | None:
    module, _, tensor = name.rpartition('.')
    for source, target in templates:
        numbers = source.read(module)
        if numbers is not None:
            return f'{target.fill(numbers)}.{tensor}'
    return None


def is_original(names: Iterable[str]) -> bool:
    """Whether a tensor has a name that only the original code uses."""
    return any(name.startswith('layer1.0.denselayer1.') for name in names)


def refuse_original(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    prefix: str,
    local_metadata: Mapping[str, Any],
    strict: bool,
    missing_keys: Sequence[str],
    unexpected_keys: Sequence[str],
    error_msgs: Sequence[str],
) -> None:
    """``load_state_dict`` hook of the backbone that refuses the original's weights.

    MMEngine only warns about other names and continues with random weights. The
    original's names are in ``state_dict`` if the backbone is loaded alone, and in
    ``unexpected_keys`` if it is loaded as part of the estimator.

    Raises:
        ValueError: with the command that converts the file.
    """
    names = [name.removeprefix(prefix) for name in (*state_dict, *unexpected_keys)]
    if is_original(names):
        raise ValueError(
            'This is a checkpoint of the original LDCRN code, whose tensors have other '
            f'names. Convert it, and load the result:\n    {COMMAND}'
        )

"""Names of tensors in the authors' code and in ours: one table, read both ways."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Rules = tuple[tuple[str, str], ...]
COMMAND = 'python tools/convert_checkpoint.py ORIGINAL.pth CONVERTED.pth'


def _inside(original: str, ours: str, members: Rules) -> Rules:
    return tuple((f'{original}.{theirs}', f'{ours}.{own}') for theirs, own in members)


# Module of the authors' code, module of ours. {x} is a number counted from zero, {x+1}
# the same number counted from one, {x+2} from two.
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
    """Name with placeholders for numbers.

    Args:
        text: the name. ``{x}`` is a number counted from zero, ``{x+1}`` the same number
            counted from one.
    """

    def __init__(self, text: str) -> None:
        placeholder = re.compile(r'\{(\w+)(?:\+(\d))?\}')
        self.first = {x: int(n or 0) for x, n in placeholder.findall(text)}
        self.layout = placeholder.sub(r'{\1}', text)
        groups = {x: rf'(?P<{x}>0|[1-9]\d*)' for x in self.first}
        self.pattern = re.compile(self.layout.replace('.', r'\.').format(**groups))

    def read(self, name: str) -> dict[str, int] | None:
        """Returns the numbers in ``name``, counted from zero, None without a match."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        return {x: int(n) - self.first[x] for x, n in match.groupdict().items()}

    def fill(self, numbers: Mapping[str, int]) -> str:
        """Puts numbers, counted from zero, into the name."""
        return self.layout.format(**{x: n + self.first[x] for x, n in numbers.items()})


TEMPLATES = [(NameTemplate(theirs), NameTemplate(own)) for theirs, own in RULES]


def mmpose_name(name: str) -> str | None:
    """Returns our name of a tensor of the authors' code, None if there is none."""
    return _translate(name, TEMPLATES)


def original_name(name: str) -> str | None:
    """Returns the authors' name of a tensor of ours, None if there is none."""
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
    """Tells whether a tensor has a name that only the authors' code uses."""
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
    """Rejects checkpoints of the authors' code: a pre-hook of ``load_state_dict``.

    MMEngine only warns about names that do not match and keeps random weights. This
    hook is registered on the backbone. It finds the authors' names in ``state_dict``
    when the backbone is loaded alone, and in ``unexpected_keys`` when it is loaded as
    a part of the estimator. A checkpoint without any name of the backbone, loaded into
    the backbone alone, is refused too.

    Raises:
        ValueError: says how to load the checkpoint.
    """
    names = [name.removeprefix(prefix) for name in (*state_dict, *unexpected_keys)]
    if is_original(names):
        raise ValueError(
            'This checkpoint is from the original LDCRN code, whose tensors have other '
            f'names. Convert it and load the result:\n    {COMMAND}'
        )
    if not prefix and not module.state_dict().keys() & names:
        raise ValueError(
            'No weight of this checkpoint has the name of one of the backbone, such as '
            f'{next(iter(module.state_dict()))}. For those of a whole network set '
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')."
        )

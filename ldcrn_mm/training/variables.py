"""Variables of a config, and whether setting one still changes anything.

A variable, such as ``data_root``, is copied into other values while its file is read.
Setting it later changes nothing, and MMEngine does not say so.
"""

import ast
import difflib
import inspect
from collections.abc import Iterable, Iterator
from os.path import isabs
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

# What the runner takes from a config, and what it looks up itself
FIELDS = [
    *inspect.signature(Runner).parameters,
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
]
# What MMPose's estimators look up in `model.test_cfg`
OF_TESTS = (
    *('flip_mode', 'flip_test', 'output_heatmaps', 'output_keypoint_indices'),
    *('shift_coords', 'shift_heatmap'),
)
# What MMPose's inferencers look up, in configs that may lack it
OF_INFERENCE = ('data_mode', 'dataset_type')


def require_effect(cfg: Config, key: str, setting: str, path: str) -> None:
    """Refuses a setting that nothing reads.

    A variable that the config itself does not use may be for a user's own code.

    Args:
        cfg: the config before it is set.
        key: of the setting.
        setting: what the user wrote, for the message.
        path: of the config.

    Raises:
        ValueError: it would change nothing.
    """
    name, dot, rest = key.partition('.')
    if name in FIELDS:
        return
    if name not in cfg and name not in OF_INFERENCE:
        raise ValueError(
            f'{setting} changes nothing: neither {path} nor the runner has a setting '
            f'`{name}`.{did_you_mean(name, FIELDS)}'
        )
    if name == 'custom_imports' or name in _used_names(cfg):
        copies = [f'{copy}{dot}{rest}' for copy in _copies(cfg, name)]
        advice = f'set its copies ({", ".join(copies)}) or ' if copies else ''
        raise ValueError(
            f'{setting} changes nothing: `{name}` is a variable that was used while '
            f'{path} was read. Instead {advice}write a config that inherits this one '
            "(_base_ = 'PATH')."
        )


def did_you_mean(name: str, known: Iterable[str], similar: float = 0.6) -> str:
    """A sentence with the most similar of the known names, if one is."""
    alike = difflib.get_close_matches(name, known, 1, similar)
    return f' Did you mean `{alike[0]}`?' if alike else ''


def stale_variables(cfg: Config) -> Iterator[str]:
    """Variables that a file sets for its bases, which have read theirs already."""
    *bases, (path, used, assigned) = _files(cfg)
    used_before = set().union(*(used for _, used, _ in bases))
    for name in sorted((assigned - used) & used_before - {*FIELDS}):
        if not any(_copies(cfg, name)):
            yield (
                f'{path} sets `{name}`, which changes nothing: the file that it '
                f'inherits has used its own `{name}` already. Set what uses it too.'
            )


def misspelt_names(cfg: Config) -> Iterator[str]:
    """Names that nothing reads and that look like those of settings."""
    names = {'': (cfg.keys() - _used_names(cfg), FIELDS)}
    names['model.test_cfg.'] = (cfg.model.get('test_cfg') or {}, OF_TESTS)
    for where, (own, known) in names.items():
        for name in sorted({*own} - {*known}):
            if hint := did_you_mean(name, known, 0.8):
                yield f'`{where}{name}` changes nothing.{hint}'


def _used_names(cfg: Config) -> set[str]:
    """Variables that any file reads."""
    return set().union(*(used for _, used, _ in _files(cfg)))


def _files(cfg: Config) -> list[tuple[str, set[str], set[str]]]:
    """Path of each file, bases first, and the variables that it reads and sets."""
    texts: list[tuple[str, list[str]]] = [('', [])]
    for line in cfg.text.splitlines():
        if isabs(line):
            texts.append((line, []))
        else:
            texts[-1][1].append(line)
    return [(path, *_names('\n'.join(lines))) for path, lines in texts]


def _names(text: str) -> tuple[set[str], set[str]]:
    """Variables that Python reads and sets. YAML and JSON have none."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return set(), set()
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    used |= {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return used, {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _copies(cfg: Config, name: str) -> Iterator[str]:
    """Keys of the runner's fields that hold a variable's value."""
    for field in FIELDS:
        yield from _places(cfg.get(name), field, cfg.get(field))


def _places(value: Any, key: str, part: Any) -> Iterator[str]:
    """Keys from ``key`` on at which ``part`` holds a value, or a path below it."""
    if type(part) is type(value) and part == value:
        yield key
    elif isinstance(part, str) and str(value).endswith('/'):
        yield from [key] if part.startswith(str(value)) else []
    elif isinstance(part, dict | list):
        for name, item in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _places(value, f'{key}.{name}', item)

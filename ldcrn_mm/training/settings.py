"""Which settings of ``--cfg-options`` reach anything.

A variable of a config, such as ``data_root``, is copied into other values while the
file is read. Setting it afterwards changes nothing, and MMEngine does not say so.
"""

import ast
import difflib
import inspect
from collections.abc import Iterable, Iterator
from os.path import isabs, join
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

# What the runner gets and what it looks up itself
FIELDS = [
    *inspect.signature(Runner).parameters,
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
]
# What MMPose's inferencers look up, in configs that may lack it
OF_INFERENCE = ('data_mode', 'dataset_type')


def require_effect(cfg: Config, settings: dict[str, Any], path: str) -> None:
    """Refuses settings that nothing would read.

    A key that stands in the config and is used nowhere in it is left alone: it may
    be for code of the user's own.

    Args:
        cfg: the config as it was read.
        settings: what is to be merged into it.
        path: the config's file, for the message.

    Raises:
        ValueError: names the setting, and those that would do.
    """
    copied = _names_used_in(cfg.text) | {'custom_imports'}  # imported at once
    for key, value in settings.items():
        name, _, rest = key.partition('.')
        if name in FIELDS:
            continue
        if name not in cfg and name not in OF_INFERENCE:
            raise ValueError(
                f'--cfg-options {key}={value} does not fit {path}: nothing reads '
                f'`{name}`.{_alike(name)} What code of your own reads has to stand in '
                'the config.'
            )
        if name in copied:
            raise ValueError(
                f'--cfg-options {key}={value} changes nothing: `{name}` is used while '
                f'{path} is read, and later no more. {_advice(cfg, name, rest, value)}'
            )


def _names_used_in(text: str) -> set[str]:
    """Variables that a config and its bases read, by ``Config.text``."""
    code = [line for line in text.splitlines() if not isabs(line)]  # names of files
    try:
        nodes = list(ast.walk(ast.parse('\n'.join(code))))
    except SyntaxError:  # YAML, which has no variables
        return set()
    names = {
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return names | {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == '_base_'
    }


def _alike(name: str) -> str:
    found = difflib.get_close_matches(name, FIELDS, n=1)
    return f' Did you mean `{found[0]}`?' if found else ''


def _advice(cfg: Config, name: str, rest: str, value: Any) -> str:
    places = list(_copies(cfg, name, rest, value))
    if not places:
        return (
            'Write what depends on it into a config that inherits this one '
            "(_base_ = 'PATH')."
        )
    return '\n  '.join(['Of these, which hold its value, set what it is for:', *places])


def _copies(cfg: Config, name: str, rest: str, value: Any) -> Iterator[str]:
    """The settings that put ``value`` where the variable's value is now."""
    old = _unscoped(cfg[name])
    for field in FIELDS:
        for place, found in _walk(field, _unscoped(cfg.get(field))):
            if type(found) is type(old) and found == old:
                yield f'{place}.{rest}={value}' if rest else f'{place}={value}'
            elif _is_below(found, old) and not rest:
                yield f'{place}={join(str(value), found.removeprefix(old))}'


def _unscoped(value: Any) -> Any:
    """Without the scopes that MMEngine notes in what is inherited."""
    if isinstance(value, dict):
        return {k: _unscoped(v) for k, v in value.items() if k != '_scope_'}
    return [_unscoped(v) for v in value] if isinstance(value, list) else value


def _is_below(path: Any, folder: Any) -> bool:
    """Whether ``path`` was put together from ``folder``, ``'data/'`` say."""
    both = isinstance(path, str) and isinstance(folder, str)
    return both and folder.endswith('/') and path.startswith(folder)


def _walk(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All values in ``value`` by their key, itself first."""
    yield where, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        yield from _walk(f'{where}.{key}', child)

"""Published checkpoints by name: ``ldcrn_mm://NAME``.

Names and aliases are those of the metafile, where MMEngine's inferencers and mim
look too. Its ``Weights`` are a web address, or ``ldcrn_mm://FILE.pth`` for a file in
this package's folder ``weights/``.
"""

from pathlib import Path
from typing import NamedTuple

SCHEME = 'ldcrn_mm://'
DEFAULT = 'ldcrn'  # the model of the demo and of TopdownInferencer
WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'


class Model(NamedTuple):
    """A model in the metafile: path of its config, and its weights if published."""

    config: str
    weights: str | None


def knows(name: str) -> bool:
    """Whether a model in the metafile has this name or alias, in any case."""
    return '.' not in name and name.lower() in _models()  # files have a dot


def names() -> str:
    """All names and aliases in the metafile, for error messages."""
    return ', '.join(sorted(_models())) or 'none'


def config_of(name: str) -> str:
    """Path of the config of a name or alias, as :func:`locate` takes it."""
    return _model(name).config


def find(name: str = DEFAULT, weights: str | None = None) -> tuple[str, str]:
    """Path of a model's config, and path or address of its weights.

    Args:
        name: name or alias of the model, in any case.
        weights: used instead of the published ones.

    Raises:
        FileNotFoundError, ValueError: as :func:`locate`.
    """
    return config_of(name), weights or locate(SCHEME + name)


def locate(source: str) -> str:
    """Path or address behind ``ldcrn_mm://``. Returns any other source as it is.

    Args:
        source: ``ldcrn_mm://`` and the name or alias of a model, in any case, or
            the name of a file in ``weights/``.

    Raises:
        FileNotFoundError: if the package has no such file.
        ValueError: if no model has this name, or its weights are not published.
    """
    if not source.startswith(SCHEME):
        return source
    name = source.removeprefix(SCHEME)
    weights = source if name.endswith('.pth') else _model(name).weights
    if weights is None:
        raise ValueError(
            f'The weights of {name} have not been published yet. Its config can be '
            'trained.'
        )
    if not weights.startswith(SCHEME):
        return weights
    file = weights.removeprefix(SCHEME)
    if Path(file).name != file or not (WEIGHTS / file).is_file():
        found = ', '.join(sorted(path.name for path in WEIGHTS.glob('*.pth')))
        raise FileNotFoundError(
            f'No file {file} comes with ldcrn_mm. There are: {found or "none"}.'
        )
    return str(WEIGHTS / file)


def _model(name: str) -> Model:
    model = _models().get(name.lower())
    if model is None:
        raise ValueError(
            f'No model of ldcrn_mm is called {name!r}. There are: {names()}.'
        )
    return model


def _models() -> dict[str, Model]:
    """The models by name and alias, in lower case."""
    from mmengine.infer import BaseInferencer  # imports rich

    folder = BaseInferencer._get_repo_or_mim_dir('ldcrn_mm')
    found = {}
    for entry in BaseInferencer._get_models_from_metafile(folder):
        weights = entry['Weights']
        weights = weights[0] if isinstance(weights, list) else weights
        model = Model(str(Path(folder, entry['Config'])), weights)
        for name in (entry['Name'], *entry.get('Alias', ())):
            found[name.lower()] = model
    return found

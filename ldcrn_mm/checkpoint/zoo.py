"""Published checkpoints by name: ``ldcrn_mm://NAME``.

The names are those of the metafile, in which MMEngine's inferencers and mim look
too. A checkpoint that comes with this package stands in its folder ``weights/``
and in the metafile as ``Weights: ldcrn_mm://FILE.pth``, so that it is found from
any folder, by name or not; any other has its address on the web there.
"""

from pathlib import Path
from typing import NamedTuple

SCHEME = 'ldcrn_mm://'
DEFAULT = 'ldcrn'  # what runs where no model is named
WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'


class Model(NamedTuple):
    """What the metafile has of a model: its config, and weights if published."""

    config: str
    weights: str | None


def knows(name: str) -> bool:
    """Whether a model in the metafile has this name or alias, in any case."""
    return '.' not in name and name.lower() in _models()  # files have a dot


def names() -> str:
    """The names and aliases in the metafile, for errors."""
    return ', '.join(sorted(_models())) or 'none'


def find(name: str = DEFAULT, weights: str | None = None) -> tuple[str, str]:
    """Path of a model's config, and path or address of its published weights.

    Args:
        name: of the model in the metafile, or an alias, in any case.
        weights: to use instead of the published ones, which then need not be.

    Raises:
        FileNotFoundError: where the package has not the file that the metafile
            names.
        ValueError: where no model has this name, or its weights have not been
            published.
    """
    if weights:
        return _model(name).config, weights
    config, published = _published(name)
    return config, locate(published)


def locate(source: str) -> str:
    """Path or address of what ``ldcrn_mm://`` names; any other as it is.

    Args:
        source: ``ldcrn_mm://`` with the name or alias of a model, in any case,
            or with the name of a file in the package's ``weights/``.

    Raises:
        FileNotFoundError: where the package has no such file.
        ValueError: where no model has this name, or its weights have not been
            published.
    """
    if not source.startswith(SCHEME):
        return source
    name = source.removeprefix(SCHEME)
    return _file(name) if name.endswith('.pth') else locate(_published(name)[1])


def _file(name: str) -> str:
    if Path(name).name != name or not (WEIGHTS / name).is_file():
        raise FileNotFoundError(
            f'No file {name} comes with ldcrn_mm. There are: '
            f'{", ".join(sorted(f.name for f in WEIGHTS.glob("*.pth"))) or "none"}.'
        )
    return str(WEIGHTS / name)


def _published(name: str) -> tuple[str, str]:
    """Config of a model, and what the metafile has under ``Weights``."""
    config, weights = _model(name)
    if weights is None:
        raise ValueError(
            f'The weights of {name} have not been published yet; its config can be '
            'trained.'
        )
    if '://' not in weights or weights.removeprefix(SCHEME).lower() in _models():
        raise ValueError(
            f'The metafile has `Weights: {weights}` for {name}. Expected an address '
            f'on the web, or {SCHEME}FILE.pth for a file in {WEIGHTS}.'
        )
    return config, weights


def _model(name: str) -> Model:
    models = _models()
    if name.lower() not in models:
        raise ValueError(
            f'No model of ldcrn_mm is called {name!r}. There are: {names()}.'
        )
    return models[name.lower()]


def _models() -> dict[str, Model]:
    """The models by their names and aliases, in lower case."""
    from mmengine.infer import BaseInferencer  # brings in its progress bars

    folder = BaseInferencer._get_repo_or_mim_dir('ldcrn_mm')
    found = {}
    for entry in BaseInferencer._get_models_from_metafile(folder):
        weights = entry['Weights']
        weights = weights[0] if isinstance(weights, list) else weights
        model = Model(str(Path(folder, entry['Config'])), weights)
        for name in (entry['Name'], *entry.get('Alias', ())):
            found[name.lower()] = model
    return found

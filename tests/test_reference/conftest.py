"""The original's numbers, and the table of how closely ours agree with them."""

import json
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

DATA = Path(__file__).resolve().parent.parent / 'data'
STAGES = (
    'model',
    'augmentation',
    'crop',
    'targets',
    'schedule',
    'decoding',
    'evaluation',
)


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the original's, as a function of its name and shape."""
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(name.encode()) & 0x7FFFFFFF
    noise = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith('running_var'):
        return 1 + 0.2 * np.abs(noise)
    if len(shape) == 4:  # a convolution, by its fan-in
        return noise * np.sqrt(2 / np.prod(shape[1:]))
    if name.endswith('weight'):  # a normalisation
        return 1 + 0.1 * noise
    return 0.1 * noise  # biases and running means


@pytest.fixture(autouse=True)
def _mmpose_scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(params=['coco', 'mpii'])
def dataset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cfg(dataset: str, root: Path) -> Config:
    return Config.fromfile(root / 'configs' / f'ldcrn_{dataset}.py')


@pytest.fixture
def numbers() -> Callable[[str], dict[str, np.ndarray]]:
    """The arrays of a file of ``tests/data``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(DATA / f'original_{name}.npz') as file:
            return dict(file)

    return load


@pytest.fixture
def original_weights(dataset: str) -> dict[str, Tensor]:
    """A state dict of the original in float64, the same on every machine."""
    shapes = json.loads((DATA / 'original_names.json').read_text())[dataset]
    return {
        name: torch.from_numpy(np.asarray(fill(name, tuple(shape))))
        for name, shape in shapes
    }


Agreement = Callable[..., None]


@pytest.fixture
def agreement(request: pytest.FixtureRequest) -> Agreement:
    """Checks a difference against its bound and adds both to the table."""

    def check(
        stage: str, quantity: str, difference: float, bound: float, unit: str = ''
    ) -> None:
        row = stage, quantity, unit, float(difference), float(bound)
        request.node.user_properties.append(('agreement', row))
        assert difference <= bound, f'{quantity}: {difference} > {bound} {unit}'

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the largest difference of each quantity, over COCO and MPII.

    Where the unit says "known", MMPose differs, and the bound says by how much.
    """
    rows: dict[tuple[str, str, str], tuple[float, float]] = {}
    for report in chain(*map(terminalreporter.getreports, ('passed', 'failed'))):
        for name, row in report.user_properties:
            if name == 'agreement':
                *key, difference, bound = row
                before, _ = rows.get(tuple(key), (0.0, bound))
                rows[tuple(key)] = (max(before, difference), bound)
    if not rows:
        return
    terminalreporter.section('agreement with the original LDCRN')
    width = max(len(quantity) for _, quantity, _ in rows)
    terminalreporter.write_line(
        f'{"stage":<12}  {"quantity":<{width}}  {"largest difference":>18}  bound'
    )
    for stage, quantity, unit in sorted(rows, key=lambda key: STAGES.index(key[0])):
        difference, bound = rows[stage, quantity, unit]
        terminalreporter.write_line(
            f'{stage:<12}  {quantity:<{width}}  {difference:>18.2g}  {bound:.2g} {unit}'
        )

"""The networks to compare, counted and exported before anything is timed."""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator

from .networks import build_estimator, count, input_size, is_ldcrn, load_config
from .worker import keep_quiet, one_line

SUFFIXES = {'onnxruntime': '.onnx', 'openvino': '.xml'}
# Runtime and precision; no precision stands for what a file was exported for.
Form = tuple[str, str | None]
NUM_CALIBRATION = 8


@dataclass
class Candidate:
    """A network, and what is known of it before it is timed.

    Attributes:
        name: what to call it.
        config: name or path of its config; ``None`` for an exported file.
        size: (height, width) of the images; of a file, ``None`` for its own.
        deploy: whether it is in its form for deployment.
        files: exported forms, by runtime and precision.
        counts: ``parameters`` and ``multiply_adds`` of the plain network.
        errors: why there is no file for a runtime and a precision.
    """

    name: str
    config: str | None
    size: tuple[int, int] | None
    deploy: bool = False
    files: dict[Form, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[Form, str] = field(default_factory=dict)


def find_candidates(
    models: Sequence[str], size: tuple[int, int] | None, deploy: bool
) -> list[Candidate]:
    """The networks to compare.

    Args:
        models: names or paths of configs, or exported files.
        size: (height, width) of the images; by default what each is for.
        deploy: beside each LDCRN, also its form for deployment.

    Raises:
        FileNotFoundError: where there is no such config or file.
        ValueError: where a config does not say how large its images are.
    """
    found = []
    for model in models:
        runtime = runtime_of(model)
        if runtime:
            if not Path(model).is_file():
                raise FileNotFoundError(f'There is no exported network `{model}`.')
            files = {(runtime, None): model}
            found.append(Candidate(Path(model).name, None, size, files=files))
            continue
        config = load_config(model)
        name = Path(model.split('::')[-1]).stem if model.endswith('.py') else model
        image = size or input_size(config)
        found.append(Candidate(name, model, image))
        if deploy and is_ldcrn(config):
            found.append(Candidate(f'{name}, deploy form', model, image, deploy=True))
    return found


def runtime_of(model: str) -> str | None:
    """The runtime for an exported file, ``None`` for a config."""
    return {suffix: name for name, suffix in SUFFIXES.items()}.get(Path(model).suffix)


def prepare(candidate: Candidate, forms: Sequence[Form], folder: str) -> Candidate:
    """Counts a network, and exports it.

    Args:
        candidate: a network with a config.
        forms: what to export it for.
        folder: where the files go.

    Returns:
        The candidate with ``files``, ``counts`` and ``errors``.
    """
    config = load_config(candidate.config)
    plain = build_estimator(config, candidate.size)
    candidate.counts = count(plain, candidate.size)
    for form in forms:
        file = Path(mkdtemp(dir=folder), 'network' + SUFFIXES[form[0]])
        try:
            estimator = build_estimator(config, candidate.size, candidate.deploy)
            export(estimator, file, candidate.size, form[1])
        except Exception as error:  # of any of the exporters
            candidate.errors[form] = one_line(error)
        else:
            candidate.files[form] = str(file)
    return candidate


def export(
    estimator: BasePoseEstimator, file: Path, size: tuple[int, int], precision: str
) -> None:
    """Writes a network for one of the runtimes.

    To int8 it is quantized on images of noise, which serves to tell the time
    but not to predict; ``tools/export.py`` quantizes on pictures.

    Args:
        estimator: the network.
        file: ends as the runtime wants it.
        size: (height, width) of the images.
        precision: to compute in.
    """
    from ..deploy.export import export_onnx, export_openvino  # needs more libraries

    write = export_onnx if file.suffix == SUFFIXES['onnxruntime'] else export_openvino
    noise = torch.randn(NUM_CALIBRATION, 3, *size).numpy()
    write(estimator, file, size[::-1], precision=precision, calibration=noise)


def prepare_apart(
    candidates: Sequence[Candidate], forms: Sequence[Form], folder: str
) -> list[Candidate]:
    """:func:`prepare` in a process of its own, which takes its memory with it.

    Exported files need no preparation and are returned as they are. A network
    that fails is returned with errors, or fails again where it is timed.
    """
    prepared, pool = [], _pool()
    try:
        for candidate in candidates:
            error = None
            try:
                if candidate.config is not None:
                    print(f'Preparing {candidate.name}', file=sys.stderr)
                    work = pool.submit(prepare, candidate, forms, folder)
                    candidate = work.result()
            except BrokenProcessPool:
                error = 'its process ended while it was exported (for want of memory?)'
                pool = _pool()
            except Exception as failed:  # of building or counting it
                error = one_line(failed)
            if error:
                candidate = replace(candidate, errors=dict.fromkeys(forms, error))
            prepared.append(candidate)
    finally:
        pool.shutdown()
    return prepared


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        1, mp_context=get_context('spawn'), initializer=keep_quiet
    )

"""Inference: PyTorch eager and compiled, ONNX Runtime, OpenVINO."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from tempfile import TemporaryDirectory

import torch

from . import rate
from .candidates import SUFFIXES, Candidate, Form, find_candidates, prepare_apart
from .networks import Network, build_estimator, load_config
from .record import add_rates, add_results, add_throughput, describe_run
from .rounds import Schedule, compare
from .worker import Call, Contender

# What each runtime can compute in on a CPU
PRECISIONS = {
    'eager': ('fp32', 'bf16', 'fp16'),
    'compile': ('fp32', 'bf16', 'fp16'),
    'onnxruntime': ('fp32', 'int8'),
    'openvino': ('fp32', 'bf16', 'fp16', 'int8'),
}


@dataclass(frozen=True)
class Settings:
    """How networks are run.

    Attributes:
        runtimes: some of :data:`PRECISIONS`; an exported file has its own.
        precisions: each is used where a runtime has it; an exported file is
            run as it was exported.
        batch_sizes: for the throughput. The latency is that of one image.
        size: (height, width) of the images; by default what a network is for.
        device: of PyTorch.
        channels_last: beside each network in PyTorch, one with this layout.
        deploy: beside each LDCRN, its form for deployment.
    """

    runtimes: Sequence[str] = ('eager',)
    precisions: Sequence[str] = ('fp32',)
    batch_sizes: Sequence[int] = (1,)
    size: tuple[int, int] | None = None
    device: str = 'cpu'
    channels_last: bool = False
    deploy: bool = False

    @property
    def cases(self) -> tuple[int, ...]:
        """All batch sizes to time."""
        return tuple(sorted({1, *self.batch_sizes}))

    @property
    def forms(self) -> list[Form]:
        """Each runtime with each of the precisions that it has."""
        return [
            (runtime, precision)
            for runtime in self.runtimes
            for precision in self.precisions
            if precision in PRECISIONS[runtime]
        ]


def measure(models: Sequence[str], settings: Settings, schedule: Schedule) -> dict:
    """Times networks in all runtimes in turn, the machine's best rate beside.

    Args:
        models: names or paths of configs, or exported files. The first is what
            the others are compared with.
        settings: how to run them.
        schedule: how often and how long to time.

    Returns:
        The record, as it goes into JSON.

    Raises:
        FileNotFoundError: where a model does not exist.
        ValueError: where nothing can be run as the settings say.
    """
    candidates = find_candidates(models, settings.size, settings.deploy)
    forms = settings.forms
    if not forms and any(one.config for one in candidates):
        raise ValueError(
            f'None of {", ".join(settings.runtimes)} computes in '
            f'{", ".join(settings.precisions)}. They have: {PRECISIONS}'
        )
    everything = asdict(settings) | asdict(schedule)
    record = describe_run('inference', everything, settings.device)
    with TemporaryDirectory() as folder:
        exports = [form for form in forms if form[0] in SUFFIXES]
        found = {
            one: candidate.counts
            for candidate in prepare_apart(candidates, exports, folder)
            for one in contenders(candidate, settings, schedule.threads)
        }
        wanted = {one.options['precision'] for one in found}
        best = {
            precision: rate.contender(precision, settings.device)
            for precision in rate.DTYPES
            if precision in wanted
        }
        measurements = compare([*found, *best.values()], schedule)
    add_results(record, measurements[: len(found)])
    for result, counts in zip(record['contenders'], found.values()):
        result.update(counts)
        # Where the export was written to says nothing.
        result['options'] = {k: v for k, v in result['options'].items() if k != 'file'}
        add_throughput(result)
    add_rates(record, dict(zip(best, measurements[len(found) :])))
    return record


def contenders(
    candidate: Candidate, settings: Settings, threads: int
) -> Iterator[Contender]:
    """A network in each runtime and each precision that the runtime has.

    Args:
        candidate: that was prepared.
        settings: which they are.
        threads: of ONNX Runtime and OpenVINO.
    """
    for form in settings.forms if candidate.config else candidate.files:
        if form[0] in SUFFIXES:
            yield _exported(candidate, form, settings, threads)
            continue
        for channels_last in (False, True)[: 1 + settings.channels_last]:
            yield _pytorch(candidate, form, settings, channels_last)


def _exported(
    candidate: Candidate, form: Form, settings: Settings, threads: int
) -> Contender:
    return Contender(
        ', '.join(filter(None, (candidate.name, *form))),
        build_exported,
        dict(
            file=candidate.files.get(form),
            size=candidate.size,
            precision=form[1],
            threads=threads,
        ),
        settings.cases,
        error=candidate.errors.get(form),
    )


def _pytorch(
    candidate: Candidate, form: Form, settings: Settings, channels_last: bool
) -> Contender:
    runtime, precision = form
    layout = 'channels-last' if channels_last else None
    return Contender(
        ', '.join(filter(None, (candidate.name, *form, layout))),
        build_pytorch,
        dict(
            config=candidate.config,
            size=candidate.size,
            precision=precision,
            deploy=candidate.deploy,
            compiled=runtime == 'compile',
            channels_last=channels_last,
            device=settings.device,
        ),
        settings.cases,
        settings.device,
    )


def build_pytorch(
    config: str,
    size: tuple[int, int],
    precision: str,
    *,
    deploy: bool,
    compiled: bool,
    channels_last: bool,
    device: str,
) -> Callable[[int], Call]:
    """Makes calls of a network in PyTorch, by batch size."""
    network = Network(build_estimator(load_config(config), size, deploy))
    layout = torch.channels_last if channels_last else torch.preserve_format
    form = dict(device=device, dtype=rate.DTYPES[precision], memory_format=layout)
    network = network.to(**form)
    if compiled:
        # Weights as constants: batch norms are folded, layouts chosen in advance.
        network = torch.compile(network, dynamic=False, options=dict(freezing=True))

    def prepare(batch: int) -> Call:
        images = torch.randn(batch, 3, *size).to(**form)
        return torch.no_grad()(partial(network, images))

    return prepare


def build_exported(
    file: str, size: tuple[int, int] | None, precision: str | None, threads: int
) -> Callable[[int], Call]:
    """Makes calls of an exported network in its runtime, by batch size."""
    from ..deploy import open_runtime

    runtime = open_runtime(file, precision=precision, num_threads=threads)
    width, height = runtime.input_size
    if size not in (None, (height, width)):
        raise ValueError(
            f'{file} takes images of {height}x{width}, not of {size[0]}x{size[1]}.'
        )
    return lambda batch: partial(runtime, torch.randn(batch, 3, height, width).numpy())

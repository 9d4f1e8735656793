#!/usr/bin/env python
"""Compares the inference speed of pose networks.

    python tools/benchmark.py ldcrn-coco hrnet-w32 --runtime eager,onnxruntime
    python tools/benchmark.py ldcrn-coco --deploy --channels-last --batch-sizes 1,8
    python tools/benchmark.py hrnet-w32 model.onnx model_int8.xml --json out.json
    python tools/benchmark.py ldcrn-coco --device cuda --runtime eager,cudagraphs

A MODEL is a config file, a name from the metafile such as ldcrn-coco, one of the
names below, mmpose::FOLDER/CONFIG.py, or an exported file (.onnx, .xml), which keeps
its own runtime, precision and image size. Networks have random weights, int8 is
calibrated on noise, and nothing is downloaded. Contenders are timed in turn, every
other round in reverse order. A ratio is the median of the ratios within the rounds, so
it holds on a machine that is not idle, best with --threads 1 --cpu-time. On a GPU,
calls are timed until it is done, fp32 is TF32, and compile replays CUDA graphs too.
"""

import argparse
import copy
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import metadata
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.benchmark import Measurement, Timer
from torch.utils.flop_counter import FlopCounterMode

from ldcrn_mm.checkpoint import zoo
from ldcrn_mm.deploy import deploy_form, is_exported, open_runtime
from ldcrn_mm.training import options
from ldcrn_mm.training.precision import cpu_computes_in

COCO = (
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_{}_8xb64-210e_coco-256x192.py'
)
NAMES = {x: COCO.format(x) for x in ('hrnet-w32', 'litehrnet-18', 'res50')}
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
PRECISIONS = {
    'eager': [*DTYPES],
    'cudagraphs': [*DTYPES],
    'compile': [*DTYPES],
    'onnxruntime': ['fp32', 'int8'],
    'openvino': [*DTYPES, 'int8'],
}
SUFFIXES = dict(onnxruntime='.onnx', openvino='.xml')
LIBRARIES = ['torch', 'mmengine', 'mmpose', 'onnxruntime', 'openvino', 'nncf']
MIN_TIME = 0.5  # seconds of a turn


class Contender(NamedTuple):
    """A network and the way it runs. An exported file needs no more than its name."""

    model: str
    form: str = ''  # 'deploy', 'channels-last' or both
    runtime: str = ''
    precision: str = ''


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'Names of models: {", ".join(NAMES)}.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('models', nargs='+', metavar='MODEL', help='networks to compare, see above')
    add('--runtime', default='eager', help=f'of {",".join(PRECISIONS)} (%(default)s)')
    add('--precision', default='fp32', help='of fp32,bf16,fp16,int8 (%(default)s)')
    add('--deploy', action='store_true', help='add the deploy form of each LDCRN')
    add('--channels-last', action='store_true', help='add this layout in PyTorch')
    size = "height and width of the images (the config's)"
    add('--size', type=options.image_size, metavar='HxW', help=size)
    batches = 'images at once (%(default)s)'
    add('--batch-sizes', type=numbers, default='1', metavar='N,...', help=batches)
    add('--device', choices=['cpu', 'cuda'], default='cpu', help='(%(default)s)')
    add('--threads', type=number, default=2, help='of the CPU (%(default)s)')
    add('--rounds', type=number, default=10, help='of timing (%(default)s)')
    add('--cpu-time', action='store_true', help='count the CPU time of all threads')
    add('--json', metavar='OUT', help='also write the results to this file')
    args = parser.parse_args()
    for option, known in ('runtime', PRECISIONS), ('precision', [*DTYPES, 'int8']):
        words = vars(args)[option] = vars(args)[option].split(',')
        for word in {*words}.difference(known):
            parser.error(f'--{option} must be of {",".join(known)}, got {word!r}')
    if args.cpu_time and args.device == 'cuda':
        parser.error('--cpu-time does not see the time of a GPU')
    options.require_suffix(parser, args.json, ['.json'])
    if args.json:
        options.require_place(parser, args.json)
    return args


def number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {text!r}')
    return int(text)


def numbers(text: str) -> list[int]:
    return [*map(number, text.split(','))]


def read_config(model: str) -> Config:
    place = NAMES.get(model, model)
    try:
        if '::' in place:
            return get_config(place)
        return Config.fromfile(place if '.' in place else zoo.config_of(place))
    except Exception as error:  # MMEngine raises many types
        raise ValueError(f'there is no config {model}: {error}') from error


def find_contenders(args: argparse.Namespace) -> Iterator[Contender]:
    """Every model in every way that the command line asks for."""
    for model in args.models:
        if is_exported(model):
            yield Contender(model)
            continue
        is_ldcrn = 'LDCRN' in str(read_config(model).model.backbone.type)
        forms = ('', 'deploy') if args.deploy and is_ldcrn else ('',)
        for form, runtime, precision in product(forms, args.runtime, args.precision):
            yield Contender(model, form, runtime, precision)
            if args.channels_last and runtime not in SUFFIXES:
                form = f'{form} channels-last'.strip()
                yield Contender(model, form, runtime, precision)


@cache
def build(model: str, size: tuple[int, int] | None) -> tuple[nn.Module, dict[str, Any]]:
    """An estimator with random weights, its image size and its complexity.

    Its norms have the statistics of noise. With those of a new network, activations
    become denormal numbers, which are slow.
    """
    config = read_config(model)
    init_default_scope(config.get('default_scope', 'mmpose'))
    torch.manual_seed(0)
    estimator = MODELS.build(config.model)
    size = size or tuple(estimator.head.decoder.input_size[::-1])
    parts = [m for n, m in estimator.named_children() if n != 'data_preprocessor']
    update_bn([torch.randn(2, 3, *size)], nn.Sequential(*parts))
    estimator.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        estimator(torch.zeros(1, 3, *size), None, mode='tensor')
    parameters = sum(p.numel() for p in estimator.parameters())
    flops = counter.get_total_flops()
    return estimator, dict(size=size, parameters=parameters, multiply_adds=flops // 2)


def export(estimator: nn.Module, one: Contender, size: tuple, folder: str) -> Path:
    """Writes a network for its runtime and precision, if it is not there yet."""
    from ldcrn_mm.deploy.export import export_network

    name = f'{one.model} {one.form} {one.precision}'.replace(os.sep, '_')
    file = Path(folder, name + SUFFIXES[one.runtime])
    if not file.is_file():
        noise = torch.randn(8, 3, *size).numpy()  # enough to tell the time
        settings = dict(precision=one.precision, calibration=noise)
        export_network(estimator, file, size[::-1], **settings)
    return file


def prepare(
    one: Contender, args: argparse.Namespace, folder: str
) -> tuple[dict[str, Any], dict[int, Timer]]:
    """Facts about a contender, and a timer for each batch size."""
    known = PRECISIONS.get(one.runtime, [one.precision])
    if one.precision not in known:
        raise ValueError(f'{one.runtime} computes in {", ".join(known)}')
    dtype = DTYPES.get(one.precision, torch.float32)
    if args.device == 'cpu' and dtype.itemsize < 4 and not cpu_computes_in(dtype):
        raise ValueError(f'this CPU has no instructions for {one.precision}')
    facts, file, layout = one._asdict(), one.model, torch.preserve_format
    if not is_exported(file):
        estimator, more = build(one.model, args.size)
        facts.update(more)
        suffix = SUFFIXES.get(one.runtime, '')
        if 'deploy' in one.form:
            estimator = deploy_form(estimator, suffix, one.precision)
        if suffix:
            file = export(estimator, one, facts['size'], folder)
    if is_exported(file):
        run = open_runtime(file, args.threads, args.device)
        convert = Tensor.numpy
        facts.update(runtime=run.name, precision=run.precision)
        facts.update(size=run.input_size[::-1])
    else:
        if 'channels-last' in one.form:
            layout = torch.channels_last
        to = dict(device=args.device, dtype=dtype, memory_format=layout)
        run, convert = copy.deepcopy(estimator).to(**to), partial(Tensor.to, **to)
        if one.runtime == 'compile':  # with the weights as constants
            inductor = {'freezing': True, 'triton.cudagraphs': args.device == 'cuda'}
            run = torch.compile(run, dynamic=False, options=inductor)
        run = partial(run, data_samples=None, mode='tensor')
    run, timers = torch.no_grad()(run), {}
    clock = dict(timer=time.process_time) if args.cpu_time else {}
    for batch in args.batch_sizes:
        images = convert(torch.randn(batch, 3, *facts['size']))
        names = dict(run=run, images=images)
        if one.runtime == 'cudagraphs':
            names['run'] = torch.cuda.make_graphed_callables(run, (images,))
        settings = dict(globals=names, num_threads=args.threads, **clock)
        timers[batch] = Timer('run(images)', **settings)
        timers[batch].timeit(1)  # compiles, and shows whether it runs
        if one.runtime == 'eager' and args.device == 'cuda':
            others = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            timers[batch].timeit(1)
            peak = torch.cuda.max_memory_allocated() - others + images.nbytes
            facts.setdefault('memory', {})[batch] = peak
    return facts, timers


def latency(turns: Sequence[Measurement], first: Sequence[Measurement]) -> dict:
    """Seconds of a call in all turns, and the ratio to the first within the rounds."""
    (whole,) = Measurement.merge(turns)
    rounds = [turn.median for turn in turns]
    ratio = median(mine / its.median for mine, its in zip(rounds, first))
    return dict(median=whole.median, iqr=whole.iqr, ratio=ratio, rounds=rounds)


def measure(args: argparse.Namespace) -> tuple[list[dict], dict[str, str]]:
    """Facts and latencies of the contenders, and why others are left out."""
    contenders, ready, times, left_out = find_contenders(args), {}, {}, {}

    def attempt(one: Contender, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # of any library
            reason = f'{type(error).__name__}: {error}'
            ready.pop(one, None)
            left_out[' '.join(filter(None, one))] = ' '.join(reason.split())[:300]

    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision('high')  # TF32, as in cuDNN's convolutions
    with TemporaryDirectory() as folder:
        for one in dict.fromkeys(contenders):
            print('Preparing', *filter(None, one), file=sys.stderr)
            if found := attempt(one, prepare, one, args, folder):
                ready[one] = found
        for count in track_iter_progress(range(args.rounds), file=sys.stderr):
            turns = list(product(args.batch_sizes, ready))
            for batch, one in turns[:: -1 if count % 2 else 1]:
                if one in ready:
                    call = ready[one][1][batch].blocked_autorange
                    turn = attempt(one, partial(call, min_run_time=MIN_TIME))
                    times.setdefault((one, batch), []).append(turn)
    first = next(iter(ready), None)
    for one, (facts, _) in ready.items():
        facts['latency'] = {
            batch: latency(times[one, batch], times[first, batch])
            for batch in args.batch_sizes
        }
    return [facts for facts, _ in ready.values()], left_out


def table(results: Sequence[dict]) -> str:
    """The results in Markdown."""
    rows = [['model', 'image', 'runtime', 'precision', 'parameters', 'multiply-adds']]
    for batch in results[0]['latency']:
        rows[0] += [f'ms at batch {batch} (iqr)', 'ratio']
    for one in results:
        row = [f'{one["model"]} {one["form"]}'.strip(), 'x'.join(map(str, one['size']))]
        row += [one['runtime'], one['precision'], '', '']
        if 'parameters' in one:  # not of a file
            row[-2:] = f'{one["parameters"]:,}', f'{one["multiply_adds"] / 1e9:.3f}e9'
        for found in one['latency'].values():
            row += [f'{found["median"] * 1e3:.2f} ({found["iqr"] * 1e3:.2f})']
            row += [f'{found["ratio"]:.3f}']
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ['-' * width for width in widths])
    return '\n'.join(f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows)


def describe_machine() -> dict[str, str]:
    info = Path('/proc/cpuinfo')  # of Linux
    found = info.exists() and re.search(r'model name\s*:\s*(.+)', info.read_text())
    cpu = found[1] if found else platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    versions = {x.name: x.version for x in metadata.distributions()}
    libraries = {name: versions[name] for name in LIBRARIES if name in versions}
    return dict(CPU=cpu, GPU=gpu, load=f'{os.getloadavg()[0]:.2f}') | libraries


def main() -> None:
    args = parse_args()
    record = dict(machine=describe_machine(), settings=vars(args))
    with options.user_errors():
        record['results'], record['left_out'] = measure(args)
    if args.json:
        dump(record, args.json, indent=1)
    for name, reason in record['left_out'].items():
        print(f'Left out: {name}: {reason}', file=sys.stderr)
    if not record['results']:
        sys.exit('benchmark.py: error: nothing was measured')
    print(table(record['results']))
    machine = ', '.join(f'{k} {v}' for k, v in record['machine'].items())
    what = 'CPU time' if args.cpu_time else 'wall time'
    print(f'\n{machine}, threads {args.threads}, rounds {args.rounds}, {what}')


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    main()

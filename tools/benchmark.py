#!/usr/bin/env python
"""Compares the inference speed of pose networks.

    python tools/benchmark.py ldcrn-coco hrnet-w32 --runtime eager,onnxruntime
    python tools/benchmark.py ldcrn-coco --deploy --channels-last --batch-sizes 1,8
    python tools/benchmark.py hrnet-w32 model.onnx model_int8.xml --json out.json

A MODEL is a config file, a name from the metafile such as ldcrn-coco, one of the
names below, mmpose::FOLDER/CONFIG.py, or an exported file (.onnx, .xml), which keeps
its own runtime, precision and image size. Networks have random weights, int8 is
calibrated on noise, and nothing is downloaded. Each contender runs in a process of
its own. They are timed in turn, every other round in reverse order. A ratio is the
median of the ratios within the rounds, so it holds on a machine that is not idle.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from itertools import product
from multiprocessing import get_context, parent_process
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
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
from ldcrn_mm.training.options import image_size, require_suffix, user_errors
from ldcrn_mm.training.precision import cpu_computes_in

COCO = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_'
NAMES = {
    'hrnet-w32': f'{COCO}hrnet-w32_8xb64-210e_coco-256x192.py',
    'simplebaseline-r50': f'{COCO}res50_8xb64-210e_coco-256x192.py',
    'litehrnet-18': f'{COCO}litehrnet-18_8xb64-210e_coco-256x192.py',
}
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
PRECISIONS = {
    'eager': [*DTYPES],
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


TIMERS: dict[tuple[Contender, int], Timer] = {}  # of this process, by batch size


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'Names of models: {", ".join(NAMES)}.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, words = parser.add_argument, partial(str.split, sep=',')
    add('models', nargs='+', metavar='MODEL')
    add('--runtime', type=words, default='eager', help=','.join(PRECISIONS))
    add('--precision', type=words, default='fp32', help='fp32,bf16,fp16,int8')
    add('--deploy', action='store_true', help='add the deploy form of each LDCRN')
    add('--channels-last', action='store_true', help='add this layout in PyTorch')
    add('--size', type=image_size, metavar='HEIGHTxWIDTH', help="(the config's)")
    add('--batch-sizes', type=numbers, default='1', metavar='N,...')
    add('--device', choices=['cpu', 'cuda'], default='cpu', help='of PyTorch')
    add('--threads', type=int, default=2, help='(%(default)s)')
    add('--rounds', type=int, default=10, help='(%(default)s)')
    add('--json', metavar='OUT', help='also write the results to this file')
    args = parser.parse_args()
    for option, known in dict(
        runtime=PRECISIONS, precision=PRECISIONS['openvino']
    ).items():
        for word in set(vars(args)[option]).difference(known):
            parser.error(f'--{option} must be of {",".join(known)}, got {word!r}')
    if min(args.threads, args.rounds, *args.batch_sizes) < 1:
        parser.error('--threads, --rounds and --batch-sizes must be at least 1')
    require_suffix(parser, args.json, ['.json'])
    if args.json:
        try:  # before measuring, which takes long
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            Path(args.json).open('a').close()
        except OSError as error:
            parser.error(f'cannot write --json {args.json}: {error.strerror}')
    return args


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(',')]


def read_config(model: str) -> Config:
    place = NAMES.get(model, model)
    if '::' in place:
        return get_config(place)
    return Config.fromfile(place if '.' in place else zoo.find(place, 'random')[0])


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


def require_precision(one: Contender, device: str) -> None:
    known = PRECISIONS.get(one.runtime, [one.precision])
    if one.precision not in known:
        raise ValueError(f'{one.runtime} computes in {", ".join(known)}')
    dtype = DTYPES.get(one.precision, torch.float32)
    if device == 'cpu' and dtype.itemsize < 4 and not cpu_computes_in(dtype):
        raise ValueError(f'this CPU has no instructions for {one.precision}')


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
    """Writes a network for its runtime, once for all precisions but int8."""
    from ldcrn_mm.deploy.export import export_onnx, export_openvino

    int8 = one.precision == 'int8'
    name = f'{one.model} {one.form}{" int8" * int8}'.replace(os.sep, '_')
    file = Path(folder, name + SUFFIXES[one.runtime])
    if not file.is_file():
        write = export_onnx if one.runtime == 'onnxruntime' else export_openvino
        noise = torch.randn(8, 3, *size).numpy()  # enough to tell the time
        options = dict(precision='int8', calibration=noise) if int8 else {}
        write(estimator, file, size[::-1], **options)
    return file


def begin() -> None:
    """Leaves the output to the table, and ends this process if its parent is killed."""
    os.dup2(2, 1)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def prepare(one: Contender, args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Prepares a contender in its process and returns facts about it."""
    torch.set_num_threads(args.threads)
    facts, file = one._asdict(), one.model
    if not is_exported(file):
        estimator, more = build(one.model, args.size)
        facts.update(more)
        if 'deploy' in one.form:
            estimator = deploy_form(estimator)
        if one.runtime in SUFFIXES:
            file = export(estimator, one, facts['size'], folder)
    if is_exported(file):
        run, convert = (
            open_runtime(file, one.precision or None, args.threads),
            Tensor.numpy,
        )
        facts.update(runtime=run.name, precision=run.precision)
        facts.update(size=run.input_size[::-1])
    else:
        last = 'channels-last' in one.form
        layout = torch.channels_last if last else torch.preserve_format
        to = dict(device=args.device, dtype=DTYPES[one.precision], memory_format=layout)
        run, convert = estimator.to(**to), partial(Tensor.to, **to)
        if one.runtime == 'compile':  # with the weights as constants
            run = torch.compile(run, dynamic=False, options=dict(freezing=True))
        run = partial(run, data_samples=None, mode='tensor')
    for batch in args.batch_sizes:
        images = convert(torch.randn(batch, 3, *facts['size']))
        names = dict(run=torch.no_grad()(run), images=images)
        timer = Timer('run(images)', globals=names, num_threads=args.threads)
        timer.timeit(1)  # compiles, and shows whether it runs
        TIMERS[one, batch] = timer
    return facts


def time(one: Contender, batch: int) -> Measurement:
    """Times a contender in its process, for one turn."""
    return TIMERS[one, batch].blocked_autorange(min_run_time=MIN_TIME)


def latency(turns: Sequence[Measurement], first: Sequence[Measurement]) -> dict:
    """Seconds of a call in all turns, and the ratio to the first within the rounds."""
    (whole,) = Measurement.merge(turns)
    rounds = [turn.median for turn in turns]
    ratio = median(mine / its.median for mine, its in zip(rounds, first))
    return dict(median=whole.median, iqr=whole.iqr, ratio=ratio, rounds=rounds)


def measure(args: argparse.Namespace) -> tuple[list[dict], dict[str, str]]:
    """Facts and latencies of the contenders, and why others are left out."""
    contenders = list(dict.fromkeys(find_contenders(args)))
    workers, facts, times, left_out = {}, {}, {}, {}

    def attempt(one: Contender, function: Callable, *arguments: Any) -> Any:
        try:
            require_precision(one, args.device)
            return workers[one].submit(function, one, *arguments).result()
        except Exception as error:  # of any library
            reason = f'{type(error).__name__}: {error}'
            left_out[one] = ' '.join(reason.split())[:300]

    with TemporaryDirectory() as folder, ExitStack() as stack:
        for one in contenders:
            print('Preparing', *filter(None, one), file=sys.stderr)
            pool = ProcessPoolExecutor(1, get_context('spawn'), begin)
            workers[one] = stack.enter_context(pool)
            facts[one] = attempt(one, prepare, args, folder)
        for number in track_iter_progress(range(args.rounds), file=sys.stderr):
            turns = list(product(args.batch_sizes, contenders))
            for batch, one in turns[:: -1 if number % 2 else 1]:
                if one not in left_out:
                    turn = attempt(one, time, batch)
                    times.setdefault((one, batch), []).append(turn)
    ran = [one for one in contenders if one not in left_out]
    for one in ran:
        facts[one]['latency'] = {
            batch: latency(times[one, batch], times[ran[0], batch])
            for batch in args.batch_sizes
        }
    reasons = {' '.join(filter(None, one)): left_out[one] for one in left_out}
    return [facts[one] for one in ran], reasons


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
    cpuinfo = Path('/proc/cpuinfo')
    text = cpuinfo.read_text() if cpuinfo.is_file() else ''
    cpu = re.search(r'model name\s*:\s*(.+)', text)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    load = f'{os.getloadavg()[0]:.2f}'
    versions = {one.name: one.version for one in metadata.distributions()}
    return dict(CPU=cpu[1] if cpu else platform.processor(), GPU=gpu, load=load) | {
        name: versions[name] for name in LIBRARIES if name in versions
    }


def main() -> None:
    args = parse_args()
    record = dict(machine=describe_machine(), settings=vars(args))
    with user_errors():
        record['results'], record['left_out'] = measure(args)
    if args.json:
        dump(record, args.json, indent=1)
    for name, reason in record['left_out'].items():
        print(f'Left out: {name}: {reason}', file=sys.stderr)
    if not record['results']:
        sys.exit('benchmark.py: error: nothing was measured')
    print(table(record['results']))
    machine = ', '.join(f'{k} {v}' for k, v in record['machine'].items())
    print(f'\n{machine}, threads {args.threads}, rounds {args.rounds}')


if __name__ == '__main__':
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')  # of the processes
    main()

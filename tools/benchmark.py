#!/usr/bin/env python
"""Times networks against each other, in turn, within one run.

    python tools/benchmark.py ldcrn hrnet-w32 --runtime eager,onnxruntime
    python tools/benchmark.py ldcrn --deploy --channels-last --batch-sizes 1,8
    python tools/benchmark.py hrnet-w32 model.onnx model_int8.xml --json out.json
    python tools/benchmark.py ldcrn --train plain,amp,amp+channels-last
    python tools/benchmark.py configs/ldcrn_coco.py --loader 0,4,8
    python tools/benchmark.py ldcrn --end-to-end PICTURES --bbox-file BOXES.json

A MODEL is the path of a config, mmpose::FOLDER/CONFIG.py, one of the names
below, or an exported file (.onnx, .xml). Each runs in a process of its own, and
they are timed round by round, so that the ratios to the first one hold on a
machine that is not quite idle. Numbers are medians over the rounds, with the
quartiles. Multiply-adds are of convolutions and products of matrices. Memory is
the peak of the process above the loaded program (on CUDA, of the tensors).
Weights are random; to int8 networks are quantized on noise, for the time only.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import dump

from ldcrn_mm.benchmark import end_to_end, inference, loading, training
from ldcrn_mm.benchmark.networks import NAMES
from ldcrn_mm.benchmark.rounds import Schedule
from ldcrn_mm.benchmark.table import TABLES, describe_record
from ldcrn_mm.training.options import image_size, require_suffix, user_errors

PRECISIONS = ('fp32', 'bf16', 'fp16', 'int8')
# Options that some of the benchmarks heed, and which
OF_INFERENCE = ('runtime', 'precision', 'batch_sizes', 'size', 'deploy')
HEEDED = dict.fromkeys(OF_INFERENCE, ('inference',)) | dict(
    channels_last=('inference', 'end_to_end'),
    device=('inference', 'train', 'end_to_end'),
    batch_size=('train', 'loader', 'end_to_end'),
    checkpoint=('end_to_end',),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'Names of models: {", ".join(NAMES)}.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('models', nargs='+', metavar='MODEL')
    parser.add_argument('--json', metavar='OUT', help='also write all results to it')
    parser.add_argument('--device', default='cpu', help='of PyTorch (%(default)s)')
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='in PyTorch also with this layout (end to end, only with it)',
    )
    add_schedule(parser)
    add_inference_options(parser)
    group = parser.add_argument_group('other benchmarks')
    group.add_argument(
        '--train',
        nargs='?',
        const=list(training.DEFAULT),
        type=words(),
        metavar='WAY,...',
        help='steps of training of one MODEL: plain, or some of '
        f'{", ".join(training.OPTIONS)} joined by +',
    )
    group.add_argument(
        '--loader',
        type=worker_counts,
        metavar='N,...',
        help='data loader of the training of one MODEL, with these numbers of workers',
    )
    group.add_argument(
        '--batch-size',
        type=positive,
        help="people of a training step (the config's), or end to end (32)",
    )
    group.add_argument(
        '--end-to-end', metavar='PICTURES', help='through the inferencer'
    )
    group.add_argument('--bbox-file', help="boxes of the people, in COCO's format")
    group.add_argument('--checkpoint', help='weights end to end (random ones)')
    args = parser.parse_args()
    require_suffix(parser, args.json, ['.json'])
    if args.json:
        require_writable(parser, Path(args.json))
    check_together(parser, args)
    check_heeded(parser, args)
    return args


def add_schedule(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('schedule')
    group.add_argument('--threads', type=positive, default=2, help='(%(default)s)')
    group.add_argument(
        '--rounds', type=positive, default=10, help='turns of each (%(default)s)'
    )
    group.add_argument(
        '--warmup', type=positive, default=3, help='calls before them (%(default)s)'
    )
    group.add_argument(
        '--min-time', type=float, default=0.5, help='seconds of a turn (%(default)s)'
    )


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('inference')
    group.add_argument(
        '--runtime',
        type=words(*inference.PRECISIONS),
        default=['eager'],
        help='of the configs, some of ' + ','.join(inference.PRECISIONS),
    )
    group.add_argument(
        '--precision',
        type=words(*PRECISIONS),
        default=['fp32'],
        help='where the runtime has it, some of ' + ','.join(PRECISIONS),
    )
    group.add_argument(
        '--deploy',
        action='store_true',
        help='each LDCRN also in its form for deployment',
    )
    group.add_argument(
        '--size',
        type=image_size,
        metavar='HEIGHTxWIDTH',
        help='of the images, as in 256x192 (what the networks are for)',
    )
    group.add_argument(
        '--batch-sizes',
        type=batch_sizes,
        default=[1],
        metavar='N,...',
        help='for the throughput; the latency is that of one image',
    )


def words(*choices: str) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        found = text.split(',')
        for word in found:
            if not word or (choices and word not in choices):
                raise argparse.ArgumentTypeError(
                    f'expected some of {",".join(choices)}, got {word!r}'
                )
        return found

    return parse


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'expected a number of at least 1, got {text!r}'
        )
    return int(text)


def worker_counts(text: str) -> list[int]:
    return [int(word) if word == '0' else positive(word) for word in text.split(',')]


def batch_sizes(text: str) -> list[int]:
    return [positive(word) for word in text.split(',')]


def require_writable(parser: argparse.ArgumentParser, file: Path) -> None:
    """Before anything is measured: it takes long."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = not file.exists()
        file.open('a').close()
        if new:
            file.unlink()
    except OSError as error:
        parser.error(f'--json: cannot write {file}: {error.strerror}')


def check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if sum(map(bool, (args.train, args.loader, args.end_to_end))) > 1:
        parser.error('--train, --loader and --end-to-end are benchmarks of their own')
    if (args.train or args.loader) and len(args.models) > 1:
        parser.error('--train and --loader compare ways to train one MODEL')
    if bool(args.end_to_end) != bool(args.bbox_file):
        parser.error('--end-to-end and --bbox-file go together')


def check_heeded(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    chosen = [kind for kind in ('train', 'loader', 'end_to_end') if vars(args)[kind]]
    (kind,) = chosen or ['inference']
    for name, kinds in HEEDED.items():
        if kind not in kinds and vars(args)[name] != parser.get_default(name):
            parser.error(
                f'{option(name)} has no effect here. It is for '
                + ', '.join(map(option, kinds))
            )


def option(name: str) -> str:
    if name == 'inference':
        return 'the benchmark of inference (none of --train, --loader, --end-to-end)'
    return f'--{name.replace("_", "-")}'


def measure(args: argparse.Namespace) -> dict:
    schedule = Schedule(args.threads, args.rounds, args.warmup, args.min_time)
    if args.train:
        ways = training.Settings(args.train, args.batch_size, args.device)
        return training.measure(args.models[0], ways, schedule)
    if args.loader:
        ways = loading.Settings(args.loader, args.batch_size)
        return loading.measure(args.models[0], ways, schedule)
    if args.end_to_end:
        people = end_to_end.Settings(
            args.end_to_end,
            args.bbox_file,
            args.checkpoint,
            args.batch_size or 32,
            args.device,
            args.channels_last,
        )
        return end_to_end.measure(args.models, people, schedule)
    settings = inference.Settings(
        args.runtime,
        args.precision,
        args.batch_sizes,
        args.size,
        args.device,
        args.channels_last,
        args.deploy,
    )
    return inference.measure(args.models, settings, schedule)


def main() -> None:
    args = parse_args()
    with user_errors():
        record = measure(args)
    print(TABLES[record['benchmark']](record), describe_record(record), sep='\n\n')
    if args.json:
        dump(record, args.json, indent=1)


if __name__ == '__main__':
    main()

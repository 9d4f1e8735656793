#!/usr/bin/env python
"""Writes a trained network into a file for ONNX Runtime or OpenVINO, and checks it.

    python tools/export.py CONFIG CHECKPOINT --format onnx
    python tools/export.py CONFIG CHECKPOINT --format openvino --precision bf16
    python tools/export.py CONFIG CHECKPOINT --format onnx --precision int8 --evaluate
    python tools/test.py CONFIG outputs/export/CONFIG.onnx

LDCRN is exported in its deploy form, which computes the same in fewer steps. The
file takes normalised images, any number of them, and returns heatmaps, or with
--decode keypoints in pixels of the input and scores. It is compared with the
PyTorch model on the pictures of --images, else on noise; where they disagree the
exit status is 1 and the file stays. int8 needs people to calibrate on, from the
config's data, and is compared on some of them where there are no --images.
"""

import argparse
import math
import sys
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from ldcrn_mm.deploy import (
    agreement,
    export_onnx,
    export_openvino,
    open_runtime,
    pictures,
    trained,
)
from ldcrn_mm.training import data_files, options

FORMATS = {
    'onnx': ('.onnx', export_onnx.export_onnx, (*export_onnx.PRECISIONS, 'int8')),
    'openvino': (
        '.xml',
        export_openvino.export_openvino,
        (*export_openvino.PRECISIONS, 'int8'),
    ),
}
WEIGHTS = {'.xml': '.bin'}  # of the formats that have them in a file of their own
MOST_CHECKED = 32  # of the images that a file is compared on


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--format', choices=FORMATS, required=True)
    parser.add_argument(
        '--out', type=Path, help='file to write (outputs/export/CONFIG...)'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the file where it exists'
    )
    parser.add_argument(
        '--precision',
        choices=['fp32', 'fp16', 'bf16', 'int8'],
        default='fp32',
        help='of weights and computation; onnx: fp16 is stored, fp32 computed',
    )
    parser.add_argument(
        '--decode', action='store_true', help='return keypoints instead of heatmaps'
    )
    parser.add_argument(
        '--size',
        type=options.image_size,
        metavar='HEIGHTxWIDTH',
        help="of the images, as in 256x192 (the config's)",
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=export_onnx.OPSET,
        help="of ONNX's operators (%(default)s)",
    )
    parser.add_argument(
        '--no-deploy', action='store_true', help='export the layers as trained'
    )
    parser.add_argument(
        '--images', metavar='FOLDER', help='photographs of people to check the file on'
    )
    parser.add_argument(
        '--evaluate',
        action='store_true',
        help="print the metrics on the config's validation set, before and after",
    )
    options.add_settings(
        parser, 'model.test_cfg.flip_test=False halves the time of --evaluate'
    )
    add_int8_options(parser)
    return checked(parser, parser.parse_args())


def add_int8_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('int8')
    group.add_argument(
        '--calibration',
        choices=['train', 'val'],
        default='train',
        help='which people of the config to calibrate on (%(default)s)',
    )
    group.add_argument(
        '--calibration-size',
        type=int,
        default=128,
        help='how many people, at most (%(default)s)',
    )
    group.add_argument(
        '--tolerance',
        type=float,
        default=0.1,
        help='leave out the most sensitive convolutions until the error of the '
        'heatmaps that the others cause together is at most this, relative to the '
        'heatmaps (%(default)s)',
    )


def checked(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> argparse.Namespace:
    suffix, _, precisions = FORMATS[args.format]
    if not Path(args.config).is_file():
        parser.error(f'config file not found: {args.config}')
    options.require_checkpoint(parser, args.checkpoint)
    if args.precision not in precisions:
        parser.error(
            f'--precision {args.precision} is not for --format {args.format}, which '
            f'has {", ".join(precisions)}'
        )
    if args.calibration_size < 1:
        parser.error(f'--calibration-size is at least 1, not {args.calibration_size}')
    if args.evaluate and args.size:
        parser.error('--evaluate tests at the size of the config, without --size')
    if args.size:
        args.size = args.size[::-1]  # MMPose's sizes are width, height
    if args.out is None:
        precision = '' if args.precision == 'fp32' else f'_{args.precision}'
        decoded = '_decoded' if args.decode else ''
        name = f'{Path(args.config).stem}{precision}{decoded}{suffix}'
        args.out = Path('outputs', 'export', name)
    if args.out.suffix != suffix:
        parser.error(f'--out must end in {suffix} for --format {args.format}')
    for file in (args.out, args.out.with_suffix(WEIGHTS.get(suffix, suffix))):
        if file.is_dir():
            parser.error(f'--out: {file} is a folder, name a file in it')
        if file.exists() and not args.overwrite:
            parser.error(f'{file} exists; replace it with --overwrite')
    return args


def read_config(args: argparse.Namespace) -> Config:
    cfg = options.config_with(args.config, args.cfg_options)
    if args.precision == 'int8':
        data_files.check_data_files(cfg, [args.calibration])
    if args.evaluate:
        data_files.check_data_files(cfg, ['val'])
        if args.decode:
            cfg.model.test_cfg.flip_test = False  # averages heatmaps
    return cfg


def people_to_calibrate_on(
    args: argparse.Namespace, cfg: Config, model: nn.Module
) -> Tensor:
    return pictures.fit_to(
        pictures.images_of_dataset(cfg, model, args.calibration, args.calibration_size),
        args.size or export_onnx.input_size_of(model),
    )


def write_int8(args: argparse.Namespace, model: nn.Module, images: Tensor) -> None:
    from ldcrn_mm.deploy import quantize, sensitivity

    print(f'measuring what every convolution loses by int8, on {len(images)} people')
    errors = sensitivity.measure_sensitivity(model, images[:4])
    keep = sensitivity.layers_to_keep(errors, args.tolerance)
    expected = sensitivity.joint_error(errors[n] for n in errors if n not in keep)
    print(f'{len(keep)} of {len(errors)} convolutions stay in floating point:')
    for name in keep:
        print(f'  {name}: alone {errors[name]:.3f} of the heatmaps')
    print(f'expected error of the others together: {expected:.3f}')
    graph = export_onnx.to_onnx(model, args.size, args.decode, args.opset)
    write = dict(onnx=quantize.quantize_onnx, openvino=quantize.quantize_openvino)[
        args.format
    ]
    write(graph, args.out, images.numpy(), keep)


def images_to_check(
    args: argparse.Namespace, cfg: Config, model: nn.Module
) -> tuple[Tensor, str]:
    wanted = args.size or export_onnx.input_size_of(model)
    if not args.images:
        return pictures.random_images(wanted, 4), '4 images of noise'
    images = pictures.images_of_folder(cfg, model, args.images, MOST_CHECKED)
    return pictures.fit_to(images, wanted), f'{len(images)} pictures of {args.images}'


def export(args: argparse.Namespace) -> agreement.Agreement:
    cfg = read_config(args)
    model = trained.load_estimator(cfg, args.checkpoint)
    images, what = images_to_check(args, cfg, model)
    form = model if args.no_deploy else trained.form_to_export(model)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.precision == 'int8':
        people = people_to_calibrate_on(args, cfg, model)
        write_int8(args, form, people)
        if not args.images:  # calibrated for people, of no use on noise
            images = people[:: math.ceil(len(people) / MOST_CHECKED)]
            what = f'{len(images)} people of {args.calibration}_dataloader'
    else:
        write = FORMATS[args.format][1]
        write(
            form,
            args.out,
            args.size,
            decode=args.decode,
            opset=args.opset,
            precision=args.precision,
        )
    runtime = open_runtime(args.out)
    outputs = ' and '.join(runtime.output_names)
    width, height = runtime.input_size
    print(f'{args.out}: {outputs}, {args.precision}, of {height}x{width} images')
    found = agreement.compare(model, runtime, images)
    print(f'against PyTorch on {what}, {runtime.name}: {found}')
    if args.evaluate:
        from ldcrn_mm.deploy.evaluation import evaluate

        before, after = (evaluate(cfg, str(w)) for w in (args.checkpoint, args.out))
        for name, value in after.items():
            print(f'{name}: {before[name]:.4f} before, {value:.4f} after')
    return found


def main() -> None:
    args = parse_args()
    with options.user_errors():
        found = export(args)
    if not found.holds:
        sys.exit(f'{args.out} does not agree with the model. It was not deleted.')
    print('done')


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Exports a trained network to ONNX or OpenVINO, and checks the file.

    python tools/export.py CONFIG CHECKPOINT --format onnx
    python tools/export.py CONFIG CHECKPOINT --format openvino --precision bf16
    python tools/export.py CONFIG CHECKPOINT --format onnx --precision int8
    python tools/test.py CONFIG outputs/export/CONFIG.onnx

LDCRN is exported in its deploy form, which computes the same in fewer steps. The file
takes any number of normalised images and returns heatmaps, or with --decode keypoints
in pixels of the input and scores. It is compared with PyTorch on the pictures of
--images, otherwise on noise. If they disagree, the exit status is 1 and the file stays.
int8 is calibrated on the pictures of --images, otherwise on people of the dataset in
the config, and compared on some of them. Beside an .onnx file the tool writes a script
that runs the file without OpenMMLab.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from ldcrn_mm.checkpoint import load_weights, read_checkpoint
from ldcrn_mm.deploy import deploy_form, export, open_runtime
from ldcrn_mm.inference import images
from ldcrn_mm.models import DCRM
from ldcrn_mm.training import data_files, options

SUFFIXES = {'onnx': ['.onnx'], 'openvino': ['.xml', '.bin']}
MAX_CHECKED = 32  # images that a file is compared on


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, precisions = parser.add_argument, export.PRECISIONS['.xml']
    add('config', type=options.config_file, help='config file or name of a model')
    add('checkpoint', help='checkpoint file or address')
    add('--format', choices=SUFFIXES, required=True)
    add('--out', type=Path, help='file to write (outputs/export/CONFIG...)')
    add('--overwrite', action='store_true', help='replace an existing file')
    add('--precision', choices=precisions, default='fp32', help='(%(default)s)')
    add('--decode', action='store_true', help='return keypoints instead of heatmaps')
    add('--size', type=options.image_size, help='HEIGHTxWIDTH of images, as in 256x192')
    add('--opset', type=int, default=export.OPSET, help='of ONNX (%(default)s)')
    add('--no-deploy', action='store_true', help='export the layers as trained')
    own = 'photographs of one person each, to check the file and to calibrate int8'
    add('--images', metavar='FOLDER', help=own)
    people = 'int8 without --images: dataset to calibrate on (%(default)s)'
    add('--calibration', choices=['train', 'val'], default='train', help=people)
    count = 'number of people to calibrate on, at most (%(default)s)'
    add('--calibration-size', type=int, default=128, help=count)
    options.add_settings(parser, 'train_dataloader.dataset.data_root=FOLDER')
    args = parser.parse_args()
    options.require_checkpoint(parser, args.checkpoint)
    if args.calibration_size < 1:
        parser.error(
            f'--calibration-size must be positive, got {args.calibration_size}'
        )
    check_out(parser, args)
    return args


def check_out(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    suffixes = SUFFIXES[args.format]
    if args.out is None:
        precision = '' if args.precision == 'fp32' else f'_{args.precision}'
        decoded = '_decoded' if args.decode else ''
        name = f'{Path(args.config).stem}{precision}{decoded}{suffixes[0]}'
        args.out = Path('outputs', 'export', name)
    options.require_suffix(parser, str(args.out), suffixes[:1])
    files = [*map(args.out.with_suffix, suffixes)]
    if args.format == 'onnx':
        files.append(args.out.with_name(f'predict_{args.out.stem}.py'))
    for file in files:
        if file.is_dir():
            parser.error(f'--out must be a file, got the folder {file}')
        if file.exists() and not args.overwrite:
            parser.error(f'{file} exists. Replace it with --overwrite.')
    options.require_place(parser, str(args.out))


def check_calibration_data(cfg: Config, split: str) -> None:
    try:
        data_files.check_data_files(cfg, [split])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{error}\nOr calibrate on photographs of your own with --images FOLDER.'
        ) from None


def run(args: argparse.Namespace) -> bool:
    cfg = options.config_with(args.config, args.cfg_options)
    size = args.size and args.size[::-1]  # MMPose has width, height
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    model = MODELS.build(cfg.model)
    load_weights(model, read_checkpoint(args.checkpoint), args.checkpoint)
    people, count = None, args.calibration_size
    if args.images:
        what = f'pictures of {args.images}'
        people = images.pictures_of_folder(cfg, model, args.images, count, size)
    elif args.precision == 'int8':
        what = f'people of {args.calibration}_dataloader'
        check_calibration_data(cfg, args.calibration)
        people = images.people_of_dataset(cfg, model, args.calibration, count, size)
    is_ldcrn = any(isinstance(module, DCRM) for module in model.modules())
    network = model
    if is_ldcrn and not args.no_deploy:
        network = deploy_form(model, args.out.suffix, args.precision)
    export.export_network(
        network,
        args.out,
        size,
        decode=args.decode,
        opset=args.opset,
        precision=args.precision,
        calibration=people.numpy() if args.precision == 'int8' else None,
    )
    runtime = open_runtime(args.out)
    width, height = runtime.input_size
    if people is None:
        generator = torch.Generator().manual_seed(0)
        people = torch.randn(4, 3, height, width, generator=generator)
        what = 'images of noise'
    pictures = people[:: math.ceil(len(people) / MAX_CHECKED)]
    outputs = ' and '.join(runtime.output_names)
    print(f'{args.out}: {outputs}, {runtime.precision}, of {height}x{width} images')
    agrees, found = export.check(model.eval(), runtime, pictures)
    print(f'against PyTorch on {len(pictures)} {what}, {runtime.name}: {found}')
    if args.format == 'onnx':
        try:
            script = export.write_predictor(cfg, model, args.out)
            print(
                f'{script}: runs the network with onnxruntime, numpy and OpenCV alone'
            )
        except ValueError as error:
            print(f'no script that runs the network without MMPose: {error}')
    return agrees


def main() -> None:
    args = parse_args()
    with options.user_errors():
        agrees = run(args)
    if not agrees:
        sys.exit(f'{args.out} does not agree with the model. It was not deleted.')
    print('done')


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Draws the keypoints of people into pictures, a video or what a webcam sees.

    python tools/demo.py photo.jpg
    python tools/demo.py photo.jpg CONFIG CHECKPOINT --bboxes 50,20,210,400
    python tools/demo.py photo.jpg CONFIG EXPORTED.onnx
    python tools/demo.py folder/ CONFIG CHECKPOINT --bbox-file annotations.json
    python tools/demo.py video.mp4 CONFIG CHECKPOINT --det-config C --det-checkpoint K
    python tools/demo.py webcam:0 CONFIG CHECKPOINT --show

Without a config the published LDCRN that comes with ldcrn_mm looks for them; the
names of others stand in configs/ldcrn/metafile.yml.

The people are in the boxes given, else in those that the detector finds, else
the whole picture is one person's. OUT_DIR gets visualizations/ with pictures or
the video, and predictions/ with a json file for each: a list of the people with
keypoints in pixels, keypoint_scores, bbox and bbox_score, as MMPose's inferencer
writes it; for a video, a list of frame_id and instances.
"""

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path

import cv2
import torch
from mmengine.logging import MMLogger

from ldcrn_mm.checkpoint import zoo
from ldcrn_mm.inference import TopdownInferencer, Video, open_inputs, read_boxes
from ldcrn_mm.training.options import add_settings, config_with


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'input', help='picture, folder of pictures, video, webcam or webcam:NUMBER'
    )
    parser.add_argument(
        'config',
        nargs='?',
        default=zoo.DEFAULT,
        # argparse hides the default of what is parsed intermixed.
        help='config file of the pose estimator, or the name of one of ours '
        f'({zoo.DEFAULT})',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='its checkpoint, a path or an address, or what tools/export.py made of '
        'it (.onnx, .xml); with a name, by default the published one',
    )
    parser.add_argument(
        '--out-dir', help='folder for results (outputs/demo, or with --show none)'
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:1 (a GPU if there is one)'
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=32,
        help='people that go through the network at once (%(default)s)',
    )
    add_settings(parser, 'model.test_cfg.flip_test=False halves the time')
    add_box_options(parser)
    add_drawing_options(parser)
    # Intermixed, so that options may stand between the three.
    args = parser.parse_intermixed_args(guarded(sys.argv[1:] if argv is None else argv))
    resolve_model(parser, args)
    if bool(args.det_config) != bool(args.det_checkpoint):
        parser.error('--det-config and --det-checkpoint go together')
    if args.show and not has_display():
        parser.error('--show needs a display, and DISPLAY is not set')
    if args.device:
        check_device(parser, args.device)
    if not (args.show or args.out_dir):
        args.out_dir = os.path.join('outputs', 'demo')
    return args


def guarded(words: list[str]) -> list[str]:
    """Puts a space before a box that begins with a minus: else it is an option."""
    return [f' {word}' if re.match(r'-[\d.]+,', word) else word for word in words]


def resolve_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Replaces the name of a model by its config, and adds its checkpoint."""
    if Path(args.config).suffix:  # which no name has
        if not args.checkpoint:
            parser.error(f'{args.config} needs a checkpoint behind it')
        return
    try:
        args.config, args.checkpoint = zoo.find(args.config, args.checkpoint)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


def add_box_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('where the people are')
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        '--bboxes',
        nargs='+',
        type=box,
        metavar='X1,Y1,X2,Y2',
        help='boxes in pixels, in every picture the same',
    )
    source.add_argument(
        '--bbox-file',
        help="boxes from a json file in COCO's format: annotations, or results of "
        'a detector',
    )
    source.add_argument('--det-config', help='config file of a detector of MMDetection')
    group.add_argument('--det-checkpoint', help="the detector's checkpoint")
    group.add_argument(
        '--det-cat-id', type=int, default=0, help="the detector's label of people (0)"
    )
    group.add_argument(
        '--bbox-thr',
        type=float,
        default=0.3,
        help='detected boxes must score more than this (%(default)s)',
    )
    group.add_argument(
        '--nms-thr',
        type=float,
        default=0.3,
        help='of detected boxes that overlap more (IoU), one stays (%(default)s)',
    )


def add_drawing_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('drawing')
    group.add_argument(
        '--kpt-thr',
        type=float,
        default=0.3,
        help='draw keypoints that score at least this (%(default)s)',
    )
    group.add_argument(
        '--radius', type=positive, help='of a keypoint (by picture size)'
    )
    group.add_argument('--thickness', type=positive, help='of a limb (by picture size)')
    group.add_argument('--draw-bbox', action='store_true', help='draw the boxes')
    group.add_argument(
        '--draw-heatmap',
        action='store_true',
        help='add a picture of the heatmaps below',
    )
    group.add_argument(
        '--show-kpt-idx', action='store_true', help="write the keypoints' numbers"
    )
    group.add_argument(
        '--skeleton-style', choices=['mmpose', 'openpose'], default='mmpose'
    )
    group.add_argument(
        '--show',
        action='store_true',
        help='show results in a window; any key goes on, Escape ends a video',
    )


def box(text: str) -> list[float]:
    try:
        x1, y1, x2, y2 = map(float, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected X1,Y1,X2,Y2 in pixels, got '{text.strip()}'"
        ) from None
    return [x1, y1, x2, y2]


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a number of at least 1, got '{text}'"
        )
    return int(text)


def check_device(parser: argparse.ArgumentParser, device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        parser.error(f'--device {device}: {error}')


def has_display() -> bool:
    """OpenCV's windows end the process where there is none."""
    names = ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM')
    return sys.platform != 'linux' or any(os.environ.get(name) for name in names)


def predict(args: argparse.Namespace) -> None:
    inputs = open_inputs(args.input)
    is_video = isinstance(inputs, Video)
    bboxes = args.bboxes
    if args.bbox_file:
        if is_video:
            raise ValueError('--bbox-file is for pictures; for a video use a detector.')
        bboxes = read_boxes(args.bbox_file, inputs, args.bbox_thr)
    inferencer = TopdownInferencer(
        config_with(args.config, args.cfg_options),
        args.checkpoint,
        device=args.device,
        det_model=args.det_config,
        det_weights=args.det_checkpoint,
        det_cat_ids=args.det_cat_id,
        show_progress=is_video or len(inputs) > 1,
    )
    results = inferencer(
        inputs,
        batch_size=args.batch_size,
        out_dir=args.out_dir,
        bboxes=bboxes,
        bbox_thr=args.bbox_thr,
        nms_thr=args.nms_thr,
        kpt_thr=args.kpt_thr,
        radius=args.radius,
        thickness=args.thickness,
        draw_bbox=args.draw_bbox,
        draw_heatmap=args.draw_heatmap,
        show_kpt_idx=args.show_kpt_idx,
        skeleton_style=args.skeleton_style,
        show=args.show,
    )
    num_pictures = num_people = 0
    with contextlib.closing(results):
        for result in results:
            num_pictures += 1
            num_people += len(result['predictions'][0])
            if is_video and args.show and cv2.waitKey(1) == ord('\x1b'):
                break
    print(
        f'{"Frames" if is_video else "Pictures"}: {num_pictures}, people: {num_people}'
    )
    if args.out_dir:
        print(f'Results: {args.out_dir}/visualizations, {args.out_dir}/predictions')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel('WARNING')
    try:
        predict(args)
    except (ImportError, OSError, ValueError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('Stopped; what was done before is kept.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python
"""Draws the keypoints of people into pictures, a video or what a webcam sees.

    python tools/demo.py photo.jpg
    python tools/demo.py photo.jpg CONFIG CHECKPOINT --bboxes 50,20,210,400
    python tools/demo.py photo.jpg CONFIG EXPORTED.onnx
    python tools/demo.py folder/ CONFIG CHECKPOINT --bbox-file annotations.json
    python tools/demo.py video.mp4 CONFIG CHECKPOINT --det rtmdet-m
    python tools/demo.py video.mp4 --track
    python tools/demo.py portrait.jpg --det none
    python tools/demo.py webcam:0 CONFIG CHECKPOINT --show

CONFIG may also be the name of a model. By default it is the published LDCRN. Boxes
come from --bboxes, --bbox-file or a detector, by default MMPose's RTMDet, which is
downloaded once. With --det none the whole picture is one person. OUT_DIR gets
visualizations/ with the pictures or the video, and predictions/ with a json file for
each: a list of people with keypoints in pixels, keypoint_scores, bbox and bbox_score,
or for a video a list of frame_id and instances. results.json has all people in COCO's
format. Pictures that cannot be used are listed at the end, and the exit status is 1.
"""

import argparse
import functools
import re
import signal
import sys
import warnings
from collections.abc import Callable
from os.path import realpath
from pathlib import Path

from mmengine.logging import MMLogger

from ldcrn_mm.checkpoint import zoo
from ldcrn_mm.inference import InputWarning, TopdownInferencer, open_inputs, read_boxes
from ldcrn_mm.training.options import add_settings, config_with


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('input', help='picture, folder of pictures, video, webcam or webcam:NUMBER')
    add('config', nargs='?', default=zoo.DEFAULT, help='config file or name of a model')
    add('checkpoint', nargs='?', help='checkpoint or exported file (.onnx, .xml)')
    add('--out-dir', help='folder for results (outputs/demo, but none with --show)')
    add('--device', help='such as cpu or cuda:1 (a GPU if there is one)')
    add('--batch-size', type=int, default=32, help='people at once (%(default)s)')
    add_settings(parser, 'model.test_cfg.flip_test=False halves the time')
    any_of = parser.add_mutually_exclusive_group().add_argument
    any_of('--bboxes', nargs='+', type=box, metavar='X1,Y1,X2,Y2', help='of people')
    any_of('--bbox-file', help="json file in COCO's format, annotations or detections")
    any_of(
        '--det',
        '--det-config',
        metavar='DETECTOR',
        help="MMDetection's name or config, an exported RTMDet (.onnx, .xml) or none",
    )
    add('--det-weights', '--det-checkpoint', help="the detector's checkpoint")
    score = dict(type=float, default=0.3)
    add('--bbox-thr', **score, help='lowest score of a detection (%(default)s)')
    add('--nms-thr', **score, help='highest IoU of two detections (%(default)s)')
    add('--kpt-thr', **score, help='lowest score of a drawn keypoint (%(default)s)')
    add('--radius', type=int, help='of a keypoint in pixels (by picture size)')
    add('--thickness', type=int, help='of a limb in pixels (by picture size)')
    add('--draw-bbox', action='store_true', help='draw the boxes')
    add('--draw-heatmap', action='store_true', help='add the heatmaps below')
    add('--track', action='store_true', help='follow and smooth people in a video')
    add('--show', action='store_true', help='show a window (Escape ends a video)')
    # Intermixed, so that options may stand between config and checkpoint. The space
    # keeps a box that begins with a minus from being taken for an option.
    words = [f' {word}' if re.match(r'-[\d.]+,', word) else word for word in argv]
    args = parser.parse_intermixed_args(words)
    if args.det_weights and not args.det:
        parser.error('--det-weights needs --det')
    if not (args.show or args.out_dir):
        args.out_dir = 'outputs/demo'
    if args.out_dir and args.bbox_file:
        results = realpath(Path(args.out_dir, 'results.json'))
        if results == realpath(args.bbox_file):
            parser.error(f'{results} would be replaced: choose another --out-dir')
    return args


def box(text: str) -> list[float]:
    try:
        x1, y1, x2, y2 = map(float, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected X1,Y1,X2,Y2 in pixels, got '{text.strip()}'"
        ) from None
    return [x1, y1, x2, y2]


def open_model(args: argparse.Namespace, show_progress: bool) -> TopdownInferencer:
    config, checkpoint = args.config, args.checkpoint
    if args.cfg_options:
        if zoo.knows(config):
            config, checkpoint = zoo.find(config, checkpoint)
        config = config_with(config, args.cfg_options)
    return TopdownInferencer(
        config,
        checkpoint,
        args.device,
        det_model=args.det,
        det_weights=args.det_weights,
        show_progress=show_progress,
    )


def predict(args: argparse.Namespace) -> int:
    inputs, bboxes = open_inputs(args.input), args.bboxes
    are_pictures = isinstance(inputs, list)
    if args.bbox_file:
        if not are_pictures:
            raise ValueError('--bbox-file is for pictures. For a video use a detector.')
        bboxes = read_boxes(args.bbox_file, inputs, args.bbox_thr)
    results = open_model(args, not are_pictures or len(inputs) > 1)(
        inputs,
        batch_size=args.batch_size,
        out_dir=args.out_dir,
        tracking=args.track,
        bboxes=bboxes,
        bbox_thr=args.bbox_thr,
        nms_thr=args.nms_thr,
        kpt_thr=args.kpt_thr,
        radius=args.radius,
        thickness=args.thickness,
        draw_bbox=args.draw_bbox,
        draw_heatmap=args.draw_heatmap,
        show=args.show,
    )
    num_pictures, num_people, skipped = 0, 0, []
    try:
        for result in results:
            if 'error' in result:
                skipped.append(result['error'])
            else:
                num_pictures += 1
                num_people += len(result['predictions'][0])
    finally:  # also of what was done before an error
        if num_pictures or skipped:
            kind = 'Pictures' if are_pictures else 'Frames'
            print(f'{kind}: {num_pictures}, people: {num_people}')
            if args.out_dir:
                names = ('visualizations', 'predictions', 'results.json')
                print('Results:', ', '.join(f'{args.out_dir}/{name}' for name in names))
        for error in skipped:
            print(f'Skipped: {error}', file=sys.stderr)
    return 1 if skipped else 0


def note(
    show: Callable, message: Warning, category: type[Warning], *where: object
) -> None:
    """Shows ours in one line."""
    if issubclass(category, InputWarning):
        print(f'Note: {message}', file=sys.stderr)
    else:
        show(message, category, *where)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(sys.argv[1:] if argv is None else argv)
    MMLogger.get_current_instance().setLevel('WARNING')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('always', InputWarning)
            warnings.showwarning = functools.partial(note, warnings.showwarning)
            return predict(args)
    except (ImportError, OSError, ValueError) as error:
        print(f'demo.py: error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('Stopped. What was done before is kept.', file=sys.stderr)
        return 130


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it keeps what is done
    sys.stdout.reconfigure(errors='backslashreplace')  # names that it cannot encode
    sys.exit(main())

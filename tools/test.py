#!/usr/bin/env python
"""Tests a checkpoint, on GPUs or CPUs, with MMPose's options.

    python tools/test.py configs/ldcrn_coco.py CHECKPOINT
    python tools/test.py configs/ldcrn_coco.py EXPORTED.onnx
    bash tools/dist_test.sh configs/ldcrn_coco.py CHECKPOINT 4

COCO is tested on a file of detected persons, with --gt-boxes on the annotated boxes.
A file of tools/export.py (.onnx, .xml) is tested with the pipelines, the flip test and
the decoding of the config.
"""

import argparse

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.runner import Runner

from ldcrn_mm.checkpoint import load_weights, read_checkpoint
from ldcrn_mm.deploy import is_exported, use_exported
from ldcrn_mm.training import check, data_files, launch, options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        type=options.config_file,
        help='config file, which is Python and is run, or the name of a model',
    )
    parser.add_argument(
        'checkpoint', help='checkpoint file or address, or exported file'
    )
    parser.add_argument('--out', help='write the metrics to this file (.json, .pkl)')
    parser.add_argument('--dump', help='write the predictions to this pickle (.pkl)')
    parser.add_argument(
        '--gt-boxes',
        action='store_true',
        help='use the boxes of the annotations instead of detected ones',
    )
    parser.add_argument(
        '--badcase',
        action='store_true',
        help="draw and list only the samples with large errors, in the run's folder "
        'badcase',
    )
    options.add_run_options(parser)
    args = options.parse_run_options(parser)
    options.require_checkpoint(parser, args.checkpoint)
    if is_exported(args.checkpoint) and args.launcher != 'none':
        parser.error('an exported file is tested in one process, without --launcher')
    if args.badcase and args.launcher != 'none':
        parser.error('--badcase lists in one process, without --launcher')
    options.require_suffix(parser, args.out, options.METRIC_FILES)
    options.require_suffix(parser, args.dump, options.PREDICTION_FILES)
    for path in filter(None, (args.out, args.dump)):
        options.require_place(parser, path)
    return args


def build_config(args: argparse.Namespace) -> Config:
    cfg = options.read_config(args)
    cfg.load_from, cfg.resume = None, False  # the checkpoint is loaded in main
    if args.gt_boxes:
        data_files.use_gt_boxes(cfg, 'test')
    if args.badcase:
        analyze_bad_cases(cfg, args.show, args.wait_time)
    if args.dump:
        if 'metrics' in (cfg.get('test_evaluator') or ()):
            raise ValueError('--dump needs a test_evaluator that is a list of metrics')
        dump = dict(type='DumpResults', out_file_path=args.dump)
        cfg.test_evaluator = [*data_files.evaluators(cfg, 'test'), dump]
    if is_exported(args.checkpoint):
        cfg.model = use_exported(cfg.model, args.checkpoint)
    if args.launcher != 'none' and args.show_dir:
        launch.draw_in_all_processes(cfg)
    check.check(cfg, ['test'], data=launch.rank(args.launcher) == 0)
    launch.limit_waiting(cfg)
    return cfg


def analyze_bad_cases(cfg: Config, show: bool, wait_time: float) -> None:
    """Turns on MMPose's listing of the worst predictions.

    The measure is the mean squared error of the coordinates, as the head weights it, or
    the test's metric if the hook's ``metric_type`` is ``'accuracy'``.
    """
    hook = (cfg.get('default_hooks') or {}).get('badcase')
    if hook is None:
        raise ValueError(
            '--badcase needs a `default_hooks.badcase` in the config: '
            "dict(type='BadCaseAnalysisHook')."
        )
    loss = cfg.model.head.get('loss')
    if loss and launch.type_name(loss) != 'KeypointMSELoss':
        loss = None  # others do not compare coordinates
    measures = {'loss': loss, 'accuracy': cfg.test_evaluator}
    measure = hook.get('metric_type', 'loss')
    if measure not in measures:
        raise ValueError(
            "default_hooks.badcase.metric_type must be 'loss' or 'accuracy', got "
            f'{measure!r}.'
        )
    hook.update(enable=True, show=show, wait_time=wait_time)
    if measures[measure]:
        hook.setdefault('metric', measures[measure])


def main() -> None:
    args = parse_args()
    with options.user_errors():
        cfg = build_config(args)
    launch.set_launcher(cfg, args.launcher)
    with options.user_errors():
        runner = Runner.from_cfg(cfg)
    if not is_exported(args.checkpoint):
        # MMEngine only warns about weights that do not fit. Hooks that average weights
        # copy the model when the test starts, so they get these too.
        with options.user_errors():
            weights = read_checkpoint(args.checkpoint)
            load_weights(runner.model, weights, args.checkpoint)
        runner.logger.info(f'Load checkpoint from {args.checkpoint}')
    with options.run_errors():
        metrics = runner.test()
    if args.out and is_main_process():
        dump(metrics, args.out)


if __name__ == '__main__':
    main()

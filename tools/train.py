#!/usr/bin/env python
"""Trains a model from a config, on GPUs or CPUs, with MMPose's options.

    python tools/train.py configs/ldcrn_coco.py
    bash tools/dist_train.sh configs/ldcrn_coco.py 4

--resume continues a run that was killed from its last checkpoint. If the config sets
randomness.seed, the order of the pictures is that of a run without the kill, and only
the random augmentation differs.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ldcrn_mm.checkpoint import read_checkpoint, weights_only
from ldcrn_mm.training import check, launch, options, resume


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
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, by default from the last one in the work '
        'dir, or from the start if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on GPU, bfloat16 on CPU',
    )
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='channels-last memory layout: the same values, faster on CPU and '
        'with --amp',
    )
    parser.add_argument('--no-validate', action='store_true', help='only train')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate from the config's batch size to the actual one",
    )
    options.add_run_options(parser)
    args = options.parse_run_options(parser)
    if args.resume == '':  # an empty variable of a script would start anew
        parser.error("--resume expects the name of a checkpoint, got ''")
    return args


def build_config(args: argparse.Namespace) -> Config:
    cfg = options.read_config(args)
    if args.amp:
        launch.use_mixed_precision(cfg)
    if args.channels_last:
        launch.add_hook(cfg, 'ChannelsLastHook')
    if args.auto_scale_lr:
        launch.use_scaled_lr(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if cfg.get('resume') and not args.resume:
        args.resume = cfg.get('load_from') or 'auto'
    may_be_new = False
    if args.resume == 'auto':
        args.resume = resume.last_checkpoint(cfg.work_dir)
        # A kill before the first epoch_N.pth leaves no record, but may leave a best_*
        may_be_new = not Path(cfg.work_dir, 'last_checkpoint').is_file()
    if not args.resume and not may_be_new:
        resume.check_fresh(cfg.work_dir)
    cfg.resume = bool(args.resume)
    if cfg.resume:
        resume.check_resumable(args.resume, bool(cfg.get('param_scheduler')))
        cfg.load_from = args.resume
    elif cfg.get('load_from'):
        read_checkpoint(cfg.load_from)  # an error in one line
    check.check(cfg, ['train', 'val'], data=launch.rank(args.launcher) == 0)
    launch.limit_waiting(cfg)
    return cfg


def main() -> None:
    args = parse_args()
    with options.user_errors():
        cfg = build_config(args)
        if launch.rank(args.launcher) == 0:
            resume.lock(cfg.work_dir)
    launch.set_launcher(cfg, args.launcher)
    with weights_only():
        with options.user_errors():
            runner = Runner.from_cfg(cfg)
            runner.register_hook(resume.CheckpointCheckHook())
            resume.check_pretrained(runner)
            launch.require_steps(runner)
            launch.shorten_warm_up(runner)
            if not cfg.resume:
                launch.compare_schedule(runner)
        with options.run_errors():
            runner.train()


if __name__ == '__main__':
    main()

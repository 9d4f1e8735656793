"""What people who know MMPose do, each of it in a fork of a process of its own.

    python run_habits.py HABIT ...

prints JSON: what each function returned, or its error. Only heavy libraries that are
not in question are imported before: neither ldcrn_mm nor mmpose.
"""

import contextlib
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import mmengine
import mmengine.config
import mmengine.hub
import mmengine.registry
import mmengine.runner
import numpy as np

UPSTREAM = (
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
)
SMALL = 'td-hm_ldcrn-tiny_sample-128x96'
BY_NAME = f'ldcrn_mm::ldcrn/{SMALL}.py'
OURS = "custom_imports = dict(imports=['ldcrn_mm'])\n"
SCOPE = "default_scope = 'ldcrn_mm'\n"
PARTS = """
model = dict(
    backbone=dict(_delete_=True, type='LDCRN'), neck=dict(type='PyramidFusionNeck'))
"""
TRAINING = [
    *['--work-dir', 'trained', '--cfg-options', 'train_cfg.max_epochs=1'],
    *['train_cfg.val_interval=1', 'train_dataloader.batch_size=2'],
]
for loader in ('train', 'val', 'test'):
    TRAINING += [
        f'{loader}_dataloader.{option}'
        for option in ('num_workers=0', 'persistent_workers=False')
    ]


def installed(package: str, *parts: str) -> Path:
    """A file that a package carries. Finding it does not import the package."""
    return Path(find_spec(package).origin).parent.joinpath('.mim', *parts)


def write(base: str, text: str = '') -> str:
    """A config of the user's own."""
    Path('theirs.py').write_text(f'_base_ = {base!r}\n{text}')
    return 'theirs.py'


def run_module(*arguments: object) -> None:
    """Like ``python -m ldcrn_mm ARGUMENTS``."""
    sys.argv[:] = ['-m', *(str(part) for part in arguments)]
    runpy.run_module('ldcrn_mm', run_name='__main__', alter_sys=True)


def backbone_in_a_runner(config: str) -> str:
    """Of the model that MMEngine's runner builds."""
    cfg = mmengine.config.Config.fromfile(config)
    loops = ('train', 'val', 'test')
    for name in (*(f'{loop}_dataloader' for loop in loops), 'optim_wrapper'):
        cfg[name] = None
    for loop in loops:
        cfg[f'{loop}_cfg'] = cfg[f'{loop}_evaluator'] = None
    cfg.param_scheduler = cfg.auto_scale_lr = None
    cfg.work_dir = 'work_dir'
    runner = mmengine.runner.Runner.from_cfg(cfg)
    return type(runner.model.backbone).__name__


# --- configs, scopes, registries --------------------------------------------------


def inherit_from_mmpose() -> str:
    return backbone_in_a_runner(write(UPSTREAM, OURS + PARTS))


def inherit_from_mmpose_without_an_import() -> str:
    return backbone_in_a_runner(write(UPSTREAM, SCOPE + PARTS))


def inherit_from_us() -> str:
    import_module('ldcrn_mm')
    return backbone_in_a_runner(write(BY_NAME))


def inherit_from_us_without_an_import() -> str:
    return backbone_in_a_runner(write(BY_NAME))


def inherit_a_recipe() -> str:
    import_module('ldcrn_mm')
    cfg = mmengine.config.Config.fromfile(write('ldcrn_mm::ldcrn/../ldcrn_mpii.py'))
    return cfg.dataset_type


def hub_get_model() -> str:
    import_module('ldcrn_mm')
    return type(mmengine.hub.get_model(BY_NAME).backbone).__name__


def scope_alone() -> str:
    mmengine.registry.init_default_scope('ldcrn_mm')
    return mmengine.registry.MODELS.build(dict(type='LDCRN')).__module__


# --- inferencer -------------------------------------------------------------------


def mmpose_first() -> str:
    with contextlib.suppress(ImportError):
        import_module('mmpose.apis')
    import_module('ldcrn_mm')
    return import_module('mmpose.apis').MMPoseInferencer.__name__


def inferencer() -> int:
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer

    model = MMPoseInferencer('ldcrn', scope='ldcrn_mm', det_model='whole_image')
    result = next(model(np.zeros((80, 60, 3), np.uint8)))
    return len(result['predictions'][0][0]['keypoints'])


def list_models() -> list[str]:
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer
    from mmpose.apis.inferencers import get_model_aliases

    assert get_model_aliases('ldcrn_mm')['ldcrn-coco'] == 'ldcrn_coco'
    names = MMPoseInferencer.list_models('ldcrn_mm')
    return sorted({'ldcrn', 'ldcrn_coco', 'ldcrn_mpii'} & {*names})


# --- tools ------------------------------------------------------------------------


def make_sample_data() -> list[str]:
    options = ['--num-train', 2, '--num-val', 1]
    run_module('make_sample_data', 'data/sample', *options)
    return sorted(path.name for path in Path('data/sample').iterdir() if path.is_dir())


def train_and_test_by_name() -> list[str]:
    run_module('train', write(BY_NAME), *TRAINING)
    run_module('test', 'theirs.py', 'trained/epoch_1.pth', '--work-dir', 'tested')
    return sorted(path.name for path in Path('trained').glob('*.pth'))


def train_by_the_tool_of_mmpose() -> list[str]:
    tool = installed('mmpose', 'tools', 'train.py')
    config = installed('ldcrn_mm', 'configs', 'ldcrn', f'{SMALL}.py')
    sys.argv[:] = [str(tool), str(config), *TRAINING]
    runpy.run_path(str(tool), run_name='__main__')
    return sorted(path.name for path in Path('trained').glob('*.pth'))


def get_flops() -> bool:
    """Multiply-adds as MMPose counts them: 6.544e9 of convolutions and some of BN."""
    with open('flops.txt', 'w') as out, contextlib.redirect_stdout(out):
        run_module('get_flops', installed('ldcrn_mm', 'configs', 'ldcrn_coco.py'))
    printed = Path('flops.txt').read_text()
    return 'Params: 7.895M' in printed and 'Flops: 6.597G' in printed


def unknown_tool() -> None:
    run_module('get_flop')


# --- running them -----------------------------------------------------------------


def result_of(habit: Callable[[], object]) -> object:
    try:
        return habit()
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return f'{type(error).__name__}: {error}'


def in_a_fork(name: str) -> object:
    """Runs a habit in a folder of its own; what it prints goes to a file there."""
    folder = Path(name).resolve()
    folder.mkdir()
    if Path('data').is_dir():
        (folder / 'data').symlink_to(Path('data').resolve())
    sys.stdout.flush()
    child = os.fork()
    if not child:
        with open(folder / 'printed.txt', 'w') as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os.chdir(folder)
        (folder / 'result.json').write_text(json.dumps(result_of(globals()[name])))
        os._exit(0)
    os.waitpid(child, 0)
    if name == 'make_sample_data':
        Path('data').symlink_to(folder / 'data')
    result = folder / 'result.json'
    return json.loads(result.read_text()) if result.is_file() else 'died'


if __name__ == '__main__':
    print(json.dumps({name: in_a_fork(name) for name in sys.argv[1:]}))

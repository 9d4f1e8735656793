"""What people do who know MMPose, each of them in a fork of a process of its own.

    python run_habits.py HABIT ...

prints JSON: what each function returned, or its error. Only the heavy libraries that
are not in question are imported before: neither ldcrn_mm nor mmpose.
"""

import contextlib
import functools
import http.server
import json
import os
import runpy
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import mmengine
import mmengine.config
import mmengine.hub
import mmengine.registry
import mmengine.runner
import numpy as np
import torch

UPSTREAM = (
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
)
SMALL = 'ldcrn_mm::ldcrn/td-hm_ldcrn-tiny_sample-128x96.py'
ZOO = 'ldcrn_mm::ldcrn/td-hm_ldcrn_udp-4xb32-400e_coco-256x192.py'
OURS = "custom_imports = dict(imports=['ldcrn_mm'])\n"
SCOPE = "default_scope = 'ldcrn_mm'\n"
PARTS = """
model = dict(
    backbone=dict(_delete_=True, type='LDCRN'), neck=dict(type='PyramidFusionNeck'))
"""


# --- what the habits consist of ---------------------------------------------------


def installed(package: str, *parts: str) -> Path:
    """A file that a package carries; finding it does not import the package."""
    return Path(find_spec(package).origin).parent.joinpath('.mim', *parts)


def write(base: str | Path, text: str = '') -> str:
    """A config of the user's own."""
    Path('theirs.py').write_text(f'_base_ = {str(base)!r}\n{text}')
    return 'theirs.py'


def run(path: str | Path, *arguments: object) -> None:
    """Like ``python PATH ARGUMENTS``."""
    sys.argv[:] = [str(part) for part in (path, *arguments)]
    sys.path[0] = str(Path(path).parent)
    runpy.run_path(str(path), run_name='__main__')


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


def train_options(*options: str) -> list[str]:
    """For a minimal training on the sample data."""
    return [
        *['--work-dir', 'trained', '--cfg-options', 'train_cfg.max_epochs=1'],
        *['train_cfg.val_interval=1', 'model.test_cfg.flip_test=False'],
        *['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'],
        *['train_dataloader.persistent_workers=False'],
        *['val_dataloader.persistent_workers=False'],
        *['train_dataloader.batch_size=2', *options],
    ]


def test_options() -> list[str]:
    return [
        *['--work-dir', 'tested', '--cfg-options', 'test_dataloader.num_workers=0'],
        'test_dataloader.persistent_workers=False',
    ]


# --- configs by name --------------------------------------------------------------


def inherit_from_mmpose() -> str:
    return backbone_in_a_runner(write(UPSTREAM, OURS + PARTS))


def inherit_from_us() -> str:
    import_module('ldcrn_mm')

    cfg = mmengine.config.Config.fromfile(write(ZOO))
    return cfg.codec.type


def inherit_from_us_in_vain() -> str:
    return mmengine.config.Config.fromfile(write(ZOO)).codec.type


def inherit_a_recipe() -> str:
    import_module('ldcrn_mm')

    cfg = mmengine.config.Config.fromfile(write('ldcrn_mm::ldcrn/../ldcrn_mpii.py'))
    return cfg.dataset_type


def inherit_a_recipe_in_vain() -> str:
    import_module('ldcrn_mm')

    return mmengine.config.Config.fromfile(write('ldcrn_mm::ldcrn_mpii.py')).filename


def hub_get_config() -> str:
    import_module('ldcrn_mm')

    return mmengine.hub.get_config(ZOO).codec.type


def hub_get_model() -> str:
    import_module('ldcrn_mm')

    return type(mmengine.hub.get_model(SMALL).backbone).__name__


# --- scope and custom_imports -----------------------------------------------------


def scope_alone() -> str:
    mmengine.registry.init_default_scope('ldcrn_mm')
    return mmengine.registry.MODELS.build(dict(type='LDCRN')).__module__


def scope_on_a_model_of_mmpose() -> str:
    return backbone_in_a_runner(write(UPSTREAM, SCOPE + PARTS))


def scope_and_custom_imports() -> str:
    return backbone_in_a_runner(write(UPSTREAM, SCOPE + OURS + PARTS))


def custom_imports_of_their_own() -> str:
    base = installed('ldcrn_mm', 'configs', 'ldcrn_coco.py')
    return backbone_in_a_runner(write(base, "custom_imports = dict(imports=['json'])"))


# --- inferencer -------------------------------------------------------------------


def inferencer() -> dict[str, int]:
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer

    keypoints = {}
    for name in ('ldcrn', 'td-hm_ldcrn-tiny_sample-128x96'):
        model = MMPoseInferencer(name, scope='ldcrn_mm', det_model='whole_image')
        result = next(model(np.zeros((80, 60, 3), np.uint8)))
        keypoints[name] = len(result['predictions'][0][0]['keypoints'])
    return keypoints


def inferencer_with_weights() -> bool:
    return not weights_are_random('ldcrn')


def inferencer_without_weights() -> bool:
    return weights_are_random('ldcrn-mpii')


def weights_are_random(name: str) -> bool:
    """Whether the inferencer says so."""
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer

    MMPoseInferencer(name, scope='ldcrn_mm', det_model='whole_image')
    sys.stdout.flush()
    return 'randomly initialized' in Path('printed.txt').read_text()


def inferencer_with_an_unknown_name() -> str:
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer

    return str(MMPoseInferencer('ldcrm', scope='ldcrn_mm', det_model='whole_image'))


def weights_that_are_not_published() -> str:
    import_module('ldcrn_mm')
    from mmpose.apis import init_model

    config = installed('ldcrn_mm', 'configs', 'ldcrn_mpii.py')
    return str(init_model(str(config), 'ldcrn_mm://ldcrn-mpii', device='cpu'))


def list_models() -> list[str]:
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer

    return MMPoseInferencer.list_models('ldcrn_mm')


def get_model_aliases() -> dict[str, str]:
    import_module('ldcrn_mm')
    from mmpose.apis.inferencers import get_model_aliases

    return get_model_aliases('ldcrn_mm')


def mmpose_first() -> str:
    with contextlib.suppress(ImportError):
        import_module('mmpose.apis')
    import_module('ldcrn_mm')
    return import_module('mmpose.apis').MMPoseInferencer.__name__


# --- MMPose's own tools -----------------------------------------------------------


def small_config() -> Path:
    folder = installed('ldcrn_mm', 'configs', 'ldcrn')
    return folder / 'td-hm_ldcrn-tiny_sample-128x96.py'


def make_sample_data() -> list[str]:
    options = ['--num-train', 2, '--num-val', 1]
    run_module('make_sample_data', 'data/sample', *options)
    return sorted(path.name for path in Path('data/sample').iterdir())


def mmpose_train_and_test() -> list[str]:
    tools = installed('mmpose', 'tools')
    run(tools / 'train.py', small_config(), *train_options())
    run(tools / 'test.py', small_config(), 'trained/epoch_1.pth', *test_options())
    return sorted(path.name for path in Path('trained').glob('*.pth'))


def mmpose_train_on_a_name_in_vain() -> None:
    run(installed('mmpose', 'tools', 'train.py'), write(SMALL), *train_options())


def mmpose_train_on_a_name() -> bool:
    train = installed('mmpose', 'tools', 'train.py')
    run_module(train, write(SMALL), *train_options())
    return Path('trained/epoch_1.pth').is_file()


def our_train_and_test_by_name() -> bool:
    run_module('train', write(SMALL), *train_options())
    run_module('test', 'theirs.py', 'trained/epoch_1.pth', *test_options())
    return Path('trained/epoch_1.pth').is_file()


def publish_and_load() -> dict[str, bool]:
    """Whether all ways of loading give the same weights. Changes the installation."""
    import_module('ldcrn_mm')
    from mmpose.apis import MMPoseInferencer, init_model

    trained = Path('..', 'our_train_and_test_by_name', 'trained', 'epoch_1.pth')
    run_module('publish_model', trained, 'published', '--config', small_config())
    (file,) = Path('published').glob('*.pth')
    name = small_config().stem
    come_with_the_package(name, file)
    inferencer = MMPoseInferencer(
        name, scope='ldcrn_mm', det_model='whole_image'
    ).inferencer
    with served(file) as address:
        models = {
            way: init_model(str(small_config()), weights, device='cpu')
            for way, weights in {
                'path': str(file),
                'address': address,
                'name': f'ldcrn_mm://{name}',
            }.items()
        }
    models['inferencer'] = inferencer.model
    wanted = torch.load(trained, weights_only=False)['state_dict']
    return {way: same_weights(model, wanted) for way, model in models.items()}


@contextlib.contextmanager
def served(file: Path) -> Iterator[str]:
    """The address of a file; what is downloaded stays in the folder of the habit."""
    os.environ['TORCH_HOME'] = 'cache'
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=file.parent
    )
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/{file.name}'
        server.shutdown()


def come_with_the_package(name: str, file: Path) -> None:
    """Puts weights where the package's own are, and into its metafile."""
    weights = Path(find_spec('ldcrn_mm').origin).parent / 'weights'
    weights.mkdir(exist_ok=True)
    shutil.copy(file, weights)
    metafile = installed('ldcrn_mm', 'configs', 'ldcrn', 'metafile.yml')
    index = mmengine.load(metafile)
    (model,) = (model for model in index['Models'] if model['Name'] == name)
    model['Weights'] = f'ldcrn_mm://{file.name}'
    mmengine.dump(index, metafile)


def same_weights(model: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return all(torch.equal(found[key], value) for key, value in wanted.items())


def print_config() -> None:
    run(installed('mmpose', 'tools', 'analysis_tools', 'print_config.py'),
        small_config())  # fmt: skip


def browse_dataset() -> int:
    tool = installed('mmpose', 'tools', 'misc', 'browse_dataset.py')
    run(tool, small_config(), '--not-show', '--output-dir', 'browsed')
    return len([*Path('browsed').rglob('*.png'), *Path('browsed').rglob('*.jpg')])


def get_flops() -> None:
    run(installed('mmpose', 'tools', 'analysis_tools', 'get_flops.py'), small_config())


def get_flops_with_us() -> str:
    with open('flops.txt', 'w') as out, contextlib.redirect_stdout(out):
        run_module('get_flops', installed('ldcrn_mm', 'configs', 'ldcrn_coco.py'))
    return Path('flops.txt').read_text()


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

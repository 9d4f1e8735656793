"""What people who know MMPose do, with the package installed, from another folder.

The functions of ``run_habits.py`` are the habits. Where one of them fails, the error
that users meet stands here, and the documentation says what to do.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from mmengine.utils.dl_utils.misc import mmcv_full_available

from .environments import build, copy_sources, make_env, pip

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name('run_habits.py')
CHECKPOINTS = ['best_coco_AP_epoch_1.pth', 'epoch_1.pth']
NOT_REGISTERED = (
    "KeyError: 'LDCRN is not in the mmpose::model registry."
    if mmcv_full_available()
    else "ModuleNotFoundError: No module named 'mmcv._ext'"
)
HABITS = {
    'inherit_from_mmpose': 'LDCRN',
    'inherit_from_mmpose_without_an_import': NOT_REGISTERED,
    'inherit_from_us': 'LDCRN',
    'inherit_from_us_without_an_import': (
        'AssertionError: mmengine does not support to load ldcrn_mm config.'
    ),
    'inherit_a_recipe': 'MpiiDataset',
    'hub_get_model': 'LDCRN',
    'scope_alone': 'ldcrn_mm.models.ldcrn',
    'mmpose_first': 'MMPoseInferencer',
    'inferencer': 17,
    'list_models': ['ldcrn', 'ldcrn_coco', 'ldcrn_mpii'],
    'make_sample_data': ['coco', 'mpii'],
    'train_and_test_by_name': CHECKPOINTS,
    'train_by_the_tool_of_mmpose': CHECKPOINTS,
    'get_flops': True,
    'unknown_tool': "SystemExit: ldcrn: 'get_flop' is no tool of ldcrn_mm or mmpose",
}


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def done(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    """What came of all habits where the package is installed in this form."""
    folder = tmp_path_factory.mktemp(request.param)
    sources = copy_sources(root, folder / 'sources')
    env = make_env(folder / 'env', with_host=True)
    if request.param == 'wheel':
        pip(env, build('wheel', sources, folder))
    else:
        pip(env, '--editable', sources)
    (folder / 'elsewhere').mkdir()
    finished = subprocess.run(
        [env / 'bin' / 'python', '-W', 'ignore', SCRIPT, *HABITS],
        cwd=folder / 'elsewhere',
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize('habit', HABITS)
def test_a_habit_gives_what_it_should(done: dict[str, object], habit: str) -> None:
    result, expected = done[habit], HABITS[habit]
    if isinstance(expected, str) and isinstance(result, str):
        assert result.startswith(expected)
    else:
        assert result == expected

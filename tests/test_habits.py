"""What people do who know MMPose, with the package installed, from another folder.

The functions of ``run_habits.py`` are the habits. Where one of them fails today, the
error that users meet stands here, and README.md says what to do.
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
FORMS = ('wheel', 'editable')
NOT_KNOWN = 'AssertionError: mmengine does not support to load ldcrn_mm config.'
NEEDS_FOLDER = 'ValueError: `_get_package_and_cfg_path` is used for get external'
NOT_REGISTERED = "KeyError: 'LDCRN is not in the mmpose::model registry."
NO_OPS = "ModuleNotFoundError: No module named 'mmcv._ext'"


def unless_compiled(error: str, result: object) -> object:
    """What happens on mmcv-lite, or where mmcv's ops are compiled."""
    return result if mmcv_full_available() else error


HABITS = {
    # the configs of others, inherited
    'inherit_from_mmpose': 'LDCRN',
    'inherit_from_us': 'UDPHeatmap',
    'inherit_from_us_in_vain': NOT_KNOWN,  # ldcrn_mm has not been imported
    'inherit_a_recipe': 'MpiiDataset',
    'inherit_a_recipe_in_vain': NEEDS_FOLDER,
    'hub_get_config': 'UDPHeatmap',
    'hub_get_model': 'LDCRN',
    # how the package comes in
    'scope_alone': 'ldcrn_mm.models.ldcrn',
    # MMPose's parts are built in MMPose's scope, whatever the default is, and nobody
    # has imported ldcrn_mm
    'scope_on_a_model_of_mmpose': unless_compiled(NO_OPS, NOT_REGISTERED),
    'custom_imports_of_their_own': unless_compiled(NO_OPS, NOT_REGISTERED),
    'scope_and_custom_imports': 'LDCRN',
    'mmpose_first': 'MMPoseInferencer',
    # the inferencer
    'inferencer': {'ldcrn': 17, 'td-hm_ldcrn-tiny_sample-128x96': 17},
    'inferencer_with_weights': True,
    'inferencer_without_weights': True,
    'inferencer_with_an_unknown_name': 'ValueError: Cannot find model: ldcrm in',
    'weights_that_are_not_published': 'ValueError: The weights of ldcrn-mpii have not',
    # tools
    'make_sample_data': ['coco', 'mpii'],
    'mmpose_train_and_test': ['best_coco_AP_epoch_1.pth', 'epoch_1.pth'],
    'mmpose_train_on_a_name_in_vain': NOT_KNOWN,
    'mmpose_train_on_a_name': True,
    'our_train_and_test_by_name': True,
    'print_config': None,
    'browse_dataset': 3,
    'get_flops': unless_compiled(NO_OPS, None),
    'publish_and_load': {
        'path': True,
        'address': True,
        'name': True,
        'inferencer': True,
    },
    'unknown_tool': "SystemExit: ldcrn_mm: 'get_flop' is neither a file nor a tool",
}
# Their results are looked at by tests of their own.
LOOKED_AT = ('list_models', 'get_model_aliases', 'get_flops_with_us')


@pytest.fixture(scope='module', params=FORMS)
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
    names = (*LOOKED_AT, *HABITS)
    finished = subprocess.run(
        [env / 'bin' / 'python', '-W', 'ignore', SCRIPT, *names],
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


def test_models_are_listed_by_name_and_alias(done: dict[str, object]) -> None:
    assert {'ldcrn', 'ldcrn_coco', 'ldcrn_mpii'} < {*done['list_models']}
    assert done['get_model_aliases']['ldcrn-coco'] == 'ldcrn_coco'


def test_the_cost_is_what_mmpose_counts(done: dict[str, object]) -> None:
    """The multiply-adds of the convolutions, 6.544e9, and some of batch norms."""
    assert 'Params: 7.895M' in done['get_flops_with_us']
    assert 'Flops: 6.597G' in done['get_flops_with_us']

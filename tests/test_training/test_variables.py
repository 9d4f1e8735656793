import inspect
import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ldcrn_mm.training import variables


def test_all_that_the_runner_looks_up_can_be_set():
    keys = re.findall(r"\bcfg(?:\.get\(|\[)'(\w+)'", inspect.getsource(Runner))
    assert {'model', 'sync_bn', 'compile'} < {*keys}
    assert {*keys} <= {*variables.FIELDS}


@pytest.mark.parametrize('name', ['some.yaml', 'some.json'])
def test_yaml_and_json_have_no_variables(tmp_path, name):
    Config(dict(mine=1, model=dict(width=1))).dump(tmp_path / name)
    cfg = Config.fromfile(tmp_path / name)
    variables.require_effect(cfg, 'mine', 'mine=2', name)
    assert [*variables.stale_variables(cfg)] == []

import importlib.util
import re
import subprocess
import sys
from importlib import metadata

import pytest

from ldcrn_mm import host


def complaint():
    with pytest.raises(ImportError) as caught:
        host.check_host()
    return str(caught.value)


def test_the_installed_stack_is_accepted():
    host.check_host()


@pytest.mark.parametrize('missing', [*zip(host.HOST), ('mmcv', 'mmpose')])
def test_missing_libraries_are_named_with_the_commands(monkeypatch, missing):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda x: None if x in missing else find_spec(x)
    )
    message = complaint()
    assert f'cannot find {", ".join(missing)}.' in message
    assert host.INSTALL in message


def test_another_major_of_mmpose_is_refused_with_its_version(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '0.29.0')
    assert 'mmpose is 0.29.0' in complaint()


def test_an_mmpose_that_was_not_installed_is_accepted(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', version)
    host.check_host()


def test_an_mmcv_that_mmdet_refuses_is_named_with_two_ways_out(monkeypatch, tmp_path):
    (tmp_path / 'mmdet.py').write_text("assert False, 'MMCV==2.2.0 does not fit'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmdet', raising=False)
    message = complaint()
    assert 'MMCV==2.2.0 does not fit' in message
    assert 'mmcv-lite==' in message
    assert 'onedl-mmdetection==' in message


def test_importing_the_package_without_its_host_says_what_to_install(root):
    code = f'import sys; sys.path.insert(0, {str(root)!r}); import ldcrn_mm'
    done = subprocess.run(  # -I -S: without anything that is installed
        [sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f'cannot find {", ".join(host.HOST)}.' in done.stderr
    assert 'pip install .' in done.stderr


def test_the_commands_name_the_tested_versions(root):
    pins = (root / 'tools' / 'pins.txt').read_text()
    ops = (root / 'tools' / 'build_mmcv_ops.sh').read_text()
    named = {
        *re.findall(r'mmpose==[\d.]+', host.INSTALL),
        *re.findall(r'mmcv-lite==[\d.]+', host.MMCV_OR_MMDET),
    }
    versions = re.findall(r'mmcv==([\d.]+)', ops)
    named |= {f'mmcv-lite=={version}' for version in versions}
    assert {name.split('==')[0] for name in named} == {'mmpose', 'mmcv-lite'}
    assert named <= {*pins.splitlines()}

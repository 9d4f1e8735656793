import importlib.util
import re
import subprocess
import sys
from importlib import metadata

import pytest

from ldcrn_mm import host


@pytest.fixture
def lacking(monkeypatch):
    """Hides modules from the check."""
    find_spec = importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(
            importlib.util,
            'find_spec',
            lambda name: None if name in names else find_spec(name),
        )

    return hide


def complaint():
    with pytest.raises(ImportError) as caught:
        host.check_host()
    return str(caught.value)


def test_the_tested_stack_is_accepted():
    host.check_host()


@pytest.mark.parametrize('name', host.HOST)
def test_a_missing_library_is_named_with_the_commands_that_install_it(lacking, name):
    lacking(name)

    message = complaint()

    assert f'cannot find {name}.' in message
    assert 'bash tools/setup_env.sh' in message
    assert 'pip install' in message


def test_all_missing_libraries_are_named_at_once(lacking):
    lacking('mmcv', 'mmpose')

    assert 'cannot find mmcv, mmpose.' in complaint()


def test_another_major_of_mmpose_is_refused_with_its_version(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '0.29.0')

    assert 'MMPose 1.x, but mmpose is 0.29.0' in complaint()


def test_an_mmpose_that_was_not_installed_is_accepted(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', version)

    host.check_host()


def test_importing_the_package_without_its_host_says_what_to_install(root):
    code = f'import sys; sys.path.insert(0, {str(root)!r}); import ldcrn_mm'

    done = subprocess.run(  # -I -S: without anything that is installed
        [sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True
    )

    assert done.returncode != 0
    assert 'cannot find torch, mmengine, mmcv, mmpose' in done.stderr
    assert 'bash tools/setup_env.sh' in done.stderr


def test_the_commands_name_the_pinned_versions(root):
    pins = dict(
        line.split('==')
        for line in (root / 'tools' / 'pins.txt').read_text().splitlines()
        if '==' in line
    )

    named = dict(re.findall(r'([\w-]+)==([\d.]+)', host.INSTALL))

    assert {'mmengine', 'mmcv-lite', 'mmdet', 'mmpose', 'xtcocotools'} <= set(named)
    assert named == {name: pins[name] for name in named}

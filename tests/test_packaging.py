"""What is built and installed from setup.py, in temporary environments."""

import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import ldcrn_mm

from .environments import build, copy_sources, make_env, pip, run, site_packages

MIM = 'ldcrn_mm/.mim/'
WEIGHTS = 'ldcrn_mm/weights/some.pth'


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len({*names}) == len(names)
    return {*names}


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (x for x in archive.namelist() if x.endswith('.dist-info/METADATA'))
        return Parser().parsestr(archive.read(name).decode())


def mim_files(sources: Path) -> set[str]:
    """What ``.mim`` has to hold, found without setup.py."""
    files = [sources / 'model-index.yml']
    for folder in ('configs', 'tools'):
        files += [path for path in (sources / folder).rglob('*') if path.is_file()]
    return {MIM + path.relative_to(sources).as_posix() for path in files}


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The files of the checkout, where building leaves no traces in it."""
    folder = copy_sources(root, tmp_path_factory.mktemp('packaging') / 'sources')
    # A build has to pass over what running the tools leaves behind.
    (folder / 'configs' / '__pycache__').mkdir()
    (folder / 'configs' / '__pycache__' / 'ldcrn_coco.cpython-311.pyc').touch()
    # Weights may come with the package.
    (folder / WEIGHTS).parent.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(b'weights')
    return folder


@pytest.fixture(scope='module')
def wheel(sources: Path) -> Path:
    return build('wheel', sources, sources.parent)


@pytest.fixture(scope='module')
def sdist(sources: Path) -> Path:
    return build('sdist', sources, sources.parent)


@pytest.fixture(scope='module')
def unpacked(sdist: Path) -> Path:
    folder = sdist.parent / 'unpacked'
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter='data')
    return next(folder.iterdir())


def expected_mim(sources: Path) -> set[str]:
    return {name for name in mim_files(sources) if '__pycache__' not in name}


# --- wheel and source distribution ----------------------------------------------


def test_wheel_puts_nothing_but_the_package_into_site_packages(wheel: Path) -> None:
    tops = {name.split('/')[0] for name in names_in_wheel(wheel)}
    assert tops == {'ldcrn_mm', f'mmpose_ldcrn-{ldcrn_mm.__version__}.dist-info'}


def test_wheel_has_every_module(wheel: Path, sources: Path) -> None:
    modules = {
        path.relative_to(sources).as_posix()
        for path in (sources / 'ldcrn_mm').rglob('*.py')
    }
    assert modules
    assert modules <= names_in_wheel(wheel)


def test_wheel_carries_configs_tools_and_index(wheel: Path, sources: Path) -> None:
    carried = {name for name in names_in_wheel(wheel) if name.startswith(MIM)}
    assert f'{MIM}configs/ldcrn_coco.py' in carried
    assert carried == expected_mim(sources)


@pytest.mark.parametrize(
    ('old', 'carried'),
    [
        ('configs/old.py', f'{MIM}configs/old.py'),
        ('ldcrn_mm/old.py', 'ldcrn_mm/old.py'),
    ],
)
def test_wheel_carries_nothing_that_is_gone(
    sources: Path, tmp_path: Path, old: str, carried: str
) -> None:
    shutil.copytree(sources, tmp_path / 'sources')
    (tmp_path / 'sources' / old).touch()
    assert carried in names_in_wheel(build('wheel', tmp_path / 'sources', tmp_path))
    (tmp_path / 'sources' / old).unlink()
    after = build('wheel', tmp_path / 'sources', tmp_path)
    assert carried not in names_in_wheel(after)


def test_wheel_carries_files_of_the_package_that_are_no_modules(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(WEIGHTS) == b'weights'


def test_wheel_requires_nothing_that_pip_could_fail_on(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata['Name'] == 'mmpose-ldcrn'
    assert metadata['Version'] == ldcrn_mm.__version__
    requirements = metadata.get_all('Requires-Dist') or []
    assert all('extra ==' in requirement for requirement in requirements)


def test_extras_name_what_the_pins_have(wheel: Path, root: Path) -> None:
    extras: dict[str, set[str]] = {}
    for requirement in metadata_of(wheel).get_all('Requires-Dist'):
        name, extra = re.fullmatch(r'(\S+); extra == .(\w+).', requirement).groups()
        extras.setdefault(extra, set()).add(name)
    assert {*extras} == {'dev', 'runtimes'}
    assert {'onnx', 'onnxruntime', 'openvino', 'nncf'} < extras['runtimes']
    assert {'pytest', 'ruff', 'codespell'} < extras['dev']
    pins = (root / 'tools' / 'pins.txt').read_text().splitlines()
    pinned = {pin.partition('==')[0] for pin in pins}
    assert extras['dev'] | extras['runtimes'] <= pinned | {'pre-commit'}


def test_sdist_holds_all_that_a_checkout_holds(unpacked: Path, sources: Path) -> None:
    wanted = {
        path.relative_to(sources)
        for path in sources.rglob('*')
        if path.is_file()
        and not {'__pycache__', 'build', '.mim'} & {*path.relative_to(sources).parts}
        and '.egg-info' not in str(path)
    }
    found = {path.relative_to(unpacked) for path in unpacked.rglob('*')}
    assert wanted - found == set()
    assert not any('__pycache__' in path.parts for path in found)


def test_sdist_carries_mim_too(unpacked: Path, sources: Path) -> None:
    carried = {
        path.relative_to(unpacked).as_posix()
        for path in (unpacked / 'ldcrn_mm' / '.mim').rglob('*')
        if path.is_file()
    }
    assert carried == expected_mim(sources)


def test_wheel_from_the_sdist_is_the_wheel_from_the_checkout(
    unpacked: Path, wheel: Path, tmp_path: Path
) -> None:
    assert names_in_wheel(build('wheel', unpacked, tmp_path)) == names_in_wheel(wheel)


# --- installed --------------------------------------------------------------------


def test_editable_install_links_to_the_checkout(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources, tmp_path / 'sources')
    env = make_env(tmp_path / 'env', with_host=False)
    pip(env, '--editable', tmp_path / 'sources')
    package = tmp_path / 'sources' / 'ldcrn_mm'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (package / '.mim' / name).resolve() == tmp_path / 'sources' / name
    code = """if True:
        import importlib.util as u
        print(u.find_spec('ldcrn_mm').origin)
        print([n for n in ('configs', 'tests', 'tools', 'setup') if u.find_spec(n)])
    """
    found = run(env / 'bin' / 'python', '-c', code, cwd=tmp_path).splitlines()
    assert found == [str(package / '__init__.py'), '[]']


def test_editable_install_adds_only_its_links_to_site_packages(
    sources: Path, tmp_path: Path
) -> None:
    env = make_env(tmp_path / 'env', with_host=False)
    before = {path.name for path in site_packages(env).iterdir()} | {'__pycache__'}
    pip(env, '--editable', shutil.copytree(sources, tmp_path / 'sources'))
    added = {path.name for path in site_packages(env).iterdir()} - before
    release = f'mmpose_ldcrn-{ldcrn_mm.__version__}'
    assert f'{release}.dist-info' in added
    links = added - {f'{release}.dist-info'}
    assert links
    assert all(re.fullmatch(r'__editable__.*mmpose_ldcrn.*', name) for name in links)


def test_a_wheel_after_editable_installs_is_the_same_wheel(
    sources: Path, wheel: Path, tmp_path: Path
) -> None:
    shutil.copytree(sources, tmp_path / 'sources')
    env = make_env(tmp_path / 'env', with_host=False)
    for _ in range(2):  # the second finds the links of the first
        pip(env, '--editable', tmp_path / 'sources')
    after = build('wheel', tmp_path / 'sources', tmp_path)
    assert names_in_wheel(after) == names_in_wheel(wheel)
    config = f'{MIM}configs/ldcrn_coco.py'
    with zipfile.ZipFile(after) as new, zipfile.ZipFile(wheel) as old:
        assert new.read(config) == old.read(config) != b''
    assert (tmp_path / 'sources' / 'configs' / 'ldcrn_coco.py').is_file()


def test_import_without_the_host_says_what_to_install(
    sources: Path, tmp_path: Path, root: Path
) -> None:
    env = make_env(tmp_path / 'env', with_host=False)
    pip(env, sources)
    done = subprocess.run(
        [env / 'bin' / 'python', '-c', 'import ldcrn_mm'],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    error = done.stderr[done.stderr.index('ImportError') :]
    assert 'plugin of MMPose' in error
    assert 'bash tools/setup_env.sh' in error
    pins = (root / 'tools' / 'pins.txt').read_text().splitlines()
    host = ('mmengine', 'mmcv-lite', 'mmdet', 'mmpose', 'xtcocotools')
    pinned = [pin for pin in pins if pin.partition('==')[0] in host]
    assert len(pinned) == len(host)
    assert [pin for pin in pinned if pin not in error] == []
    assert '--no-deps --no-build-isolation --no-binary xtcocotools' in error


# --- configuration ----------------------------------------------------------------


def test_pre_commit_uses_the_pinned_versions(root: Path) -> None:
    text = (root / '.pre-commit-config.yaml').read_text()
    hooks = dict(re.findall(r'repo: \S+/(ruff|codespell)\S*\s+rev: v(\S+)', text))
    pins = (root / 'tools' / 'pins.txt').read_text().splitlines()
    wanted = dict(pin.split('==') for pin in pins if pin.startswith((*hooks,)))
    assert set(hooks) == {'ruff', 'codespell'}
    assert hooks == wanted


def test_pins_name_each_distribution_once(root: Path) -> None:
    pins = (root / 'tools' / 'pins.txt').read_text().splitlines()
    lines = [pin for pin in pins if pin and not pin.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+', line) for line in lines)
    names = [re.sub('[-_.]+', '-', line.partition('==')[0]).lower() for line in lines]
    assert len(names) == len(set(names))


def test_build_system_is_one_that_knows_editable_wheels(root: Path) -> None:
    settings = tomllib.loads((root / 'pyproject.toml').read_text())
    assert settings['build-system']['requires'] == ['setuptools>=64']

"""What is built and installed from setup.py, in temporary environments."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import ldcrn_mm

NOT_SOURCES = (
    '.*', '__pycache__', '*.egg-info', 'build', 'checkpoints', 'data', 'dist',
    'outputs', 'work_dirs',
)  # fmt: skip
MIM = 'ldcrn_mm/.mim/'


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, sources: Path, folder: Path) -> Path:
    """Calls what ``pip`` and ``build`` call, without their network."""
    hook = f'setuptools.build_meta.build_{kind}'
    code = f'import setuptools.build_meta; print({hook}({str(folder)!r}))'
    return folder / run(sys.executable, '-c', code, cwd=sources).splitlines()[-1]


def pip(env: Path, *arguments: object) -> None:
    """Installs into another environment, offline."""
    python = env / 'bin' / 'python'
    offline = ['--no-index', '--no-deps', '--no-build-isolation', '--quiet']
    call = [sys.executable, '-m', 'pip', '--python', python, 'install', *offline]
    run(*call, *arguments, cwd=env)


def make_env(folder: Path, *, with_host: bool) -> Path:
    """An environment that sees this one's packages, or only what builds."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
    ours = Path(pytest.__file__).parent.parent
    theirs = next(folder.glob('lib/python3*/site-packages'))
    if with_host:
        (theirs / 'host.pth').write_text(f'{ours}\n')
        return folder
    for pattern in (
        '_distutils_hack',
        'setuptools',
        'setuptools-*',
        'wheel',
        'wheel-*',
    ):
        for package in ours.glob(pattern):
            (theirs / package.name).symlink_to(package)
    return folder


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def mim_files(sources: Path) -> set[str]:
    """What ``.mim`` has to hold, found without setup.py."""
    files = [sources / 'model-index.yml']
    for folder in ('configs', 'tools'):
        files += [path for path in (sources / folder).rglob('*') if path.is_file()]
    return {MIM + path.relative_to(sources).as_posix() for path in files}


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The files of the checkout, where building leaves no traces in it."""
    folder = tmp_path_factory.mktemp('packaging') / 'sources'
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    # A build has to pass over what running the tools leaves behind.
    (folder / 'configs' / '__pycache__').mkdir()
    (folder / 'configs' / '__pycache__' / 'ldcrn_coco.cpython-311.pyc').touch()
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


def test_wheel_carries_no_config_that_is_gone(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources, tmp_path / 'sources')
    old = tmp_path / 'sources' / 'configs' / 'old.py'
    old.touch()
    before = build('wheel', tmp_path / 'sources', tmp_path)
    assert f'{MIM}configs/old.py' in names_in_wheel(before)
    old.unlink()
    after = build('wheel', tmp_path / 'sources', tmp_path)
    assert f'{MIM}configs/old.py' not in names_in_wheel(after)


def test_wheel_requires_nothing_that_pip_could_fail_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (x for x in archive.namelist() if x.endswith('.dist-info/METADATA'))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata['Name'] == 'mmpose-ldcrn'
    assert metadata['Version'] == ldcrn_mm.__version__
    requirements = metadata.get_all('Requires-Dist') or []
    assert all('extra ==' in requirement for requirement in requirements)


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


def test_editable_install_can_be_repeated(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources, tmp_path / 'sources')
    env = make_env(tmp_path / 'env', with_host=False)
    for _ in range(2):
        pip(env, '--editable', tmp_path / 'sources')
    wheel = build('wheel', tmp_path / 'sources', tmp_path)
    assert expected_mim(sources) <= names_in_wheel(wheel)  # and files, not links
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


@pytest.mark.slow
@pytest.mark.parametrize('form', ['wheel', 'editable'])
def test_configs_resolve_by_name_from_another_folder(
    form: str, sources: Path, wheel: Path, tmp_path: Path
) -> None:
    env = make_env(tmp_path / 'env', with_host=True)
    if form == 'editable':
        sources = Path(shutil.copytree(sources, tmp_path / 'sources'))
        pip(env, '--editable', sources)
    else:
        pip(env, wheel)
    (tmp_path / 'theirs.py').write_text("_base_ = 'ldcrn_mm::_base_/ldcrn.py'\n")
    code = """if True:
        import ldcrn_mm
        from mmengine.config import Config
        from mmpose.registry import MODELS
        model = MODELS.build(Config.fromfile('theirs.py').model)
        print(ldcrn_mm.__file__, type(model.backbone).__name__)
    """
    found = run(env / 'bin' / 'python', '-W', 'ignore', '-c', code, cwd=tmp_path)
    place = sources if form == 'editable' else env
    assert found.splitlines()[-1].startswith(str(place))
    assert found.splitlines()[-1].endswith(' LDCRN')


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

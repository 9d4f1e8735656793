"""What is built and installed from setup.py, in temporary environments."""

import re
import shutil
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ldcrn_mm

from .environments import build, copy_sources, make_env, pip, run, site_packages

MIM = 'ldcrn_mm/.mim/'
WEIGHTS = 'ldcrn_mm/weights/some.pth'
RELEASE = f'mmpose_ldcrn-{ldcrn_mm.__version__}'


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The files of the checkout, where building leaves no traces in it."""
    folder = copy_sources(root, tmp_path_factory.mktemp('packaging') / 'sources')
    for file in (folder / WEIGHTS).parent.glob('*.pth'):
        file.unlink()  # large, and compressed in every wheel
    # A build has to pass over what running the tools leaves behind.
    (folder / 'configs' / '__pycache__').mkdir()
    (folder / 'configs' / '__pycache__' / 'ldcrn_coco.cpython-311.pyc').touch()
    (folder / WEIGHTS).write_bytes(b'weights')
    return folder


@pytest.fixture(scope='module')
def wheel(sources: Path) -> Path:
    """Built where nothing else is installed, as for an index."""
    env = make_env(sources.parent / 'env', with_host=False)
    return build('wheel', sources, sources.parent, env / 'bin' / 'python')


@pytest.fixture
def copied(sources: Path, tmp_path: Path) -> Path:
    """The same files again, for tests that change them or install from them."""
    return Path(shutil.copytree(sources, tmp_path / 'sources'))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {*archive.namelist()}


def requirements_of(wheel: Path) -> dict[str, Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        return requirements_in(archive.read(f'{RELEASE}.dist-info/METADATA').decode())


def requirements_in(text: str) -> dict[str, Requirement]:
    lines = Parser().parsestr(text).get_all('Requires-Dist')
    return {found.name: found for found in map(Requirement, lines)}


def pins(root: Path) -> dict[str, str]:
    lines = (root / 'tools' / 'pins.txt').read_text().splitlines()
    return dict(line.split('==') for line in lines if line and line[0] != '#')


# --- wheel and source distribution ----------------------------------------------


def test_wheel_holds_the_modules_and_what_mim_looks_for(
    wheel: Path, sources: Path
) -> None:
    expected = set()
    for name in ('ldcrn_mm', 'configs', 'tools', 'model-index.yml'):
        for path in (sources / name, *(sources / name).rglob('*')):
            if path.is_file() and {'__pycache__', '.mim'}.isdisjoint(path.parts):
                place = path.relative_to(sources).as_posix()
                expected.add(place if name == 'ldcrn_mm' else MIM + place)
    found = {name for name in names_in(wheel) if '.dist-info/' not in name}
    assert f'{MIM}configs/ldcrn_coco.py' in found
    assert found == expected | {f'{RELEASE}.data/scripts/ldcrn'}


def test_wheel_carries_nothing_that_is_gone(copied: Path, tmp_path: Path) -> None:
    old = ('configs/old.py', 'ldcrn_mm/old.py')
    for name in old:
        (copied / name).touch()
    before = names_in(build('wheel', copied, tmp_path))
    for name in old:
        (copied / name).unlink()
    after = names_in(build('wheel', copied, tmp_path))
    assert before - after == {f'{MIM}configs/old.py', 'ldcrn_mm/old.py'}


def test_sdist_holds_the_checkout_and_builds_the_same_wheel(
    sources: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(build('sdist', sources, tmp_path)) as archive:
        archive.extractall(tmp_path)
    unpacked = tmp_path / RELEASE
    not_wanted = {'__pycache__', 'build', '.mim', 'mmpose_ldcrn.egg-info'}
    wanted = {
        path.relative_to(sources)
        for path in sources.rglob('*')
        if path.is_file() and not_wanted.isdisjoint(path.relative_to(sources).parts)
    }
    found = {path.relative_to(unpacked) for path in unpacked.rglob('*')}
    assert wanted - found == set()
    assert not any('__pycache__' in path.parts for path in found)
    assert names_in(build('wheel', unpacked, tmp_path)) == names_in(wheel)


# --- requirements -----------------------------------------------------------------


def test_requirements_name_all_but_mmpose_and_admit_the_pins(
    wheel: Path, root: Path
) -> None:
    requirements, pinned = requirements_of(wheel), pins(root)
    assert {'torch', 'numpy', 'mmengine', 'mmdet', 'mmcv-lite'} <= {*requirements}
    assert {'mmpose', 'chumpy', 'xtcocotools'}.isdisjoint(requirements)
    for name in {*requirements} - {'mkdocs-material', 'mkdocstrings', 'pyyaml'}:
        assert requirements[name].specifier.contains(pinned[name]), name
    assert pinned['PyYAML']
    extras = [x for x in requirements.values() if x.marker]
    assert all('>=' in str(requirement.specifier) for requirement in extras)


@pytest.mark.slow
def test_an_install_keeps_other_distributions_of_a_module(
    copied: Path, tmp_path: Path, wheel: Path
) -> None:
    env = make_env(tmp_path / 'env', with_host=False)
    for name in ('mmcv', 'onedl_mmdetection'):
        info = site_packages(env) / f'{name}-2.1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Name: {name}\nVersion: 2.1.0\n')
    to_keep = build('wheel', copied, tmp_path, env / 'bin' / 'python')
    assert requirements_of(to_keep) == requirements_of(wheel)
    pip(env, copied)
    metadata = site_packages(env) / f'{RELEASE}.dist-info' / 'METADATA'
    left = {*requirements_of(wheel)} - {*requirements_in(metadata.read_text())}
    assert left == {'mmcv-lite', 'mmdet'}


# --- editable ---------------------------------------------------------------------


@pytest.mark.slow
def test_editable_install_links_to_the_checkout(
    copied: Path, wheel: Path, tmp_path: Path
) -> None:
    env = make_env(tmp_path / 'env', with_host=False)
    before = {path.name for path in site_packages(env).iterdir()} | {'__pycache__'}
    for _ in range(2):  # the second finds the links of the first
        pip(env, '--editable', copied)

    for name in ('configs', 'tools', 'model-index.yml'):
        assert (copied / 'ldcrn_mm' / '.mim' / name).resolve() == copied / name
    code = "import importlib.util as u; print(u.find_spec('ldcrn_mm').origin)"
    found = run(env / 'bin' / 'python', '-c', code, cwd=tmp_path).strip()
    assert found == str(copied / 'ldcrn_mm' / '__init__.py')
    added = {path.name for path in site_packages(env).iterdir()} - before
    links = added - {f'{RELEASE}.dist-info'}
    assert all(re.fullmatch(r'__editable__.*mmpose_ldcrn.*', name) for name in links)

    after = build('wheel', copied, tmp_path)
    assert names_in(after) == names_in(wheel)
    with zipfile.ZipFile(after) as archive:  # a file, and not its link
        assert archive.read(f'{MIM}configs/ldcrn_coco.py') != b''
    assert (copied / 'configs' / 'ldcrn_coco.py').is_file()


# --- pins -------------------------------------------------------------------------


def test_pre_commit_uses_the_pinned_versions(root: Path) -> None:
    text = (root / '.pre-commit-config.yaml').read_text()
    hooks = dict(re.findall(r'repo: \S+/(ruff|codespell)\S*\s+rev: v(\S+)', text))
    assert hooks == {name: pins(root)[name] for name in ('ruff', 'codespell')}


def test_pins_name_each_distribution_once(root: Path) -> None:
    lines = (root / 'tools' / 'pins.txt').read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+', line) for line in lines)
    names = [re.sub('[-_.]+', '-', line.partition('==')[0]).lower() for line in lines]
    assert len(names) == len({*names})


def test_the_citation_names_this_version(root: Path) -> None:
    text = (root / 'CITATION.cff').read_text()
    assert f'\nversion: {ldcrn_mm.__version__}\n' in text


NEWER = r"""
\b(tomllib|StrEnum|ExceptionGroup|TaskGroup|assert_type|LiteralString|reveal_type
|datetime\.UTC|import\ .*\bUTC\b|typing\.Self|import\ .*\bSelf\b|batched
|contextlib\.chdir|sumprod|cbrt|exp2|hashlib\.file_digest|Path\.walk|\.add_note)\b
|except\*|^type\ \w+\ =|^\s*def\ \w+\[
"""


def test_nothing_needs_a_newer_python_than_3_10(root: Path) -> None:
    """Of what is newer, ruff sees the syntax, and this names the library's parts."""
    sources = [*root.glob('*.py')]
    for folder in ('ldcrn_mm', 'tools', 'configs'):
        sources += root.joinpath(folder).rglob('*.py')
    found = {
        (path.name, match[0])
        for path in sources
        for match in re.finditer(NEWER, path.read_text(), re.VERBOSE | re.MULTILINE)
    }
    assert found == set()

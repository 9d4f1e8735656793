"""tools/setup_env.sh, with a real shell and virtual environments, and a fake pip."""

import fcntl
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

PINS = """\
torch==2.14.1
torchvision==0.29.1
mmengine==0.10.7
mmcv-lite==2.1.0
mmdet==3.3.0
mmpose==1.3.2
json_tricks==3.17.3
opencv-python==5.0.0.93
xtcocotools==1.14.3
"""
COMMANDS = """
awk basename bash cat cmp cp cut dirname find flock grep gzip head mkdir mktemp paste
rm sed sh sleep tail tar
"""
# Modules that the script imports to see whether what is installed works.
MODULES = {
    'ldcrn_mm': '',
    'mmcv': '',
    'mmcv.ops': 'def nms(*args, **kwargs): pass',
    'mmdet': '',
    'mmengine': '',
    'mmpose': '',
    'mmpose.apis': '',
    'torch': 'from . import cuda\ndef tensor(data): return data',
    'torch.cuda': 'import os\ndef is_available(): return "FAKE_GPU" in os.environ',
    'torch.utils': '',
    'torch.utils.cpp_extension': 'CUDA_HOME = None',
    'torchvision': '',
    'xtcocotools': '',
    'xtcocotools.coco': '',
}
# What differs from machine to machine, as the test wants it.
SYSTEM = """
import os, sys, types
def load(name):
    if name in os.environ.get('FAKE_MISSING_LIBRARIES', ''):
        raise OSError(name)
sys.modules['ctypes'] = types.SimpleNamespace(CDLL=load)
sys.modules['sysconfig'] = types.SimpleNamespace(
    get_path=lambda name: os.environ['FAKE_INCLUDE'],
    get_config_var=lambda name: 'compiler-of-python',
)
"""
PYTHON = """#!/bin/sh
case "$*" in
  '-m venv '*)
    "{real}" -m venv --without-pip "$3" || exit
    exec cp -r "{packages}/." "$3/lib/python{version}/site-packages" ;;
esac
exec "{real}" "$@"
"""


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def write_packages(folder: Path) -> None:
    """What a new virtual environment of these tests holds."""
    for name, source in MODULES.items():
        write(folder / name.replace('.', '/') / '__init__.py', source)
    write(folder / 'fake_system.py', SYSTEM)
    write(folder / 'fake_system.pth', 'import fake_system')
    write(folder / 'pip' / '__init__.py', '')
    shutil.copy(Path(__file__).with_name('fake_pip.py'), folder / 'pip' / '__main__.py')
    write(folder / 'pip-1.0.dist-info' / 'METADATA', 'Name: pip\nVersion: 1.0\n')
    write(folder / 'pip-1.0.dist-info' / 'INSTALLER', 'pip')


@dataclass
class Checkout:
    """A checkout on a machine where little more is installed than a Python."""

    root: Path
    machine: Path
    environ: dict[str, str]

    @property
    def bin(self) -> Path:
        return self.machine / 'bin'

    @property
    def venv(self) -> Path:
        return self.root / '.venv'

    @property
    def site(self) -> Path:
        return next(self.venv.glob('lib/python3*/site-packages'))

    def command(self, *arguments: str) -> list[str]:
        return ['bash', str(self.root / 'tools' / 'setup_env.sh'), *arguments]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments),
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def succeed(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
        result = self.run(*arguments, **environ)
        assert result.returncode == 0, result.stderr
        return result

    def fail(self, *arguments: str, **environ: str) -> str:
        result = self.run(*arguments, **environ)
        assert result.returncode == 1, result.stderr
        return result.stderr

    def calls(self, env: Path | None = None) -> list[str]:
        """The calls of pip since this was asked last."""
        file = (env or self.venv) / 'pip-calls.txt'
        if not file.exists():
            return []
        calls = file.read_text().splitlines()
        file.unlink()
        return calls

    def installed(self) -> dict[str, str]:
        names = (path.name for path in self.site.glob('*.dist-info'))
        return dict(name.removesuffix('.dist-info').rsplit('-', 1) for name in names)

    def pin(self, before: str, after: str) -> None:
        pins = self.root / 'tools' / 'pins.txt'
        assert before in pins.read_text()
        pins.write_text(pins.read_text().replace(before, after))


@dataclass
class Snapshots:
    """The same checkout in two states, to start each test from.

    Environments cannot be moved, so each test finds it in the same place.
    """

    folder: Path
    checkout: Checkout

    def restore(self, state: str) -> Checkout:
        shutil.rmtree(self.folder / 'live')
        shutil.copytree(self.folder / state, self.folder / 'live', symlinks=True)
        return replace(self.checkout, environ=dict(self.checkout.environ))


def make_checkout(folder: Path, script: Path) -> Checkout:
    tools, machine = folder / 'checkout' / 'tools', folder / 'machine'
    tools.mkdir(parents=True)
    shutil.copy(script, tools)
    write(tools / 'pins.txt', '# comment\n\n' + PINS)
    write_packages(machine / 'packages')
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    python = PYTHON.format(
        real=Path(sys.executable).resolve(),
        packages=machine / 'packages',
        version=version,
    )
    write(machine / 'bin' / f'python{version}', python, 0o755)
    for compiler in ('cc', 'c++'):
        write(machine / 'bin' / compiler, '#!/bin/sh\ncat >/dev/null\n', 0o755)
    for name in COMMANDS.split():
        found = shutil.which(name)
        if found:
            (machine / 'bin' / name).symlink_to(found)
    set_disk(machine / 'bin', megabytes=100_000)
    write(machine / 'include' / 'Python.h', '')
    (machine / 'tmp').mkdir()
    environ = {
        'CC': 'cc',
        'FAKE_INCLUDE': str(machine / 'include'),
        'HOME': str(machine),
        'PATH': str(machine / 'bin'),
        'TMPDIR': str(machine / 'tmp'),
    }
    return Checkout(tools.parent, machine, environ)


@pytest.fixture(scope='module')
def snapshots(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Snapshots:
    folder = tmp_path_factory.mktemp('setup_env')
    live = folder / 'live'
    checkout = make_checkout(live, root / 'tools' / 'setup_env.sh')
    shutil.copytree(live, folder / 'new', symlinks=True)
    checkout.succeed()
    checkout.calls()
    shutil.copytree(live, folder / 'ready', symlinks=True)
    return Snapshots(folder, checkout)


@pytest.fixture
def checkout(snapshots: Snapshots) -> Checkout:
    """A checkout as it was cloned."""
    return snapshots.restore('new')


@pytest.fixture
def ready(snapshots: Snapshots) -> Checkout:
    """A checkout that is set up."""
    return snapshots.restore('ready')


def set_disk(bin_folder: Path, megabytes: int) -> None:
    (bin_folder / 'df').unlink(missing_ok=True)
    row = f'/dev/x 1 1 {megabytes * 1024} 1% /'
    write(bin_folder / 'df', f'#!/bin/sh\necho header\necho "{row}"\n', 0o755)


def make_active(checkout: Checkout) -> Path:
    """An environment of the user's own."""
    env = checkout.machine / 'theirs'
    python = next(checkout.bin.glob('python3*'))
    subprocess.run([python, '-m', 'venv', str(env)], env=checkout.environ, check=True)
    return env


# --- what it does -------------------------------------------------------------


def test_makes_the_environment_in_the_order_that_works(checkout: Checkout) -> None:
    checkout.succeed()
    bulk, apart, editable = checkout.calls()
    assert 'mmpose==' not in bulk
    assert 'xtcocotools==' not in bulk
    assert all(
        pin in bulk for pin in PINS.split() if not pin.startswith(('mmpose', 'xtco'))
    )
    assert apart.startswith('install --no-deps --no-build-isolation')
    assert '--no-binary xtcocotools' in apart
    assert apart.endswith('xtcocotools==1.14.3 mmpose==1.3.2')
    assert editable.endswith(f'--no-build-isolation --editable {checkout.root}')


def test_reports_each_step_with_the_seconds_gone(checkout: Checkout) -> None:
    steps = checkout.succeed().stderr.splitlines()
    assert all(step.startswith('[') and ' s] ' in step for step in steps)
    assert 'making .venv' in steps[0]
    assert steps[-1].endswith(f'source {checkout.venv}/bin/activate')


def test_leaves_alone_what_is_right(ready: Checkout) -> None:
    assert 'is as tools/pins.txt says' in ready.succeed().stderr
    assert ready.calls() == []


def test_prints_only_the_python_where_asked(ready: Checkout) -> None:
    assert ready.succeed('--print-python').stdout == f'{ready.venv}/bin/python\n'
    assert ready.succeed().stdout == ''


def test_prints_its_usage(checkout: Checkout) -> None:
    usage = checkout.succeed('--help').stdout
    assert '--with-mmcv-ops' in usage
    assert 'set -euo' not in usage
    assert not checkout.venv.exists()


def test_works_from_any_folder(checkout: Checkout, monkeypatch) -> None:
    monkeypatch.chdir(checkout.root.parent)
    script = f'{checkout.root.name}/tools/setup_env.sh'
    subprocess.run(['bash', script], env=checkout.environ, check=True)
    assert checkout.venv.is_dir()


def test_a_link_puts_the_environment_on_another_disk(checkout: Checkout) -> None:
    elsewhere = checkout.machine / 'elsewhere'
    elsewhere.mkdir()
    checkout.venv.symlink_to(elsewhere)
    checkout.succeed()
    assert checkout.venv.is_symlink()
    assert (elsewhere / 'bin' / 'python').exists()
    assert 'is as tools/pins.txt says' in checkout.succeed().stderr


# --- what it repairs ----------------------------------------------------------


def test_follows_the_pins(ready: Checkout) -> None:
    ready.pin('json_tricks==3.17.3', 'json_tricks==3.18.0')
    assert 'json_tricks: 3.17.3' in ready.succeed().stderr
    assert ready.installed()['json_tricks'] == '3.18.0'


def test_puts_back_what_was_removed(ready: Checkout) -> None:
    shutil.rmtree(ready.site / 'mmdet-3.3.0.dist-info')
    assert 'mmdet: missing' in ready.succeed().stderr
    assert ready.installed()['mmdet'] == '3.3.0'


def test_puts_back_what_was_changed(ready: Checkout) -> None:
    (ready.site / 'mmdet-3.3.0.dist-info').rename(ready.site / 'mmdet-3.2.0.dist-info')
    write(ready.site / 'mmdet-3.2.0.dist-info/METADATA', 'Name: mmdet\nVersion: 3.2.0')
    assert 'mmdet: 3.2.0' in ready.succeed().stderr
    assert ready.installed()['mmdet'] == '3.3.0'


def test_accepts_another_build_of_the_pinned_version(ready: Checkout) -> None:
    metadata = 'Name: torch\nVersion: 2.14.1+cpu\n'
    write(ready.site / 'torch-2.14.1.dist-info' / 'METADATA', metadata)
    ready.succeed()
    assert ready.calls() == []


def test_goes_on_after_it_was_killed_within_a_package(
    ready: Checkout,
) -> None:
    # As a killed pip leaves it: its metadata is there, the mark of the end is not.
    (ready.venv / '.ldcrn_mm-setup').unlink()
    half = ready.site / 'mmdet-3.3.0.dist-info' / 'INSTALLER'
    half.unlink()
    ready.succeed()
    assert half.exists()


@pytest.mark.parametrize('lost', ['bin/python', 'bin/activate'])
def test_makes_anew_what_does_not_run(ready: Checkout, lost: str) -> None:
    (ready.venv / lost).unlink()
    assert 'making it anew' in ready.succeed().stderr
    assert (ready.venv / lost).exists()


def test_makes_anew_what_was_moved(ready: Checkout) -> None:
    ready.root = ready.root.rename(ready.root.with_name('moved'))
    assert 'making it anew' in ready.succeed().stderr
    assert str(ready.root) in ready.calls()[-1]
    assert 'is as tools/pins.txt says' in ready.succeed().stderr


def test_installs_again_where_another_checkout_was_installed(ready: Checkout) -> None:
    other = ready.site / 'mmpose_ldcrn-0.1.0.dist-info' / 'direct_url.json'
    other.write_text('{"url": "file:///somewhere/else"}')
    assert 'mmpose-ldcrn: /somewhere/else' in ready.succeed().stderr
    assert str(ready.root) in other.read_text()


def test_waits_for_another_set_up_of_the_same_environment(ready: Checkout) -> None:
    lock = (ready.venv / '.ldcrn_mm-lock').open()
    fcntl.flock(lock, fcntl.LOCK_EX)
    second = subprocess.Popen(
        ready.command(), env=ready.environ, stderr=subprocess.PIPE, text=True
    )
    assert 'is running: waiting for it' in second.stderr.readline()
    time.sleep(0.3)
    assert second.poll() is None
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert 'is as tools/pins.txt says' in second.communicate(timeout=60)[1]
    assert second.returncode == 0


# --- which Python -------------------------------------------------------------


def test_passes_over_a_python_that_does_not_run(
    checkout: Checkout,
) -> None:
    python = next(checkout.bin.glob('python3*'))
    shim = checkout.machine / 'shims' / python.name
    write(shim, '#!/bin/sh\necho "command not found" >&2\nexit 127\n', 0o755)
    path = f'{shim.parent}:{checkout.environ["PATH"]}'
    assert f'making .venv with {python}' in checkout.succeed(PATH=path).stderr


def test_takes_the_python_that_it_is_given(checkout: Checkout) -> None:
    python = next(checkout.bin.glob('python3*')).rename(checkout.machine / 'mine')
    assert f'with {python}' in checkout.succeed(PYTHON=str(python)).stderr


def test_error_without_a_python_that_serves(checkout: Checkout) -> None:
    for python in checkout.bin.glob('python3*'):
        python.unlink()
    write(checkout.bin / 'python3', '#!/bin/sh\nexit 1\n', 0o755)
    error = checkout.fail()
    assert 'no Python 3.11 or 3.12 on PATH' in error
    assert 'apt-get install python3.11-venv python3.11-dev' in error
    assert 'PYTHON=/path/to/python3.11' in error


@pytest.mark.parametrize('version', ['3, 10', '3, 13'])
def test_error_for_a_python_of_another_version(checkout: Checkout, version) -> None:
    pretends = f'-c "import sys; sys.version_info = ({version}, 0); $2"'
    script = f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" {pretends}\n'
    other = write(checkout.machine / 'other', script, 0o755)
    assert 'is no Python 3.11 or 3.12' in checkout.fail(PYTHON=str(other))


def test_error_names_the_python_that_does_not_serve(checkout: Checkout) -> None:
    old = write(checkout.machine / 'old', '#!/bin/sh\necho Python 3.8.1\nexit 1', 0o755)
    error = checkout.fail(PYTHON=str(old))
    assert f'PYTHON={old} is no Python 3.11 or 3.12 that runs: Python 3.8.1' in error


def test_error_where_python_cannot_make_environments(checkout: Checkout) -> None:
    python = next(checkout.bin.glob('python3*'))
    text = python.read_text()
    case = 'case "$*" in *\'import ensurepip, venv\'*) exit 1 ;; esac\n'
    python.write_text(text.replace('\n', f'\n{case}', 1))
    error = checkout.fail()
    assert 'no venv or ensurepip' in error
    assert f'apt-get install {python.name}-venv {python.name}-dev' in error


# --- what is missing, said before anything is downloaded ----------------------


def test_error_without_a_c_compiler(checkout: Checkout) -> None:
    del checkout.environ['CC']
    error = checkout.fail()
    assert "the C compiler 'compiler-of-python' does not work" in error
    assert 'apt-get install gcc' in error
    assert checkout.calls() == []


def test_error_without_the_headers_of_python(checkout: Checkout) -> None:
    (checkout.machine / 'include' / 'Python.h').unlink()
    error = checkout.fail()
    assert f'{checkout.machine}/include/Python.h is missing' in error
    assert f'apt-get install {next(checkout.bin.glob("python3*")).name}-dev' in error
    assert checkout.calls() == []


def test_needs_no_compiler_where_nothing_is_to_be_built(ready: Checkout) -> None:
    shutil.rmtree(ready.site / 'mmdet-3.3.0.dist-info')
    ready.succeed(CC='no-such-cc')


def test_error_without_the_libraries_of_opencv(checkout: Checkout) -> None:
    error = checkout.fail(FAKE_MISSING_LIBRARIES='libGL.so.1')
    assert 'OpenCV needs libraries of the system that are missing: libGL.so.1' in error
    assert 'apt-get install libgl1' in error
    assert checkout.calls() == []


def test_error_on_a_full_disk(checkout: Checkout) -> None:
    set_disk(checkout.bin, megabytes=9_000)
    error = checkout.fail()
    # 6.5 GB installed, and 3.5 GB each in temporary files and in pip's cache
    assert 'too little disk: 13500 MB are needed' in error
    assert 'has 9000 MB free' in error
    assert checkout.calls() == []


def test_asks_for_less_disk_where_pip_keeps_no_cache(checkout: Checkout) -> None:
    set_disk(checkout.bin, megabytes=10_000)
    checkout.fail()
    checkout.succeed(PIP_NO_CACHE_DIR='1')


def test_asks_for_less_disk_where_torch_is_installed(ready: Checkout) -> None:
    set_disk(ready.bin, megabytes=2_000)
    shutil.rmtree(ready.site / 'opencv_python-5.0.0.93.dist-info')
    ready.succeed()
    set_disk(ready.bin, megabytes=1_000)
    shutil.rmtree(ready.site / 'opencv_python-5.0.0.93.dist-info')
    assert '2000 MB are needed' in ready.fail()


def test_error_of_pip_is_shown_and_the_next_call_goes_on(checkout: Checkout) -> None:
    error = checkout.fail(FAKE_PIP_FAILS_AT='mmpose==')
    assert 'ERROR: Could not find a version (connection refused)' in error
    assert 'Requirement already satisfied' not in error
    assert 'building xtcocotools, installing mmpose: pip failed' in error
    assert 'HTTPS_PROXY' in error
    assert 'Run this again' in error
    checkout.succeed()
    assert checkout.installed()['mmpose'] == '1.3.2'


def test_error_where_what_is_installed_does_not_import(ready: Checkout) -> None:
    write(ready.site / 'mmdet' / '__init__.py', "raise ImportError('libX.so.1')")
    (ready.venv / '.ldcrn_mm-setup').unlink()
    error = ready.fail()
    assert 'ImportError: libX.so.1' in error
    assert 'does not import' in error
    ready.fail()  # it is not taken for finished the next time


def test_error_for_an_unknown_argument(checkout: Checkout) -> None:
    assert 'unknown argument --cuda' in checkout.fail('--cuda')
    assert not checkout.venv.exists()


# --- --active -----------------------------------------------------------------


@pytest.mark.parametrize('variable', ['VIRTUAL_ENV', 'CONDA_PREFIX'])
def test_active_environment_is_used_and_found_again(checkout, variable) -> None:
    env = make_active(checkout)
    active = {variable: str(env)}
    checkout.succeed('--active', **active)
    assert len(checkout.calls(env)) == 3
    assert not checkout.venv.exists()
    found = checkout.succeed('--print-python', **active).stdout
    assert found == f'{env}/bin/python\n'
    assert checkout.calls(env) == []


def test_active_environment_is_left_alone_unless_asked_for(checkout: Checkout) -> None:
    env = make_active(checkout)
    checkout.succeed(VIRTUAL_ENV=str(env))
    assert checkout.calls(env) == []
    assert checkout.venv.is_dir()


def test_active_environment_of_another_checkout_is_left_alone(ready, tmp_path) -> None:
    second = Checkout(tmp_path / 'second', ready.machine, ready.environ)
    shutil.copytree(ready.root / 'tools', second.root / 'tools')
    second.succeed(VIRTUAL_ENV=str(ready.venv))
    assert ready.calls() == []
    assert second.venv.is_dir()


def test_error_without_an_active_environment(checkout: Checkout) -> None:
    assert 'no environment is active' in checkout.fail('--active')


def test_error_where_the_active_python_does_not_serve(checkout: Checkout) -> None:
    old = '#!/bin/sh\necho Python 3.8.1\nexit 1\n'
    write(checkout.machine / 'old' / 'bin' / 'python', old, 0o755)
    error = checkout.fail('--active', VIRTUAL_ENV=str(checkout.machine / 'old'))
    assert 'has no Python 3.11 or 3.12: Python 3.8.1' in error


# --- --with-mmcv-ops ----------------------------------------------------------


def test_ops_are_compiled_for_cpp20_and_replace_mmcv_lite(ready: Checkout) -> None:
    ready.succeed('--with-mmcv-ops')
    assert (ready.venv / 'compiled-setup.py').read_text() == (
        "extra_compile_args['cxx'] = ['-std=c++20']\n"
    )
    assert ready.installed()['mmcv'] == '2.1.0'
    assert 'mmcv_lite' not in ready.installed()
    assert list((ready.machine / 'tmp').iterdir()) == []


def test_ops_stay_when_the_flag_is_not_given_again(checkout: Checkout) -> None:
    checkout.succeed('--with-mmcv-ops')
    assert not any('mmcv-lite==' in call for call in checkout.calls())
    for arguments in (['--with-mmcv-ops'], []):
        checkout.succeed(*arguments)
        assert checkout.calls() == []
    shutil.rmtree(checkout.site / 'mmdet-3.3.0.dist-info')
    checkout.succeed()
    assert 'mmcv_lite' not in checkout.installed()


def test_ops_are_compiled_again_for_another_torch(checkout: Checkout) -> None:
    checkout.succeed('--with-mmcv-ops')
    checkout.calls()
    checkout.pin('torch==2.14.1', 'torch==2.15.0')
    checkout.succeed()
    assert any(call.startswith('wheel') for call in checkout.calls())


def test_ops_that_do_not_compile_leave_mmcv_lite(ready: Checkout) -> None:
    error = ready.fail('--with-mmcv-ops', FAKE_PIP_FAILS_AT='wheel')
    assert "compiling mmcv's ops" in error
    assert ready.installed()['mmcv_lite'] == '2.1.0'
    ready.succeed()


def test_error_for_ops_without_a_cpp20_compiler(ready: Checkout) -> None:
    assert 'C++20' in ready.fail('--with-mmcv-ops', CXX='no-such-cxx')
    assert ready.calls() == []


def test_error_for_ops_with_a_gpu_but_no_cuda_toolkit(ready: Checkout) -> None:
    error = ready.fail('--with-mmcv-ops', FAKE_GPU='1')
    assert 'CUDA toolkit (nvcc)' in error
    assert 'CUDA_VISIBLE_DEVICES= bash' in error


def test_mmcv_and_mmcv_lite_side_by_side_become_one(ready: Checkout) -> None:
    full = ready.site / 'mmcv-2.1.0.dist-info'
    write(full / 'METADATA', 'Name: mmcv\nVersion: 2.1.0\n')
    write(full / 'INSTALLER', 'pip')
    ready.succeed()
    # They share their files, so removing one breaks the other: both go first.
    assert ready.calls()[0] == 'uninstall --yes mmcv mmcv-lite'
    assert ready.installed()['mmcv_lite'] == '2.1.0'
    assert not full.exists()

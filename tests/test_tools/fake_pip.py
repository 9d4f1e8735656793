"""Stands in for pip in the tests of setup_env.sh: same words, no network.

It "installs" a distribution by writing its metadata, leaves alone what is there at
the asked version, and notes every call in ``pip-calls.txt`` of the environment.
``FAKE_PIP_FAILS_AT`` (a part of a call) makes it fail as pip does without network.
"""

import os
import re
import shutil
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

SITE = Path(__file__).parent.parent


def install(
    name: str, version: str, files: tuple[str, ...] = (), url: str = ''
) -> None:
    try:
        if distribution(name).version.split('+')[0] == version and not url:
            return
    except PackageNotFoundError:
        pass
    uninstall(name)
    folder = SITE / f'{name.replace("-", "_")}-{version}.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text(f'Name: {name}\nVersion: {version}\n')
    (folder / 'RECORD').write_text(''.join(f'{file},,\n' for file in files))
    (folder / 'INSTALLER').write_text('pip\n')
    if url:
        (folder / 'direct_url.json').write_text(f'{{"url": "{url}"}}')


def uninstall(name: str) -> None:
    for folder in SITE.glob(f'{name.replace("-", "_")}-*.dist-info'):
        shutil.rmtree(folder)


def install_all(arguments: list[str]) -> None:
    specs = [argument for argument in arguments if '==' in argument]
    if '--editable' in arguments:
        url = value_of('--editable', arguments).as_uri()
        install('mmpose-ldcrn', '0.1.0', url=url)
    for spec in specs:
        install(*spec.split('=='))
    for wheel in (x for x in arguments if x.endswith('.whl')):
        name, version = Path(wheel).name.split('-')[:2]
        install(name, version, files=('mmcv/_ext.so',))


def value_of(option: str, arguments: list[str]) -> Path:
    return Path(arguments[arguments.index(option) + 1])


def download(arguments: list[str]) -> None:
    name, version = arguments[-1].split('==')
    work = value_of('--dest', arguments)
    source = work / 'made' / f'{name}-{version}'
    source.mkdir(parents=True)
    (source / 'setup.py').write_text("extra_compile_args['cxx'] = ['-std=c++17']\n")
    with tarfile.open(work / f'{name}-{version}.tar.gz', 'w:gz') as archive:
        archive.add(source, source.name)


def build_wheel(arguments: list[str]) -> None:
    source = Path(arguments[-1])
    shutil.copy(source / 'setup.py', Path(sys.prefix, 'compiled-setup.py'))
    wheel = value_of('--wheel-dir', arguments) / f'{source.name}-cp311-linux.whl'
    wheel.write_text(os.environ.get('MMCV_WITH_OPS', 'unset'))


def read_arguments() -> list[str]:
    """The call without what all have, and with what stands in requirement files."""
    arguments = [x for x in sys.argv[1:] if not re.match('--(disable|no-input)', x)]
    if '--requirement' in arguments:
        file = value_of('--requirement', arguments)
        specs = [x for x in file.read_text().split() if '==' in x]
        arguments = [x for x in arguments if x != str(file)] + specs
    return arguments


def main() -> None:
    arguments = read_arguments()
    call = ' '.join(arguments)
    with Path(sys.prefix, 'pip-calls.txt').open('a') as calls:
        calls.write(f'{call}\n')
    failing = os.environ.get('FAKE_PIP_FAILS_AT')
    if failing and failing in call:
        print('Requirement already satisfied: what nobody needs to read')
        sys.exit('ERROR: Could not find a version (connection refused)')
    command, *rest = arguments
    if command == 'install':
        install_all(rest)
    elif command == 'uninstall':
        for name in rest:
            uninstall(name)
    else:
        {'download': download, 'wheel': build_wheel}[command](rest)


if __name__ == '__main__':
    main()

"""Runs a tool of this package or of MMPose, with this package imported first.

    python -m ldcrn_mm train CONFIG
    python -m ldcrn_mm get_flops CONFIG
    python -m ldcrn_mm their_script.py ...

What needs it: scripts that import mmpose.apis before they read a config, where
mmcv's ops are not compiled, and configs with `_base_ = 'ldcrn_mm::...'` in tools
that do not import ldcrn_mm.
"""

import difflib
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ('ldcrn_mm', 'mmpose')  # in this order, where both have a tool


def installed_tools() -> dict[str, Path]:
    """Scripts in the ``.mim`` folders of the two packages, by name."""
    tools: dict[str, Path] = {}
    for package in PACKAGES:
        mim = Path(find_spec(package).origin).parent / '.mim'
        for pattern in ('tools/*.py', 'tools/*/*.py', 'demo/*.py'):
            for path in sorted(mim.glob(pattern)):
                tools.setdefault(path.stem, path)
    return tools


def find_tool(name: str) -> Path:
    """The script of a path or a name.

    Raises:
        SystemExit: there is none; names those that come close.
    """
    if Path(name).is_file():
        return Path(name)
    tools = installed_tools()
    if name not in tools:
        close = ', '.join(difflib.get_close_matches(name, tools))
        sys.exit(
            f'ldcrn_mm: {name!r} is neither a file nor a tool that ldcrn_mm or mmpose '
            f'installs.{close and f" Is it one of {close}?"} '
            '`python -m ldcrn_mm --help` lists them.'
        )
    return tools[name]


def main() -> None:
    """Runs it as ``python TOOL ARGUMENTS`` would."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(f'{__doc__}\nTools: {", ".join(sorted(installed_tools()))}')
        sys.exit(0 if len(sys.argv) > 1 else 2)
    tool = find_tool(sys.argv[1])
    sys.argv[:] = [str(tool), *sys.argv[2:]]
    sys.path[0] = str(tool.parent.resolve())
    runpy.run_path(str(tool), run_name='__main__')


if __name__ == '__main__':
    main()

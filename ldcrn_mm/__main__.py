"""Runs a tool of this package or of MMPose, with this package imported first.

    ldcrn demo photo.jpg
    ldcrn train CONFIG
    ldcrn get_flops CONFIG
    ldcrn ./their_script.py ...

`python -m ldcrn_mm` does the same. Use it for scripts that import mmpose.apis before
they read a config, if mmcv's ops are not compiled, and for tools that do not import
ldcrn_mm, if a config has `_base_ = 'ldcrn_mm::...'`.
"""

import difflib
import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ('ldcrn_mm', 'mmpose')  # in this order, where both have a tool


def tools_of(package: str) -> dict[str, Path]:
    """Scripts in the ``.mim`` folder of a package, by name. Does not import it."""
    spec = find_spec(package)
    mim = (
        Path(spec.origin).parent / '.mim' if spec and spec.origin else Path(os.devnull)
    )
    patterns = ('tools/*.py', 'tools/*/*.py', 'demo/*.py')
    found = (path for pattern in patterns for path in sorted(mim.glob(pattern)))
    return {path.stem: path for path in found}


def find_tool(name: str) -> Path:
    """The script of a name, or of a path, which has a separator or ends in ``.py``.

    Raises:
        SystemExit: there is none. Names similar ones.
    """
    if name.endswith('.py') or os.sep in name:
        if Path(name).is_file():
            return Path(name)
        sys.exit(f'ldcrn: no file {name}')
    ours, theirs = map(tools_of, PACKAGES)
    tools = theirs | ours
    if name not in tools:
        close = ', '.join(difflib.get_close_matches(name, tools))
        sys.exit(
            f'ldcrn: {name!r} is no tool of ldcrn_mm or mmpose.'
            f'{close and f" Is it one of {close}?"} `ldcrn --help` lists them. '
            'A script of your own is named by its path: ./script.py'
        )
    return tools[name]


def main() -> None:
    """Runs it as ``python TOOL ARGUMENTS`` would."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__)
        ours, theirs = map(tools_of, PACKAGES)
        print('Our tools:', ', '.join(sorted(ours)))
        print("MMPose's tools:", ', '.join(sorted(theirs.keys() - ours)))
        sys.exit(0 if len(sys.argv) > 1 else 2)
    tool = find_tool(sys.argv[1])
    sys.stdout.reconfigure(errors='backslashreplace')  # names that it cannot encode
    import ldcrn_mm  # noqa: F401

    sys.argv[:] = [str(tool), *sys.argv[2:]]
    if not getattr(sys.flags, 'safe_path', False):  # python -P, since Python 3.11
        sys.path[0] = str(tool.parent.resolve())
    runpy.run_path(str(tool), run_name='__main__')


if __name__ == '__main__':
    main()

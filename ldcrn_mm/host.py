"""Whether the libraries that this package plugs into are there and fit together."""

import importlib.util
from importlib import metadata

# setuptools >= 82 has no pkg_resources, which mmengine 0.10 imports to resolve
# `mmpose::...`.
HOST = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpose', 'pycocotools', 'pkg_resources')
INSTALL = """\
Two commands in a checkout of this project install what is missing:
    pip install .
    pip install --no-deps mmpose==1.3.2
(Without --no-deps mmpose wants chumpy, which it does not use and which does not
build: open-mmlab/mmpose#3218.) `bash tools/setup_env.sh` makes an environment with
the tested versions."""
MMCV_OR_MMDET = """\
Two ways out. Exchange mmcv:
    pip uninstall --yes mmcv mmcv-lite
    pip install --no-deps mmcv-lite==2.1.0
Or exchange mmdet:
    pip uninstall --yes mmdet
    pip install --no-deps onedl-mmdetection==3.5.1"""


def check_host() -> None:
    """Checks that the libraries are there and fit together.

    Raises:
        ImportError: names those that are missing or do not fit, and what to do.
    """
    missing = [name for name in HOST if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'ldcrn_mm is a plugin of MMPose and cannot find {", ".join(missing)}.\n'
            + INSTALL
        )
    try:
        version = metadata.version('mmpose')
    except metadata.PackageNotFoundError:  # a checkout on the path, for example
        version = '1'
    if version.split('.')[0] != '1':
        raise ImportError(
            f'ldcrn_mm is a plugin of MMPose 1.x, but mmpose is {version}.\n' + INSTALL
        )
    try:
        import mmdet  # noqa: F401  (asserts a version of mmcv; mmpose imports it)
    except AssertionError as error:
        raise ImportError(
            f'mmdet and mmcv do not fit: {error}\n{MMCV_OR_MMDET}'
        ) from None

"""The libraries that this package plugs into: are they there, and do they fit."""

import importlib.util
from importlib import metadata

# What has to be importable. setuptools >= 82 came without pkg_resources, by which
# mmengine 0.10 resolves `mmpose::...`.
HOST = ('torch', 'mmengine', 'mmcv', 'mmpose', 'xtcocotools', 'pkg_resources')
INSTALL = """\
In a checkout of this project one command installs all of it at tested versions:
    bash tools/setup_env.sh
By hand, in this environment (a C compiler is needed for xtcocotools):
    pip install torch torchvision 'numpy<2.4' 'setuptools<82' cython \\
        mmengine==0.10.7 mmcv-lite==2.1.0 mmdet==3.3.0 pycocotools \\
        opencv-python json_tricks matplotlib munkres pillow scipy six
    pip install --no-deps --no-build-isolation --no-binary xtcocotools \\
        xtcocotools==1.14.3 mmpose==1.3.2
(mmpose without its dependencies, because it declares chumpy, which it does not
use and which does not build: open-mmlab/mmpose#3218.)"""


def check_host() -> None:
    """Raises where a library of the host is missing, or MMPose of a foreign major.

    Raises:
        ImportError: names what is missing and the commands that install it.
    """
    missing = [name for name in HOST if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'ldcrn_mm is a plugin of MMPose and cannot find {", ".join(missing)}.\n'
            + INSTALL
        )
    try:
        version = metadata.version('mmpose')
    except metadata.PackageNotFoundError:  # a checkout on the path, say
        return
    if not version.startswith('1.'):
        raise ImportError(
            f'ldcrn_mm is a plugin of MMPose 1.x, but mmpose is {version}.\n' + INSTALL
        )

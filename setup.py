"""Packages ``ldcrn_mm``, with the files that OpenMMLab's tools look for in it.

MMEngine, mim and MMPose's inferencer find a package's configs, tools and model
index in ``<package>/.mim``. Wheels and source distributions get copies there,
editable installs links.
"""

import os
import re
import shutil
import sysconfig
from importlib import metadata
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
PACKAGE = 'ldcrn_mm'
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')

# All but mmpose: it requires chumpy, which it never imports and which does not build
# (open-mmlab/mmpose#3218), so that pip would fail on this package too. Tested versions
# are in tools/pins.txt.
REQUIREMENTS = [
    'Jinja2',
    'json_tricks',
    'matplotlib',
    'mmcv-lite>=2.0.0,<2.2',  # mmdet 3.3 refuses 2.2
    'mmdet>=3.2,<3.4',  # 3.1 refuses mmcv 2.1
    'mmengine>=0.10,<1',
    'munkres',
    'numpy>=1.26',
    'opencv-python',
    'pillow',
    'pycocotools>=2.0.7',
    'pyyaml',
    'scipy',
    'setuptools<82',  # mmengine imports its pkg_resources
    'torch>=2.1',
    'torchvision',
]
EXTRAS = {
    'dev': [
        'codespell>=2.3',
        'hypothesis>=6.100',
        'pytest>=8.0',
        'pytest-xdist>=3.5',
        'ruff>=0.9',
        'tensorboard>=2.16',
    ],
    'docs': ['mkdocs-material>=9.5', 'mkdocstrings[python]>=1.0', 'ruff>=0.9'],
    'runtimes': [
        'nncf>=3.0',
        'onnx>=1.18',
        'onnxruntime>=1.22',
        'onnxscript>=0.5',
        'openvino>=2025.4',
    ],
}
# Distributions of the same module. pip would write one over the other.
STAND_INS = {
    'mmcv-lite': ('mmcv', 'onedl-mmcv'),
    'mmdet': ('onedl-mmdetection',),
    'mmengine': ('mmengine-lite', 'onedl-mmengine'),
}


def empty_mim(package: Path) -> Path:
    """Returns the ``.mim`` folder of a package, new and empty."""
    mim = package / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    return mim


def copy_mim(package: Path) -> None:
    """Fills ``.mim`` of a package that leaves the checkout."""
    mim = empty_mim(package)
    for name in MIM_ENTRIES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '*.py[cod]')
            shutil.copytree(ROOT / name, mim / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, mim)


class BuildPy(build_py):
    """The modules, and in a wheel also ``.mim``."""

    def run(self) -> None:
        """Copies into the build folder, which may hold modules that are gone."""
        shutil.rmtree(Path(self.build_lib) / PACKAGE, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            copy_mim(Path(self.build_lib) / PACKAGE)


class SourceDistribution(sdist):
    """The sources, with ``.mim`` already in place."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copies into the tree that becomes the archive."""
        super().make_release_tree(base_dir, files)
        copy_mim(Path(base_dir) / PACKAGE)


class EditableWheel(editable_wheel):
    """The editable install, with ``.mim`` linked to the checkout."""

    def run(self) -> None:
        """Links within the checkout, so that edits of configs are seen."""
        mim = empty_mim(ROOT / PACKAGE)
        for name in MIM_ENTRIES:
            (mim / name).symlink_to(Path('..', '..', name))
        super().run()


def requirements() -> list[str]:
    """Lists what to install, without modules that another distribution provides.

    As in mmcv's own setup.py, this looks at the environment that the package is
    installed into, which pip's isolated builds still name.
    """
    # Only `pip install` does: a wheel that is kept goes elsewhere and requires all.
    parent = Path(f'/proc/{os.getppid()}/cmdline')
    if not parent.is_file() or b'install' not in parent.read_bytes().split(b'\0'):
        return REQUIREMENTS
    paths = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
    found = metadata.distributions(path=[*paths])
    there = {str(x.metadata['Name']).lower().replace('_', '-') for x in found}

    def is_missing(requirement: str) -> bool:
        name = re.split('[<>=]', requirement)[0]
        return there.isdisjoint(STAND_INS.get(name, ()))

    return [*filter(is_missing, REQUIREMENTS)]


def version() -> str:
    """Reads the version without importing the package, which needs its host."""
    source = (ROOT / PACKAGE / '__init__.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"no line __version__ = '...' in {PACKAGE}/__init__.py")
    return match[1]


setup(
    name='mmpose-ldcrn',  # not the module's: mmengine could not find it if editable
    version=version(),
    description='LDCRN, a lightweight densely connected residual network for '
    'human pose estimation, as a plugin of MMPose',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 15)),
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    scripts=['tools/ldcrn'],  # an entry point would import the package for --help
    include_package_data=True,  # of the package's folders, what MANIFEST.in keeps
    install_requires=requirements(),
    extras_require=EXTRAS,
    zip_safe=False,
    cmdclass={
        'build_py': BuildPy,
        'editable_wheel': EditableWheel,
        'sdist': SourceDistribution,
    },
)

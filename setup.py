"""Packages ``ldcrn_mm``, with the files that OpenMMLab's tools look for in it.

MMEngine, mim and MMPose's inferencer find a package's configs, tools and model
index in ``<package>/.mim``. Wheels and source distributions get copies there,
editable installs links.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
PACKAGE = 'ldcrn_mm'
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')


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
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.11',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    include_package_data=True,  # of the package's folders, what MANIFEST.in keeps
    # No requirement on mmpose: it requires chumpy, which it never imports and which
    # does not build (open-mmlab/mmpose#3218), so that pip would fail on ours too.
    # tools/setup_env.sh installs the stack; without it `import ldcrn_mm` says how.
    install_requires=[],
    extras_require={
        'dev': ['codespell', 'pre-commit', 'pytest', 'ruff', 'tensorboard'],
        'runtimes': ['nncf', 'onnx', 'onnxruntime', 'onnxscript', 'openvino'],
    },
    zip_safe=False,
    cmdclass={
        'build_py': BuildPy,
        'editable_wheel': EditableWheel,
        'sdist': SourceDistribution,
    },
)

"""Child registries of MMPose's, so that ``ldcrn_mm`` is a scope of its own.

The modules are registered in :mod:`mmpose.registry`, because a model inherited from an
``mmpose::`` config is built in that scope and has to find them. The children below are
empty and look in MMPose's registries. They let ``default_scope = 'ldcrn_mm'`` in a
config, or ``MMPoseInferencer(..., scope='ldcrn_mm')``, import this package.
"""

import sys

import mmpose.registry as host
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmengine.registry import init_default_scope as set_default_scope

SCOPE = 'ldcrn_mm'
CHILDREN = {
    name: Registry(
        parent.name,
        parent=parent,
        scope=SCOPE,
        locations=[*parent._locations, SCOPE],
    )
    for name, parent in vars(host).items()
    if isinstance(parent, Registry) and parent.scope == 'mmpose'
}
globals().update(CHILDREN)
__all__ = [*CHILDREN]


def register_all_modules(init_default_scope: bool = True) -> None:
    """Does what OpenMMLab's function of this name does in every package.

    Importing ``ldcrn_mm`` has registered its modules already. MMPose's are registered
    when they are looked up.

    Args:
        init_default_scope: make ``ldcrn_mm`` the scope in which registries look.
    """
    if init_default_scope:
        set_default_scope(SCOPE)


def make_resolvable() -> None:
    """Lets ``_base_ = 'ldcrn_mm::folder/config.py'`` find our configs.

    MMEngine maps the name to a distribution and looks in its folder of site-packages,
    where an editable install has nothing. The module's own name is no distribution, so
    MMEngine asks Python for the module instead.

    ``mmengine.hub.get_model`` then imports ``<package>.utils``, where every package of
    OpenMMLab has its ``register_all_modules``. Here that is this module.
    """
    MODULE2PACKAGE['ldcrn_mm'] = 'ldcrn_mm'
    sys.modules['ldcrn_mm.utils'] = sys.modules[__name__]

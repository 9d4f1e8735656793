"""Child registries of MMPose's, so that ``ldcrn_mm`` is a scope of its own.

The modules themselves are registered in :mod:`mmpose.registry`: a model
inherited from an ``mmpose::`` config is built in that scope and has to find
them. The children below are empty and only look further, in MMPose's
registries; with them ``default_scope = 'ldcrn_mm'`` in a config, or
``MMPoseInferencer(..., scope='ldcrn_mm')``, imports this package by itself.
"""

import mmpose.registry as host
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry


def _child(parent: Registry) -> Registry:
    return Registry(
        parent.name,
        parent=parent,
        scope='ldcrn_mm',
        locations=[*parent._locations, 'ldcrn_mm'],
    )


CHILDREN = {
    name: _child(parent)
    for name, parent in vars(host).items()
    if isinstance(parent, Registry) and parent.scope == 'mmpose'
}
globals().update(CHILDREN)
__all__ = [*CHILDREN]


def make_resolvable() -> None:
    """Lets ``_base_ = 'ldcrn_mm::folder/config.py'`` find our configs.

    MMEngine maps the name to a distribution and looks in its folder of
    site-packages, where an editable install has nothing. No distribution has
    the module's own name, so it asks Python for the module instead.
    """
    MODULE2PACKAGE['ldcrn_mm'] = 'ldcrn_mm'

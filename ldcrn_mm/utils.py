"""Not a place for odds and ends: the name that MMEngine's hub asks packages for.

``mmengine.hub.get_model('ldcrn_mm::...')`` imports ``<package>.utils`` and calls
its ``register_all_modules``, as every package of OpenMMLab has it.
"""

from mmengine.registry import init_default_scope as set_default_scope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Registers this package's modules; MMPose's follow when they are looked up.

    The registering is what the import of ``ldcrn_mm`` has done by now.

    Args:
        init_default_scope: also makes ``ldcrn_mm`` the scope in which registries
            look from now on.
    """
    if init_default_scope:
        set_default_scope('ldcrn_mm')

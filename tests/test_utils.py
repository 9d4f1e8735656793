import mmengine.hub
import pytest
from mmengine.registry import DefaultScope

from ldcrn_mm.models import LDCRN, LDCRNHead
from ldcrn_mm.utils import register_all_modules


def current_scope():
    return DefaultScope.get_current_instance().scope_name


def test_the_hub_of_mmengine_builds_a_model_by_name():
    model = mmengine.hub.get_model(
        'ldcrn_mm::ldcrn/td-hm_ldcrn-tiny_synthetic-128x96.py'
    )

    assert isinstance(model.backbone, LDCRN)
    assert isinstance(model.head, LDCRNHead)


@pytest.mark.parametrize(
    ('init_default_scope', 'scope'), [(True, 'ldcrn_mm'), (False, 'mmengine')]
)
def test_the_scope_is_set_only_where_asked_for(init_default_scope, scope):
    with DefaultScope.overwrite_default_scope('mmengine'):
        register_all_modules(init_default_scope)

        assert current_scope() == scope

import pytest
import torch

from ldcrn_mm.deploy.trained import form_to_export, load_estimator

from .conftest import noise


def test_the_weights_are_those_of_the_checkpoint(config, estimator, tmp_path):
    file = tmp_path / 'tiny.pth'
    torch.save(dict(state_dict=estimator.state_dict()), file)

    model = load_estimator(config, str(file))

    torch.testing.assert_close(model.state_dict(), estimator.state_dict())
    assert not model.training


def test_a_checkpoint_of_another_model_is_refused(config, estimator, tmp_path):
    state = estimator.state_dict()
    del state['head.final_layer.weight']
    torch.save(dict(state_dict=state), tmp_path / 'tiny.pth')

    with pytest.raises(ValueError, match='1 missing'):
        load_estimator(config, str(tmp_path / 'tiny.pth'))


def test_the_deploy_form_of_ldcrn_is_exported(estimator):
    form = form_to_export(estimator)
    images = noise(2, 3, 64, 48)

    assert len(form.state_dict()) != len(estimator.state_dict())
    torch.testing.assert_close(
        form(images, None, mode='tensor'),
        estimator(images, None, mode='tensor'),
        rtol=1e-5,
        atol=1e-4,  # of values up to 30
    )


def test_another_network_is_exported_as_it_is():
    other = torch.nn.Conv2d(3, 3, 1)

    assert form_to_export(other) is other

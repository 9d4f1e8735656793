"""Loading a checkpoint into the model of its config, or saying that it is not."""

import re
from collections import OrderedDict
from collections.abc import Mapping

from mmengine.model import is_model_wrapper
from torch import Tensor, nn


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, Tensor], source: object
) -> None:
    """Loads weights, all of which must fit.

    MMEngine's ``load_checkpoint`` warns about weights that do not fit and
    goes on with random ones, which predict noise. Here only the weights of
    modules that the model does not have at all, such as a teacher, are ignored.

    Args:
        model: gets the weights, also where it is wrapped for several GPUs.
        checkpoint: a state dict, or a dict with one under ``state_dict``.
        source: where it is from, for the error.

    Raises:
        ValueError: says how many weights are missing, of another shape or
            unknown to the model, with an example of each.
    """
    if is_model_wrapper(model):
        model = model.module
    state = _without_wrapper(checkpoint.get('state_dict', checkpoint))
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    misshapen = {
        name: tuple(state.pop(name).shape)
        for name in own
        if name in state and tuple(state[name].shape) != own[name]
    }
    missing, unknown = model.load_state_dict(state, strict=False)
    problems = {
        'missing': [name for name in missing if name not in misshapen],
        'of another shape': [
            f'{name} {shape} instead of {own[name]}'
            for name, shape in misshapen.items()
        ],
        'unknown': [name for name in unknown if hasattr(model, name.split('.')[0])],
    }
    found = [
        f'{len(names)} {what} (such as {names[0]})'
        for what, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(
            f'`{source}` is no checkpoint of the model in the config. Of {len(own)} '
            f'weights expected: {", ".join(found)}.'
        )


def _without_wrapper(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Strips the prefix of DistributedDataParallel, keeps the modules' versions."""
    stripped = OrderedDict(
        (re.sub(r'^module\.', '', name), value) for name, value in state.items()
    )
    stripped._metadata = getattr(state, '_metadata', OrderedDict())
    return stripped

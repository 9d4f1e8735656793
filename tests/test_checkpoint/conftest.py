"""What PyTorch alone makes of a file."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def load_bare() -> Callable[..., dict]:
    """``torch.load`` without the types that this package lets it read."""

    def load(path: object) -> dict:
        allowed = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            return torch.load(path, weights_only=True)
        finally:
            torch.serialization.add_safe_globals(allowed)

    return load

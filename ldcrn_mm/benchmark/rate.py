"""The best rate of multiply-adds that this machine reaches in PyTorch.

That of some convolutions such as networks are made of, in their best layouts,
and of a product of matrices: what a network could come near to at best, if all
of its operations were like these.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.mkldnn import to_mkldnn

from ..training.precision import cpu_computes_in
from .rounds import Measurement
from .statistics import Summary
from .worker import Call, Contender

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
# Channels of 3x3 convolutions on a map of a 256x192 image at stride 4
CONVOLUTIONS = {
    '3x3 convolution 64-64, channels-last': 64,
    '3x3 convolution 64-64, blocked': 64,
    '3x3 convolution 128-128, channels-last': 128,
    '3x3 convolution 128-128, blocked': 128,
}
HEIGHT, WIDTH = 64, 48
MATRIX = 'product of 1024x1024 matrices'
MATRIX_SIZE = 1024
PRODUCTS = (*CONVOLUTIONS, MATRIX)


def multiply_adds(product: str) -> int:
    """What one of :data:`PRODUCTS` takes, its padding included."""
    if product == MATRIX:
        return MATRIX_SIZE**3
    return CONVOLUTIONS[product] ** 2 * 9 * HEIGHT * WIDTH


def contender(precision: str, device: str) -> Contender:
    """What measures the rate beside the others.

    Args:
        precision: one of :data:`DTYPES`.
        device: such as ``'cpu'``.
    """
    # oneDNN's own layout is for CPUs that compute in the precision.
    blocked = device == 'cpu' and cpu_computes_in(DTYPES[precision])
    products = tuple(
        name for name in PRODUCTS if blocked or not name.endswith('blocked')
    )
    return Contender(
        f'best rate, {precision}',
        build,
        dict(precision=precision, device=device),
        products,
        device,
    )


def build(precision: str, device: str) -> Callable[[str], Call]:
    """Makes the calls that compute one of :data:`PRODUCTS`."""
    dtype = DTYPES[precision]

    def prepare(product: str) -> Call:
        if product == MATRIX:
            matrix = torch.randn(MATRIX_SIZE, MATRIX_SIZE).to(device, dtype)
            return lambda: matrix @ matrix
        convolution, images = _convolution(product, dtype, device)
        return torch.no_grad()(lambda: convolution(images))

    return prepare


def _convolution(
    product: str, dtype: torch.dtype, device: str
) -> tuple[nn.Module, Tensor]:
    channels = CONVOLUTIONS[product]
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
    images = torch.randn(1, channels, HEIGHT, WIDTH)
    if product.endswith('blocked'):  # oneDNN's own layout, as runtimes use it
        images = images.to_mkldnn(dtype)
        return to_mkldnn(convolution, dtype), images
    layout = dict(device=device, dtype=dtype, memory_format=torch.channels_last)
    return convolution.to(**layout), images.to(**layout)


def best_rate(measurement: Measurement) -> tuple[str, Sequence[float]] | None:
    """The product with the best rate.

    Args:
        measurement: of a :func:`contender`.

    Returns:
        Its name and its multiply-adds a second in each round; ``None`` where
        none could be measured.
    """
    found = {
        product: [multiply_adds(product) / time for time in times]
        for product, times in measurement.times.items()
    }
    if not found:
        return None
    best = max(found, key=lambda product: Summary.of(found[product]).median)
    return best, found[best]

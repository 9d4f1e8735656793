"""What the runtimes have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Shape = Sequence[int | str | None]  # what varies has a name, or none
Outputs = np.ndarray | tuple[np.ndarray, ...]

# Where an exported file says which precision it was exported for.
PRECISION_KEY = 'ldcrn_mm.precision'
# The outputs of a network with the decoding in its graph
DECODED_OUTPUTS = ('keypoints', 'scores')


class Runtime(ABC):
    """An exported network, called like a function.

    Shape: float32 images ``(N, 3, H, W)``, normalised as the config's
    preprocessor does it, to the network's output or, where it has several, a
    tuple of them: heatmaps ``(N, K, H/4, W/4)``, or keypoints ``(N, K, 2)`` in
    pixels of the input and scores ``(N, K)``, all float32.

    Attributes:
        path: the file.
        name: the runtime's name, version and device.
        input_size: (width, height) of the images.
        precision: of the computation: ``'fp32'``, ``'fp16'``, ``'bf16'`` or
            ``'int8'``.
        output_names: names of the outputs, in their order.
        num_keypoints: number of heatmaps, or of keypoints, ``None`` where the
            file does not say.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        input_shape: Shape,
        outputs: Mapping[str, Shape],
        precision: str,
    ) -> None:
        self.path = path
        self.name = name
        self.input_size = _input_size(path, input_shape)
        self.output_names = tuple(outputs)
        channels = [*next(iter(outputs.values())), None, None][1]
        self.num_keypoints = channels if isinstance(channels, int) else None
        self.precision = precision

    @property
    def decoded(self) -> bool:
        """Whether the outputs are keypoints and scores instead of heatmaps."""
        return self.output_names == DECODED_OUTPUTS

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the network.

        Args:
            images: (N, 3, H, W), float32, normalised.

        Raises:
            TypeError: where the images are no numpy array.
            ValueError: where they are not as the network takes them.
        """
        if not isinstance(images, np.ndarray):
            raise TypeError(
                f'`{self.path}` takes a numpy array, but got {type(images).__name__}. '
                'Of a tensor it is tensor.cpu().numpy().'
            )
        width, height = self.input_size
        expected = (3, height, width)
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise ValueError(
                f'`{self.path}` takes images of shape (N, 3, {height}, {width}), N > '
                f'0, but got {images.shape}.'
            )
        if images.dtype != np.float32:
            raise ValueError(f'`{self.path}` takes float32, but got {images.dtype}.')
        outputs = self._run(np.ascontiguousarray(images))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def __deepcopy__(self, memo: dict) -> 'Runtime':
        """Itself: nothing changes it, and hooks (EMA) copy the model it is in."""
        return self

    @abstractmethod
    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """The outputs in their order."""


def _input_size(path: Path, shape: Shape) -> tuple[int, int]:
    sides = shape[2:]
    if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in sides):
        raise ValueError(
            f'`{path}` is no network that can be used here: expected an input of shape '
            f'(N, 3, H, W) with fixed height and width, but it is {tuple(shape)}.'
        )
    return int(sides[1]), int(sides[0])


def choose_precision(
    path: Path, stored: str | None, wanted: str | None, possible: tuple[str, ...]
) -> str:
    """The precision to compute in.

    Args:
        path: of the file, for the error.
        stored: what the file was exported for, where it says.
        wanted: what the user wants, ``None`` for what is stored.
        possible: what a file that was not quantized can be run in.

    Raises:
        ValueError: where the wanted is not possible; names what is.
    """
    stored = stored or 'fp32'
    if wanted in (None, stored):
        return stored
    if stored == 'int8' or wanted not in possible:
        choice = {stored} if stored == 'int8' else {stored, *possible}
        raise ValueError(
            f'`{path}` can be run in {" or ".join(sorted(choice))}, not in {wanted}. '
            'tools/export.py writes files of other precisions.'
        )
    return wanted

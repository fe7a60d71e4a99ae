"""The interface of a framework for a training, and its two implementations.

Everything else of a training (recipe, data, stages, curves, files) is the same in both. NumPy arrays under
native names cross the border. Importing one backend never imports the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, SupportsFloat

import numpy as np

from models.training.batches import Batch
from models.training.recipe import Recipe, Stage


class Backend(Protocol):
    """A network in training: the weights, their average over the last steps, and the step of a stage."""

    @property
    def release(self) -> dict[str, str]:
        """The framework's name and release, for the checkpoint's sidecar."""
        ...

    @property
    def feeders(self) -> int:
        """How many processes prepare batches if the recipe does not say."""
        ...

    def begin(self, stage: Stage, learning_rates: list[float], seed: int) -> None:
        """Makes the step of a stage, with fresh moments; it starts from what :meth:`parameters` gives."""
        ...

    def step(self, batch: Batch) -> SupportsFloat:
        """The loss before the step."""
        ...

    def read(self, images: np.ndarray) -> list[np.ndarray]:
        """Images (N, 3, 32, 128), N always the same -> logits (N, T, classes): vision, then language and
        fused of every iteration."""
        ...

    def spell(self, probabilities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The language model's logits for probabilities (N, T, classes) and lengths (N,)."""
        ...

    def read_with(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Uses these native parameters for reading and spelling until the next step."""
        ...

    def parameters(self) -> dict[str, np.ndarray]:
        """The native parameters, averaged over the last steps if the recipe says so. They are used for
        reading, spelling and saving.
        """
        ...

    def load(self, parameters: Mapping[str, np.ndarray], source: str) -> None:
        """Sets all native parameters.

        Raises:
            CheckpointError: those of ``source`` do not fit the network.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """All values that the stage's next steps depend on, under the framework's own names."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`state`, after :meth:`begin`.

        Raises:
            ValueError: the state of another recipe or framework; the message names what does not fit.
        """
        ...


def open_backend(recipe: Recipe, ranks: int = 1) -> Backend:
    """The backend that the recipe names, with its network's initial weights.

    Raises:
        ValueError: this framework does not do what the recipe asks for.
        ModuleNotFoundError: the framework is not installed.
    """
    if recipe.system.framework == "torch":
        from models.training.backends.torch_backend import TorchBackend

        return TorchBackend(recipe)
    from models.training.backends.mindspore_backend import MindSporeBackend

    return MindSporeBackend(recipe, ranks)


def averaging_share(steps: int, decay: float) -> float:
    """The share of the new weights in the average after this many ``steps`` of the stage: 1 - ``decay`` in
    the long run, and more at first, so that the average soon forgets where the stage began.
    """
    return 1.0 - min(decay, (1 + steps) / (10 + steps))


def check_state(state: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError, naming it, if one of the ``wanted`` arrays is missing or has another shape."""
    for name, shape in wanted.items():
        if name not in state or state[name].shape != shape:
            raise ValueError(name)

"""How sure a network must be for early stop to leave out refinements: two thresholds in a checkpoint's
NAME.json and in its bundles' manifests.
"""

from dataclasses import dataclass
from typing import Any, Mapping


@dataclass(frozen=True)
class EarlyStop:
    """Probabilities that the least sure character, or the stop, must reach: ``vision`` to leave out all
    refinements, ``settled`` to end after a refinement that changed nothing.

    ``loss`` is what they were allowed to cost, in points of word accuracy; ``crops`` is the number of crops
    that they were chosen on.
    """

    vision: float = 0.98
    settled: float = 0.9
    loss: float = 0.0
    crops: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.vision <= 1 and 0 < self.settled <= 1):
            raise ValueError(
                f"early stop has thresholds above 0 and at most 1, not {self.vision} and {self.settled}; "
                "choose them with abinet calibrate"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EarlyStop":
        """From JSON values; unknown keys raise TypeError."""
        return cls(**values)

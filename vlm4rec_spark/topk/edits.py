"""Edits in words: 'more linen, no florals', as arithmetic on unit vectors.

edited = (v + s x sum of what is wanted more - s x sum of what is wanted less), scaled to length 1,
all in the space of the items. It is the query of Rocchio (1971) with phrases in place of documents:
close enough to a phrase, an item gains s x cosine in score, whatever the sentence was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.errors import ConfigError, Vlm4RecError

if TYPE_CHECKING:
    from collections.abc import Callable

    Vectors = npt.NDArray[np.float32]

STRENGTH = 0.5
SMALLEST_NORM = 1e-3


@dataclass(frozen=True)
class Edit:
    """What is wanted more, and what less, in phrases."""

    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    strength: float = STRENGTH
    """s: weight of one phrase beside the sentence or the profile."""

    def __post_init__(self) -> None:
        """Check the edit.

        Raises:
            ConfigError: the strength is below 0, or a phrase is blank.
        """
        if not 0 <= self.strength < np.inf:
            raise ConfigError(f"The strength of an edit is 0 or more (found {self.strength}).")
        if not all(phrase.strip() for phrase in (*self.more, *self.less)):
            raise ConfigError("A phrase of an edit is blank; give at least one word.")

    def applied(self, vectors: Vectors, encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """Return the edited vectors, unit rows.

        Args:
            vectors: (m, d) unit rows, sentences or profiles, in the space of the items.
            encode: phrases to (n, d) unit rows of the same space.

        Raises:
            Vlm4RecError: a vector is cancelled: what it says is what is wanted less.
        """
        phrases = [*self.more, *self.less]
        if not phrases:
            return vectors
        signs = np.repeat([1.0, -1.0], [len(self.more), len(self.less)])
        moved = vectors.astype(np.float64) + self.strength * (signs @ encode(phrases))
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        if (norms < SMALLEST_NORM).any():
            raise Vlm4RecError(
                f"Nothing is left without {', '.join(self.less)}: the query says just that. Name "
                "what is wanted instead."
            )
        unit: Vectors = (moved / norms).astype(np.float32)
        return unit


NO_EDIT = Edit()

"""What each described word does to an item's vector, and so to its score.

A text vector is no sum of words, but over a whole catalogue it is close to one: vector = what all
items share + the effect of each of its words + the rest. The effects are fitted by ridge regression
of the vectors on the words (a one for every word that an item has). The part that a word adds to
the score of a profile q is then the inner product of q with the effect: about what the score loses
when the phrase is taken out of the text and the text is embedded again. A test does just that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Vectors
    from vlm4rec_spark.topk.words import Words

MOST_WORDS = 512
"""The most frequent words get an effect; in open vocabularies the rest is too rare to tell."""
FEWEST_ITEMS = 5
RIDGE = 1.0
MOST_ITEMS = 100_000
"""Of a larger catalogue evenly spaced items are fitted: a word is told by far fewer."""
ROWS_A_BLOCK = 8192
DIGITS = 6


def word_numbers(words: Words) -> npt.NDArray[np.int64]:
    """Return (attributes, values) the number of each word that gets an effect, -1: none.

    A word is a value of one attribute: white as a colour differs from white as a second colour.
    """
    counts = np.zeros((len(words.names), len(words.values) + 1), np.int64)
    for attribute, codes in enumerate(words.codes):
        counts[attribute] = np.bincount(codes + 1, minlength=counts.shape[1])
    counts = counts[:, 1:]
    counts[:, words.silent] = 0
    flat = counts.ravel()
    frequent = np.argsort(-flat, kind="stable")[:MOST_WORDS]
    frequent = np.sort(frequent[flat[frequent] >= FEWEST_ITEMS])
    numbers = np.full(flat.shape, -1, np.int64)
    numbers[frequent] = np.arange(len(frequent))
    return numbers.reshape(counts.shape)


def numbered(
    words: Words, numbers: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return (attributes, rows) the number of each row's words, -1: none or without an effect."""
    codes = words.codes[:, rows]
    attribute = np.arange(len(words.names))[:, None]
    return np.where(codes >= 0, numbers[attribute, codes], -1)


def fitted(vectors: Vectors, words: Words) -> Vectors:
    """Return (words, d) float32 effects in the order of `word_numbers`.

    Args:
        vectors: (n, d) float32, finite.
        words: of the same items.
    """
    numbers = word_numbers(words)
    count = int(numbers.max(initial=-1)) + 1
    gram, moments = np.zeros((count + 1, count + 1)), np.zeros((count + 1, vectors.shape[1]))
    chosen = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_ITEMS)).astype(int))
    for start in range(0, len(chosen), ROWS_A_BLOCK):
        rows = chosen[start : start + ROWS_A_BLOCK]
        has = np.zeros((len(rows), count + 2), np.float32)
        # The last column takes words without an effect; the one before is what all items share.
        has[np.arange(len(rows))[None, :], numbered(words, numbers, rows)] = 1.0
        has[:, count] = 1.0
        has = np.ascontiguousarray(has[:, : count + 1])
        gram += has.T @ has
        moments += has.T @ vectors[rows]
    penalty = np.full(count + 1, RIDGE)
    penalty[count] = 1e-9
    effects: Vectors = np.linalg.solve(gram + np.diag(penalty), moments)[:count].astype(np.float32)
    return effects.round(DIGITS)

"""Words that a base's tokeniser knows: a vocabulary that needs no data, and names that say nothing to it."""

from __future__ import annotations

from collections.abc import Sequence

from synoptic.core.seeds import numpy_generator
from synoptic.models.dual_encoder import DualEncoder

BEFORE, AFTER = ("Ġ", "▁"), "</w>"
"""How byte-pair and sentence-piece tokenisers mark a word's beginning, and CLIP's a word's end."""

SHORTEST = 3


def known_words(model: DualEncoder) -> list[str]:
    """Whole words of the tokeniser's vocabulary, in order; letters only."""
    words = {_word(str(token)) for token in model.tokenizer.get_vocab()}
    return sorted(word for word in words if len(word) >= SHORTEST and word.isalpha())


def generic_words(model: DualEncoder, count: int, seed: int) -> list[str]:
    """``count`` of them, drawn once for a seed; all where there are not so many."""
    words = known_words(model)
    if count >= len(words):
        return words
    chosen = numpy_generator(seed, "generic words").choice(len(words), count, replace=False)
    return [words[place] for place in sorted(chosen)]


def _word(token: str) -> str:
    if token.startswith(BEFORE):
        return token[1:]
    return token.removesuffix(AFTER) if token.endswith(AFTER) else ""


def nameless(model: DualEncoder, template: str, names: Sequence[str]) -> list[str]:
    """Names of which the tokeniser keeps nothing: their prompt is the empty template."""
    empty = _ids(model, template.replace("{}", ""))
    return [name for name in names if _ids(model, template.replace("{}", name)) == empty]


def _ids(model: DualEncoder, text: str) -> list[int]:
    ids: list[int] = model.tokenizer(" ".join(text.split()))["input_ids"]
    return ids

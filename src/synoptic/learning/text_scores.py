"""How near one text comes to another, word by word: for answers in sentences, of which few are exactly the reference.

Both scores read words without case and without marks, and lie in 0..1.
"""

from __future__ import annotations

import re
from collections import Counter


def words_of(text: str) -> list[str]:
    """The words that are compared.

    >>> words_of("The red circle, at the top.")
    ['the', 'red', 'circle', 'at', 'the', 'top']
    """
    return re.findall(r"\w+", text.lower())


def token_f1(answer: str, truth: str) -> float:
    """Harmonic mean of precision and recall of words, as bags (Rajpurkar et al. 2016, section 6.1; articles kept).

    >>> token_f1("a red circle", "red circle")
    0.8
    """
    said, right = Counter(words_of(answer)), Counter(words_of(truth))
    return _f1((said & right).total(), said.total(), right.total())


def rouge_l(answer: str, truth: str) -> float:
    """ROUGE-L (Lin 2004, section 3.2) with beta 1: as `token_f1`, with the longest common subsequence as the overlap.

    >>> rouge_l("circle red", "red circle")
    0.5
    """
    said, right = words_of(answer), words_of(truth)
    return _f1(_longest_common(said, right), len(said), len(right))


def _f1(common: int, said: int, right: int) -> float:
    if said + right == 0:
        return 1.0
    return 2 * common / (said + right)


def _longest_common(one: list[str], two: list[str]) -> int:
    row = [0] * (len(two) + 1)
    for word in one:
        before = row
        row = [0]
        for place, other in enumerate(two):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[-1]))
    return row[-1]

"""A reward model that is a plain Python function: a rule, a metric, a model that Synoptic does not know.

It stays where it is: the function is named by whoever holds the data and imported there, and only scores leave.

Legend: N rows, G texts of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.data.table import ExampleTable
from synoptic.learning.objectives.preference import check_finite
from synoptic.learning.rewarding import group_size

Script = Callable[[Image.Image, str, list[str]], Sequence[float]]
"""(picture, question, G texts) -> G scores."""


class Scripted:
    """`synoptic.learning.rewarding.RewardModel`: a function's scores, checked.

    Args:
        script: the function; see `Script`.
        table: pictures with questions.
        name: what it is called in an error.
    """

    def __init__(self, script: Script, table: ExampleTable, name: str) -> None:
        if table.words is None:
            raise SynopticError(f"{table.name} asks no questions, and {name} scores answers to questions",
                                "use data with questions")  # fmt: skip
        self._script = script
        self._table = table
        self._questions = table.words.questions
        self._name = name

    def score(self, positions: NDArray[np.int64], texts: Sequence[Sequence[str]]) -> Tensor:
        """See `synoptic.learning.rewarding.RewardModel.score`.

        Raises:
            SynopticError: the function failed, or gave another number of scores, or what is not a finite number.
        """
        group = group_size(positions, texts)
        if not len(positions):
            return torch.zeros(0, group)
        pictures = self._table.images.load(positions)
        found = [self._row(picture, int(row), list(some))
                 for picture, row, some in zip(pictures, positions, texts, strict=True)]  # fmt: skip
        scores = torch.tensor(found, dtype=torch.float32).view(len(positions), group)
        check_finite(scores, self._name)
        return scores

    def _row(self, picture: Image.Image | NDArray[np.uint8], row: int, texts: list[str]) -> list[float]:
        shown = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        where = f"{self._name} on row {row} of {self._table.name}"
        try:
            given = [float(score) for score in self._script(shown, self._questions[row], texts)]
        except Exception as error:
            # Whatever a stranger's function may raise; who runs it wants to know where.
            raise SynopticError(f"{where} failed ({type(error).__name__}: {error})", "mend the function") from error
        if len(given) != len(texts):
            raise SynopticError(f"{where} gave {len(given)} scores for {len(texts)} texts", "give one for each text")
        return given


def load_script(name: str) -> Script:
    """The function that ``module:function`` names, imported here.

    Raises:
        SynopticError: no such module or function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise SynopticError(f"'{name}' names no scoring function", "write it like my_module:score")
    try:
        found: Script = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SynopticError(f"the scoring function '{name}' cannot be imported ({error})",
                            "check the name, and that its folder is on PYTHONPATH") from error  # fmt: skip
    if not callable(found):
        raise SynopticError(f"'{name}' is a {type(found).__name__}, not a function", "name a function")
    return found

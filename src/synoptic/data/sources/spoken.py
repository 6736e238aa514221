"""The words in the columns of a frame: texts, class labels, or lists of texts for each picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.sources.frame import Frame
from synoptic.data.spec import DataSpec
from synoptic.data.words import Words

Ints = NDArray[np.int64]


def spoken(frame: Frame, spec: DataSpec) -> tuple[Ints, Words]:
    """The frame's row of every question, int64 [m], and the m questions, answers and rejected answers, stripped.

    Without a column of questions the recipe's instruction is asked for every answer.

    Raises:
        SynopticError: for a column that is missing or holds no words, lists that do not fit, or an empty text.

    """
    options = {"data.question": spec.question, "data.answer": spec.answer, "data.rejected": spec.rejected}
    named = {option: column for option, column in options.items() if column is not None}
    texts, sizes = {}, {}
    for option, column in named.items():
        texts[option], sizes[option] = _texts(frame, column, option)
    first = next(iter(named))
    asked = sizes[first]
    for option, column in named.items():
        _require_same(frame, asked, sizes[option], (named[first], column), option)
    rows = np.arange(frame.table.num_rows) if asked is None else np.repeat(np.arange(len(asked)), asked)
    for option, column in named.items():
        _require_words(frame, texts[option], rows, column, asked is not None)
    questions = texts.get("data.question", [(spec.instruction or "").strip()] * len(rows))
    rejected = tuple(texts["data.rejected"]) if "data.rejected" in texts else None
    return rows, Words(tuple(questions), tuple(texts["data.answer"]), rejected)


def _texts(frame: Frame, name: str, option: str) -> tuple[list[str], Ints | None]:
    """The texts of a column, and for lists how many each row has, int64 [rows]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = frame.column(name, option)
    sizes = None
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        sizes = np.asarray(pc.list_value_length(column).to_numpy(), dtype=np.int64)
        column = pc.list_flatten(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    readable = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    if not any(is_of(column.type) for is_of in readable):
        raise SynopticError(
            f"column {name!r} of {frame.name} holds {frame.table.column(name).type}, not words",
            f"set {option} to a column of texts, class labels or lists of texts",
        )
    words = frame.words.get(name) if sizes is None else None
    return [_word(value, words) for value in column.to_pylist()], sizes


def _word(value: Any, words: tuple[str, ...] | None) -> str:
    if value is None:
        return ""
    if words is not None and not isinstance(value, str):
        return words[value] if 0 <= value < len(words) else ""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _require_same(frame: Frame, asked: Ints | None, said: Ints | None, names: tuple[str, str], option: str) -> None:
    if (asked is None) != (said is None):
        lists, single = names if said is None else names[::-1]
        raise SynopticError(
            f"{frame.name} has lists in {lists!r} but single values in {single!r}",
            f"set {option} to a column that fits the questions",
        )
    if asked is None or said is None or np.array_equal(asked, said):
        return
    row = int(np.flatnonzero(asked != said)[0])
    raise SynopticError(
        f"row {row} of {frame.name} has {asked[row]} in {names[0]!r} but {said[row]} in {names[1]!r}",
        "give one for each question",
    )


def _require_words(frame: Frame, texts: list[str], rows: Ints, name: str, listed: bool) -> None:
    empty = next((place for place, text in enumerate(texts) if not text), None)
    if empty is None:
        return
    row = int(rows[empty])
    which = f" (entry {empty - int(np.searchsorted(rows, row))} of the list)" if listed else ""
    raise SynopticError(f"row {row} of {frame.name}{which} has no words in {name!r}", "fill or remove it")

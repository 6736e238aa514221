"""Results of a task as a table, which fits into sixty columns, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synoptic.data.tasks import Task
from synoptic.experiment.display.numbers import value_text

if TYPE_CHECKING:
    from synoptic.experiment.perform import Performed, Result

SHOWN = 6


def show_tasks(console: Console, tasks: Iterable[Task]) -> None:
    """What there is to do: what each task reads and gives."""
    table = _table("task", "reads", "gives")
    for task in tasks:
        table.add_row(task.name, " and ".join(task.modalities), gives(task))
    console.print(table)


def tasks_json(tasks: Iterable[Task]) -> str:
    """The same for programs: all labels."""
    return json.dumps([asdict(task) for task in tasks], indent=2, ensure_ascii=False)


def gives(task: Task) -> str:
    """What comes of a task, in words.

    >>> gives(Task("ripe", "classify", ("image",), ("no", "yes")))
    'one of 2 labels: no, yes'
    """
    if task.kind != "classify":
        return {"generate": "a text", "reconstruct": "the picture itself"}[task.kind]
    more = f" and {len(task.labels) - SHOWN} more" if len(task.labels) > SHOWN else ""
    return f"one of {len(task.labels)} labels: {', '.join(task.labels[:SHOWN])}{more}"


def show_performed(console: Console, done: Performed) -> None:
    """A row for each result, of labels one for each of the likeliest; where the truth is known, a last line counts."""
    reads = {"image": "picture", "text": "text"}
    known = any(result.truth is not None for result in done.results)
    table = _table(*(reads[modality] for modality in done.task.modalities), *_given(done.task),
                   *(["right"] if known else []))  # fmt: skip
    for result in done.results:
        read = [text for text in (result.picture, result.text) if text is not None]
        for place, cells in enumerate(_cells(done.task, result)):
            first = place == 0
            table.add_row(*(read if first else [""] * len(read)), *cells,
                          *([result.truth or "" if first else ""] if known else []))  # fmt: skip
    console.print(table)
    console.print(Text(f"{_counted(done)}task {done.task.name}, by {done.base}"))


def performed_json(done: Performed) -> str:
    """The same for programs: numbers in full."""
    content = {"base": done.base, "fingerprint": done.fingerprint, "task": done.task.name,
               "results": [_plain(done.task, result) for result in done.results]}  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    for name in columns:
        numbers = name in ("probability", "error")
        table.add_column(name, overflow="fold", justify="right" if numbers else "left", no_wrap=numbers)
    return table


def _given(task: Task) -> Sequence[str]:
    return {"classify": ("label", "probability"), "generate": ("answer",), "reconstruct": ("error", "file")}[task.kind]


def _cells(task: Task, result: Result) -> list[list[str]]:
    if task.kind == "classify":
        return [[guess.name, f"{100 * guess.probability:.1f} %"] for guess in result.top]
    if task.kind == "generate":
        return [[result.written or ""]]
    return [[value_text("/error/", result.error or 0.0), str(result.file)]]


def _plain(task: Task, result: Result) -> dict[str, Any]:
    plain: dict[str, Any] = {name: value for name, value in (("image", result.picture), ("text", result.text))
                             if value is not None}  # fmt: skip
    if task.kind == "classify":
        plain["top"] = [{"label": guess.name, "probability": guess.probability} for guess in result.top]
    elif task.kind == "generate":
        plain["answer"] = result.written
    else:
        plain |= {"error": result.error, "file": str(result.file)}
    return plain | ({"truth": result.truth} if result.truth is not None else {})


def _counted(done: Performed) -> str:
    known = [result for result in done.results if result.truth is not None]
    if not known:
        return ""
    right = sum((result.top[0].name if result.top else result.written) == result.truth for result in known)
    return f"{right} of {len(known)} right; "

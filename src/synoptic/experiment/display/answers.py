"""Answers as a table, which fits into sixty columns, and as JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synoptic.learning.text_scores import rouge_l, token_f1

if TYPE_CHECKING:
    from synoptic.experiment.ask import Asked, Reply


def show_answers(console: Console, asked: Asked) -> None:
    """One row for each question; where the right answers are known, a last line counts."""
    columns = {"picture": "picture", "question": "question", "before": "before", "answer": "answer", "truth": "right"}
    shown = [name for name in columns if any(getattr(reply, name) is not None for reply in asked.replies)]
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    for name in shown:
        table.add_column(columns[name], overflow="fold")
    for reply in asked.replies:
        table.add_row(*(str(getattr(reply, name)) for name in shown))
    console.print(table)
    console.print(Text(f"{_counted(asked)}answered by {asked.base}, greedily"))


def answers_json(asked: Asked) -> str:
    """The same for programs; with the right answers, how near each comes to them."""
    content = {
        "base": asked.base,
        "fingerprint": asked.fingerprint,
        "replies": [_plain(reply) for reply in asked.replies],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _plain(reply: Reply) -> dict[str, Any]:
    plain: dict[str, Any] = {"picture": reply.picture, "question": reply.question, "answer": reply.answer}
    if reply.before is not None:
        plain["before"] = reply.before
    if reply.truth is not None:
        plain |= {
            "truth": reply.truth, "exact": reply.answer == reply.truth,
            "token_f1": token_f1(reply.answer, reply.truth), "rouge_l": rouge_l(reply.answer, reply.truth),
        }  # fmt: skip
    return plain


def _counted(asked: Asked) -> str:
    known = [(reply.answer, reply.truth) for reply in asked.replies if reply.truth is not None]
    if not known:
        return ""
    exact = sum(answer == truth for answer, truth in known)
    f1 = sum(token_f1(answer, truth) for answer, truth in known) / len(known)
    return f"{exact} of {len(known)} exactly right, token F1 {100 * f1:.1f} %; "

"""The card of an adapter that a newcomer of a finished run made for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from synoptic.experiment.card import tasks
from synoptic.experiment.card.data import examples
from synoptic.experiment.card.metrics import limits
from synoptic.experiment.card.page import assembled, facts, load
from synoptic.experiment.card.subject import Subject, bullets, counted
from synoptic.experiment.display.numbers import bytes_text, value_text
from synoptic.learning.spec import TrainSpec

if TYPE_CHECKING:
    from synoptic.experiment.onboarded import Onboarded


def write_newcomer_card(subject: Subject, done: Onboarded, train: TrainSpec, command: str) -> str:
    """The text of ``README.md``.

    Args:
        subject: the adapter, and the run with the newcomer's data in its recipe.
        done: what was trained and measured.
        train: how.
        command: what wrote it.
    """
    return assembled(subject, _head(subject), [
        ("Load it", load(subject)),
        ("Data of the newcomer", _data(subject)),
        ("Training of the newcomer", _training(subject, done, train)),
        ("Metrics", _metrics(done.measures, subject)),
        ("Privacy", _privacy(done)),
        ("Use and limits", limits(subject)),
        ("How this folder was made", _made(command)),
    ])  # fmt: skip


def _head(subject: Subject) -> Iterator[str]:
    run = subject.run
    yield f"# {run.method}: adapter of a newcomer for {subject.base}"
    yield (f"An adapter for the frozen base `{subject.base}`, made by a client that joined a finished federated run. "
           f"{run.method}: {subject.about.method}.")  # fmt: skip
    yield facts(subject)


def _training(subject: Subject, done: Onboarded, train: TrainSpec) -> Iterator[str]:
    yield bullets(
        f"given by the run, after {counted(subject.run.summary['rounds'], 'round')}: {bytes_text(done.bytes_down)}",
        f"trained: {done.what}, in {counted(done.steps, 'step')}; whatever else is in the adapter stayed as it was",
        f"batches of {train.batch_size}, {train.optimizer}, learning rate {train.lr:g}",
    )


def _data(subject: Subject) -> Iterator[str]:
    if subject.tasks:
        yield tasks.table(subject)
    yield bullets(*examples(subject))
    yield "This card does not name it."


def _metrics(measures: Mapping[str, Mapping[str, float]], subject: Subject) -> Iterator[str]:
    how = ("an answer counts as right when greedy decoding gives exactly the reference answer" if subject.asks
           else "a picture is classified among the names of the newcomer's trained classes")  # fmt: skip
    how = "a label or a text counts as right when it is exactly the reference" if subject.tasks else how
    base = "*base* is the untouched base, " if "base" in measures else ""
    yield (f"On the newcomer's own test examples; {how}. {base}*given* is the adapter before the "
           "newcomer trained, *fitted* the one in this folder.")  # fmt: skip
    lines = [f"| | {' | '.join(measures)} |", f"|---|{'---|' * len(measures)}"]
    for quantity in next(iter(measures.values())):
        values = [value_text(f"/{quantity.rpartition(' ')[2]}/", measured[quantity]) for measured in measures.values()]
        lines.append(f"| {quantity} | {' | '.join(values)} |")
    yield "\n".join(lines)


def _privacy(done: Onboarded) -> Iterator[str]:
    yield (f"The newcomer was given {bytes_text(done.bytes_down)} of the run and sent nothing. What it was given is "
           "what the run's clients share; the card of the run's own adapters says how that was made.")  # fmt: skip
    yield ("A trained adapter may give away some of the data it was trained on, so give this folder only to whom the "
           "newcomer's data might go.")  # fmt: skip


def _made(command: str) -> Iterator[str]:
    from synoptic import __version__

    yield f"Written with Synoptic {__version__} by"
    yield f"```\n{command}\n```"

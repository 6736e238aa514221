"""What a card is about, and small words that its sections share."""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDict

from synoptic.data.tasks import Task
from synoptic.experiment.delivered import About, Delivered
from synoptic.experiment.records import RunRecord


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        run, about: the finished run.
        which: its adapter.
        one: the adapter's tensors (batch size ``[]``).
        base: what the base is called outside this machine.
        family: the base's class in ``transformers``; None where there is nothing that plain PEFT loads.
        merged: whether the folder holds a whole model.
        tasks: what it is for, if it is of several tasks.
    """

    run: RunRecord
    about: About
    which: Delivered
    one: TensorDict
    base: str
    family: str | None
    merged: bool = False
    tasks: tuple[Task, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether the adapter answers questions; else it tells classes apart, or has several tasks."""
        return self.about.words is None and not self.tasks


def bullets(*lines: str | None) -> str:
    """A list of what there is to say."""
    return "\n".join(f"- {line}" for line in lines if line is not None)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "round"), counted(1200, "client")
    ('1 round', '1,200 clients')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

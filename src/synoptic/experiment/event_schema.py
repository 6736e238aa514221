"""What stands in ``events.jsonl``: every type of event with its fields, and a strict check of one event.

docs/events.md shows these fields; `synoptic.experiment.event_page` writes them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synoptic.core.errors import SynopticError, nearest

SCHEMA = 1
"""Rises when a field goes away or changes its meaning. New types and new fields leave it as it is."""

Metrics = dict[str, float]


class Told(BaseModel):
    """What all types have, and the strictness: nothing unknown, nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Logged(Told):
    """An event that is written to the log."""

    time: float = Field(description="when, in seconds since the start of 1970 (UTC)")


class RunStarted(Logged):
    """A process begins to work on the run; a resumed run has one for each time."""

    type: Literal["run_started"]
    schema_: int = Field(alias="schema", description="version of this description")
    run: str = Field(description="the folder's name")
    folder: str = Field(description="the folder as the run was given it")
    method: str = Field(description="the method's name")
    model: str = Field(description="the base, as the recipe names it")
    data: str = Field(description="source of the data, as the recipe names it")
    clients: int = Field(description="clients in the federation")
    rounds: int = Field(description="rounds that the recipe asks for")
    seed: int = Field(description="root of every random draw")
    recipe_hash: str = Field(description="16 hex digits over what the run is about; seeds share it")
    threads: int = Field(description="threads of PyTorch")
    stack: int = Field(description="clients that train as one stack")
    first_round: int = Field(description="rounds done before; 0 unless resumed")


class Evaluated(Logged):
    """Models were measured."""

    type: Literal["evaluated"]
    round: int = Field(description="the round just trained, from 0; -1 is before training")
    metrics: Metrics = Field(description="by full name, see [how we evaluate](evaluation.md)")
    per_client: dict[str, Metrics] = Field(description="each asked client's own, by its name")


class ClientFailed(Logged):
    """A client could not do its task, or its reply was refused; the round goes on without it."""

    type: Literal["failure"]
    round: int = Field(description="from 0")
    client: int = Field(description="its index, from 0")
    task: str = Field(description="what it was asked to do")
    reason: str = Field(description="a sentence")


class RoundFailed(Logged):
    """Too few clients answered: the state stays as it was. The `round` event follows."""

    type: Literal["round_failed"]
    round: int = Field(description="from 0")
    reason: str = Field(description="a sentence")


class EndFailed(Logged):
    """Too few clients answered what the method asks after the last round. It is tried again, and then the run stops."""

    type: Literal["end_failed"]
    round: int = Field(description="the last one, from 0")
    reason: str = Field(description="a sentence")


class RoundDone(Logged):
    """A round is over; its checkpoint is written next."""

    type: Literal["round"]
    round: int = Field(description="from 0")
    rounds: int = Field(description="rounds that the recipe asks for")
    seconds: float = Field(description="that the round took, evaluation included")
    loss: float | None = Field(description="mean training loss; null where the method tells none")
    clients: int = Field(description="clients drawn for the round")
    failed: bool = Field(description="whether it changed nothing")
    bytes_up: int = Field(description="from clients to the server in this round, evaluation left out")
    bytes_down: int = Field(description="from the server to clients in this round, evaluation left out")
    metrics: Metrics = Field(description="those of the round's `evaluated`; empty where nothing was measured")
    log: Metrics = Field(description="numbers that the method wants told, the loss among them")


class CheckpointSkipped(Logged):
    """On resuming, a damaged checkpoint was left out."""

    type: Literal["checkpoint_skipped"]
    reason: str = Field(description="a sentence")


class Interrupted(Logged):
    """The process was asked to stop (Ctrl-C, SIGTERM); a killed one leaves no word."""

    type: Literal["interrupted"]
    round: int = Field(description="rounds done")
    folder: str = Field(description="the folder as the run was given it")


class RunFinished(Logged):
    """All is done; `summary.json` is written next, with the same content."""

    type: Literal["run_finished"]
    folder: str = Field(description="the folder as the run was given it")
    summary: Summary = Field(description="the result, see below")


class Cohort(Told):
    """Clients of a round have done their task. Told to observers in the process only, never written."""

    type: Literal["cohort"]
    round: int = Field(description="from 0")
    task: str = Field(description="what they were asked to do")
    done: int = Field(description="clients done")
    total: int = Field(description="clients asked")


class Summary(Told):
    """The result of a run, as in `summary.json`."""

    method: str = Field(description="the method's name")
    recipe_hash: str = Field(description="as in `run_started`")
    seed: int = Field(description="root of every random draw")
    rounds: int = Field(description="rounds done")
    final_hash: str = Field(description="over the server's state and everybody's personal state")
    metrics: Metrics = Field(description="of the last evaluation")
    before: Metrics = Field(description="of the untouched start")
    clients: dict[str, Metrics] = Field(description="of the last evaluation, by the client's name")
    bytes: dict[str, Any] = Field(description="`up`, `down`, both `by_kind` of message, and of `evaluation` apart")
    seconds: dict[str, float] = Field(description="`total`, and its parts `train`, `evaluate`, `communicate`")
    work: dict[str, float] = Field(description="optimiser `steps` and training `examples` of all clients together")
    log: dict[str, float] = Field(description="what the method logged, each number's mean over the rounds that had it")
    model: dict[str, str] = Field(description="`name` and `fingerprint` of the base")
    environment: dict[str, Any] = Field(description="versions, threads, stack size, load; as in `environment.json`")


RunFinished.model_rebuild()

EVENTS: dict[str, type[Told]] = {
    "run_started": RunStarted,
    "evaluated": Evaluated,
    "failure": ClientFailed,
    "round_failed": RoundFailed,
    "end_failed": EndFailed,
    "round": RoundDone,
    "checkpoint_skipped": CheckpointSkipped,
    "interrupted": Interrupted,
    "run_finished": RunFinished,
    "cohort": Cohort,
}
"""By type, in the order in which a run may tell them."""


def check_event(event: Mapping[str, Any]) -> None:
    """Hold an event against the description of its type.

    Raises:
        SynopticError: an unknown type, or a field that is missing, unknown or of another type.
    """
    kind = str(event.get("type"))
    if kind not in EVENTS:
        raise SynopticError(f"there is no event of type '{kind}'", nearest(kind, EVENTS))
    try:
        EVENTS[kind].model_validate(event)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SynopticError(f"the event '{kind}' is not as described: {where}: {first['msg'].lower()}",
                            "see docs/events.md") from error  # fmt: skip

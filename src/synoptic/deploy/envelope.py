"""What a letter between server and node says: a head of plain JSON, and the fields of one or more clients.

All of it is one `synoptic.federation.message.encode` file, so nothing in it can be executed. ``all.adapter`` is a field
that every client of the node receives, ``1.adapter`` the own one of the second client that the letter is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field as Described
from pydantic import ValidationError
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves, stack_of
from synoptic.core import Section, SynopticError
from synoptic.federation.message import Each, Failure, Field, Replies, collate, decode, encode

PROTOCOL = 1
"""Rises when a letter changes its meaning."""

HEAD = "head"
COMMON = "all"
LONGEST_REASON = 500
WORDED = 300
"""Characters of a name in a letter."""

KNOWN_WORK = ("steps", "examples")
PLAIN_TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool,
)  # fmt: skip

Payload = Mapping[str, Field | Each]


STRANGER = "this node has not begun with this server"
"""A refusal that the server answers by beginning anew: the node, or the server, was started again."""


class Ask(Section):
    """The head of a question.

    Attributes:
        ask: its name, which nobody can guess; the reply repeats it.
        session: the server process that asks; a server that started anew is another one.
        task: what is to be done: ``hello``, ``begin``, or a task of the method.
        round, turn: which round it is, and which question of the round, both from 0.
        clients: for whom.
        each: fields of which every client gets its own, with the form in which the task receives them.
        void: earlier questions that came to nothing, as round, first turn, last turn: too few clients had answered.
    """

    protocol: int = PROTOCOL
    ask: str
    session: str
    task: str
    round: int = 0
    turn: int = 0
    clients: tuple[int, ...] = ()
    each: dict[str, Literal["stack", "tensor", "list"]] = Described({})
    void: tuple[tuple[int, int, int], ...] = ()


class Answer(Section):
    """The head of a reply.

    Attributes:
        ask: which question it answers.
        clients: whose fields follow.
        failures: clients that could not, and why.
        work: what training took, see `synoptic.federation.message.Work`.
        refusal: why the node does nothing at all; empty when it did.
    """

    protocol: int = PROTOCOL
    ask: str
    clients: tuple[int, ...] = ()
    failures: tuple[tuple[int, str], ...] = ()
    work: dict[str, float] = Described({})
    refusal: str = ""


@dataclass(frozen=True)
class Letter:
    """A question with its fields, taken apart."""

    head: Ask
    payload: dict[str, Field | Each]


def pack_ask(head: Ask, payload: Payload, places: Sequence[int]) -> bytes:
    """A question to the clients at ``places`` of every `Each` in ``payload``; the head's ``each`` is filled in."""
    fields: dict[str, Field] = {}
    forms: dict[str, str] = {}
    for name, value in payload.items():
        if isinstance(value, Each):
            forms[name] = _form(value)
            fields |= {f"{seat}.{name}": value[place] for seat, place in enumerate(places)}
        else:
            fields[f"{COMMON}.{name}"] = value
    whole = Ask.model_validate({**head.model_dump(), "each": forms})
    return encode({HEAD: whole.model_dump_json(), **fields})


def read_ask(content: bytes) -> Letter:
    """The question in ``content``.

    Raises:
        SynopticError: it is damaged, or of another version of the protocol.
    """
    head, fields = _read(content, Ask)
    payload: dict[str, Field | Each] = {
        name.removeprefix(f"{COMMON}."): field for name, field in fields.items() if name.startswith(f"{COMMON}.")
    }
    try:
        for name, form in head.each.items():
            values = [fields[f"{seat}.{name}"] for seat in range(len(head.clients))]
            payload[name] = Each(_formed(values, form))
    except (KeyError, TypeError, RuntimeError) as error:
        raise SynopticError("a question lacks fields that it announces", "send it again") from error
    return Letter(head, payload)


def pack_answer(ask: str, replies: Replies) -> bytes:
    """A reply with the fields of all clients that have some."""
    head = Answer(
        ask=ask, clients=tuple(replies.clients), work=replies.work,
        failures=tuple((failure.client, failure.reason) for failure in replies.failures),
    )  # fmt: skip
    fields = {f"{seat}.{name}": field for seat in range(len(replies)) for name, field in replies.of(seat).items()}
    return encode({HEAD: head.model_dump_json(), **fields})


def pack_told(ask: str, fields: Mapping[str, Field]) -> bytes:
    """A reply with fields of no client: what a node says of itself."""
    return encode({HEAD: Answer(ask=ask).model_dump_json(), **fields})


def pack_refusal(ask: str, why: str) -> bytes:
    """A reply that says why there is none."""
    return encode({HEAD: Answer(ask=ask, refusal=why).model_dump_json()})


def read_answer(content: bytes, ask: str) -> tuple[Answer, dict[str, Field]]:
    """Head and fields of a reply; nothing in it is trusted beyond its form.

    Raises:
        SynopticError: it is damaged, answers something else, or holds what no reply may hold.
    """
    head, fields = _read(content, Answer)
    if head.ask != ask and (head.ask or not head.refusal):
        raise SynopticError("the reply answers another question", "a replayed reply is left out")
    for name, value in fields.items():
        _acceptable(name, value)
    return head, fields


def replies_of(
    head: Answer, fields: Mapping[str, Field], asked: Iterable[int], round_: int, task: str
) -> list[Replies]:
    """A part for each asked client of the node: its reply, or why there is none. Others' names in it are ignored."""
    told = {client: reason[:LONGEST_REASON] for client, reason in head.failures}
    parts: list[Replies] = []
    for client in asked:
        own = _own(head, fields, client)
        reason = head.refusal[:LONGEST_REASON] or told.get(client) or "the node's reply leaves this client out"
        if own is None or head.refusal:
            parts.append(Replies([], {}, [Failure(client, round_, task, reason)]))
            continue
        try:
            parts.append(collate([client], [own]))
        except Exception as error:
            parts.append(Replies([], {}, [Failure(client, round_, task, f"its reply cannot be read ({error})")]))
    if any(len(part) for part in parts):
        parts.append(Replies([], {}, [], _work(head.work)))
    return parts


def _own(head: Answer, fields: Mapping[str, Field], client: int) -> dict[str, Field] | None:
    if client not in head.clients:
        return None
    start = f"{head.clients.index(client)}."
    return {name.removeprefix(start): field for name, field in fields.items() if name.startswith(start)}


def _work(told: Mapping[str, float]) -> dict[str, float]:
    """Counts that can be counts; what a node makes up beyond that is its own."""
    return {name: told[name] for name in KNOWN_WORK if 0 <= told.get(name, -1.0) < 2**53}


def _read(content: bytes, kind: Any) -> tuple[Any, dict[str, Field]]:
    try:
        fields = decode(content)
        head = json.loads(str(fields.pop(HEAD)))
        spoken = head["protocol"]
    except (SynopticError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SynopticError(f"a letter of {len(content)} bytes is damaged ({error})", "send it again") from error
    if spoken != PROTOCOL:
        raise SynopticError(
            f"a letter speaks protocol {spoken}, this side {PROTOCOL}", "install the same Synoptic on both"
        )
    try:
        return kind.model_validate(head), fields
    except ValidationError as error:
        raise SynopticError(f"the head of a letter is not as agreed ({error.error_count()} mistakes)",
                            "install the same Synoptic on both sides") from error  # fmt: skip


def _acceptable(name: str, value: Field) -> None:
    if not isinstance(value, TensorDict | Tensor | int | float | str | bool):
        raise SynopticError(f"field '{name[:WORDED]}' is a {type(value).__name__}", "reply with tensors and numbers")
    tensors = leaves(value) if isinstance(value, TensorDict) else {"": value} if isinstance(value, Tensor) else {}
    odd = [tensor.dtype for tensor in tensors.values() if tensor.dtype not in PLAIN_TYPES]
    if odd or len(name) > WORDED:
        raise SynopticError(f"field '{name[:WORDED]}' holds values of type {odd[:1] or 'a name too long'}",
                            "reply with plain numbers")  # fmt: skip
    if isinstance(value, TensorDict) and not tensors:
        raise SynopticError(f"field '{name}' is an adapter without tensors", "reply with what was trained")


def _form(value: Each) -> str:
    if isinstance(value.values, TensorDict):
        return "stack"
    return "tensor" if isinstance(value.values, Tensor) else "list"


def _formed(values: Sequence[Any], form: str) -> Any:
    if form == "stack":
        return stack_of(values)
    return torch.stack(list(values)) if form == "tensor" else list(values)

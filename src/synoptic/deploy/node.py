"""A node: bytes in, bytes out. It knows nothing of sockets, and nothing that it is sent can make it raise.

One process has one node: it loads the base once and answers question after question. The same question twice is
answered twice with the same bytes and worked on once.
"""

from __future__ import annotations

import json
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json
from synoptic.deploy import terms
from synoptic.deploy.envelope import STRANGER, Ask, Letter, pack_answer, pack_refusal, pack_told, read_ask
from synoptic.deploy.memory import NodeMemory
from synoptic.deploy.policy import Policy
from synoptic.deploy.site import Site, Workplace, data_of, settle
from synoptic.federation.ledger import EVALUATION
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Failure, Replies, join
from synoptic.federation.personal import PersonalStore

KEPT = 4
"""Replies that are kept, for a question that comes again."""

REMEMBERED = 8
"""Servers whose terms are kept for the next process: a stock SuperLink may have several runs at a time."""

Say = Callable[[str], None]


class Node:
    """One site's answers.

    Args:
        site: its data and base.
        policy: what it allows.
        folder: where it keeps personal state, by run.
        say: told what a person at the site should know.
        recalls: whether it takes up a run that another process of this site began, see `synoptic.deploy.apps`.

    Attributes:
        ended: why the server needs this node no longer, once it said so.
    """

    def __init__(
        self, site: Site, policy: Policy, folder: Path, say: Say = lambda sentence: None, recalls: bool = False
    ) -> None:
        self._site = site
        self._policy = policy
        self._folder = folder
        self._say = say
        self._recalls = recalls
        self._session = ""
        self._place: Workplace | None = None
        self._memory = NodeMemory(folder)
        self._answered: OrderedDict[str, bytes] = OrderedDict()
        self.ended: str | None = None

    def answer(self, content: bytes) -> bytes:
        """The reply to a letter; a refusal with a reason where there is none."""
        name = ""
        try:
            letter = read_ask(content)
            name = letter.head.ask
            if name not in self._answered:
                self._answered[name] = self._reply(letter)
        except SynopticError as error:
            return self._refuse(name, str(error))
        except Exception as error:
            return self._refuse(name, f"{type(error).__name__}: {error}")
        while len(self._answered) > KEPT:
            self._answered.popitem(last=False)
        return self._answered[name]

    def _refuse(self, name: str, why: str) -> bytes:
        self._say(f"refused: {why}")
        return pack_refusal(name, why)

    def _reply(self, letter: Letter) -> bytes:
        head = letter.head
        if head.task == terms.HELLO:
            return _about(head.ask, self._site.wish.model_dump_json())
        if head.task == terms.BEGIN:
            return _about(head.ask, self._begin(head, str(letter.payload[terms.ABOUT])).model_dump_json())
        if head.task == terms.BYE:
            self.ended = str(letter.payload[terms.ABOUT])
            return _about(head.ask, "")
        if self._recalls and head.session != self._session:
            self._recall(head.session)
        if self._place is None or head.session != self._session:
            return pack_refusal(head.ask, STRANGER)
        return self._work(letter, self._place)

    def _begin(self, head: Ask, offered: str) -> terms.Joined:
        asked = terms.Terms.model_validate_json(offered)
        if head.session != self._session:
            # Among these may be refusals of questions that this server asks again.
            self._answered.clear()
        elif self._place is not None and asked == self._place.terms.model_copy(update={"round": asked.round}):
            # The line was broken for a while; nothing has changed.
            return terms.Joined(examples=self._place.examples, own=self._place.own)
        place = self._move_in(head.session, asked)
        self._memory.begin(head.session, asked.round)
        if self._recalls:
            self._write_down(head.session, offered)
        self._say(f"joined as {', '.join(asked.names)} (clients: {asked.clients}): {place.recipe.method.name}, "
                  f"{place.recipe.rounds} rounds, {place.examples} training examples")  # fmt: skip
        return terms.Joined(examples=place.examples, own=place.own)

    def _move_in(self, session: str, asked: terms.Terms) -> Workplace:
        if why := self._policy.against_data(data_of(self._site, asked)):
            raise SynopticError(why, "ask the site, or change its policy there")
        place = settle(self._site, asked)
        if why := self._policy.against_terms(place.recipe.method.name, place.recipe.rounds, place.examples):
            raise SynopticError(why, "ask the site, or change its policy there")
        if isinstance(place.recipe.compute.threads, int):
            torch.set_num_threads(place.recipe.compute.threads)
        self._memory = NodeMemory(self._folder / _folder_name(asked.run))
        self._session, self._place = session, place
        return place

    def _recall(self, session: str) -> None:
        path = self._begun(session)
        if path.exists():
            self._move_in(session, terms.Terms.model_validate(read_json(path)))

    def _write_down(self, session: str, offered: str) -> None:
        write_json(self._begun(session), json.loads(offered))
        for old in sorted(self._begun("").parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-REMEMBERED]:
            old.unlink()

    def _begun(self, session: str) -> Path:
        return self._folder / "begun" / f"{_folder_name(session)}.json"

    def _work(self, letter: Letter, place: Workplace) -> bytes:
        head, payload = letter.head, letter.payload
        if not set(head.clients) <= set(place.terms.seats):
            raise SynopticError(f"this node is not client {sorted(set(head.clients) - set(place.terms.seats))}",
                                "ask the node that is")  # fmt: skip
        if head.task == EVALUATION and place.own and "splits" in payload:
            # Pooled test sets are the server's; a site measures on what it holds.
            payload = {**payload, "splits": "local"}
        self._memory.undo(head.void)
        store = self._memory.before(head.clients, head.round, head.turn)
        stack = place.recipe.federation.stack
        federation = LocalFederation(place.method, place.bench, store, stack if isinstance(stack, int) else 1)
        try:
            replies = join(federation.deliver(head.task, head.clients, head.round, payload), head.task, head.round)
        except SynopticError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._say(f"round {head.round}, {head.task}: {why}")
            failures = [Failure(client, head.round, head.task, why) for client in head.clients]
            return pack_answer(head.ask, Replies([], {}, failures))
        return self._released(head, replies, store, place)

    def _released(self, head: Ask, replies: Replies, store: PersonalStore, place: Workplace) -> bytes:
        """The reply's bytes, if the site's policy lets them leave."""
        if why := self._policy.against_reply(head.task, replies.fields, self._memory.uploads):
            raise SynopticError(why, "ask the site, or change its policy there")
        self._memory.commit(store, head.round, head.turn)
        content = pack_answer(head.ask, replies)
        if len(content) > place.terms.largest:
            raise SynopticError(f"the reply has {len(content)} bytes, and the server takes {place.terms.largest}",
                                "train fewer tensors, or raise the server's limit")  # fmt: skip
        counted = {pattern for field in replies.fields for pattern in self._policy.limits(f"{head.task}.{field}")}
        self._memory.count(sorted(counted))
        self._say(f"round {head.round}, {head.task}: {len(content)} bytes sent")
        return content


def _about(ask: str, content: str) -> bytes:
    return pack_told(ask, {terms.ABOUT: content})


def _folder_name(run: str) -> str:
    """A run's own folder; the server's word for it is not trusted as a path."""
    return uuid.uuid5(uuid.NAMESPACE_OID, run).hex

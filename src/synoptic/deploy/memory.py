"""A node's personal state on its own disk, by the question after which it was written.

The server may ask the same question again: after it was killed and resumed, or because the node was. The node then
takes up the state from before that question, so that what is done twice counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json
from synoptic.federation.personal import PersonalStore

TURNS = 10_000
"""More questions than a round may have."""

ROUNDS_BACK = 3
"""Rounds that the server may go back: as many as it keeps checkpoints by default, and one."""


class NodeMemory:
    """Personal state of a node's clients, and how often what left it.

    Args:
        folder: of one run; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, list[int]] = {}
        for path in sorted((folder / "personal").glob("*-r*.safetensors")):
            client, version = path.stem.split("-r")
            self._known.setdefault(int(client), []).append(int(version))
        counts = folder / "uploads.json"
        self.uploads: dict[str, int] = read_json(counts) if counts.exists() else {}

    def begin(self, session: str, round_: int) -> None:
        """Work with a server process; what an earlier one got from ``round_`` on is void: this one goes on there."""
        path = self._folder / "session.json"
        if not path.exists() or read_json(path) != session:
            self._forget(self._known, round_ * TURNS + 1)
            write_json(path, session)

    def undo(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Forget what questions changed that came to nothing: round, first turn, last turn of each span."""
        for round_, first, last in spans:
            void = set(range(_version(round_, first), _version(round_, last) + 1))
            for client, known in list(self._known.items()):
                if gone := void & set(known):
                    self._remove(client, gone)
                    self._known[client] = [version for version in known if version not in gone]

    def before(self, clients: Sequence[int], round_: int, turn: int) -> PersonalStore:
        """The clients' state from before a question."""
        if turn >= TURNS - 1:
            raise SynopticError(f"round {round_} has asked {turn} questions", "ask fewer in one round")
        self._forget(clients, _version(round_, turn))
        store = PersonalStore(self._folder / "personal")
        store.versions = {client: self._known[client][-1] for client in clients if self._known.get(client)}
        return store

    def commit(self, store: PersonalStore, round_: int, turn: int) -> None:
        """Keep what a question changed; what nobody can come back to is removed.

        Raises:
            SynopticError: the disk does not take it.
        """
        version = _version(round_, turn)
        try:
            store.commit(version)
        except OSError as error:
            raise SynopticError(f"the personal state cannot be written to {self._folder} ({error.strerror})",
                                "make room on that disk, or join with another --state folder") from error  # fmt: skip
        for client, newest in store.versions.items():
            if newest == version:
                kept = _worth_keeping([*self._known.get(client, []), version])
                self._remove(client, set(self._known.get(client, [])) - set(kept))
                self._known[client] = kept

    def count(self, patterns: Sequence[str]) -> None:
        """One more reply held a field of each of these."""
        if patterns:
            self.uploads = {**self.uploads, **{name: self.uploads.get(name, 0) + 1 for name in patterns}}
            write_json(self._folder / "uploads.json", self.uploads)

    def _forget(self, clients: Sequence[int] | dict[int, list[int]], version: int) -> None:
        for client in list(clients):
            gone = {known for known in self._known.get(client, []) if known >= version}
            self._remove(client, gone)
            if gone:
                self._known[client] = [known for known in self._known[client] if known not in gone]

    def _remove(self, client: int, versions: set[int]) -> None:
        for version in versions:
            (self._folder / "personal" / f"{client:07d}-r{version:05d}.safetensors").unlink(missing_ok=True)


def _version(round_: int, turn: int) -> int:
    return round_ * TURNS + turn + 1


def _worth_keeping(versions: Sequence[int]) -> list[int]:
    """The two newest of the last round, the newest of each round that may come again, and the newest before these."""
    last = versions[-1] // TURNS
    newest = {version // TURNS: version for version in versions}
    old = [version for round_, version in newest.items() if round_ <= last - ROUNDS_BACK][-1:]
    recent = [version for round_, version in newest.items() if round_ > last - ROUNDS_BACK]
    return sorted({*old, *recent, *versions[-2:]})

"""The ledger: payload bytes by message kind and direction."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

EVALUATION = "evaluate"
"""Messages of this task measure; they are counted apart, because how often one measures is not the method's doing."""


class Ledger:
    """Bytes that crossed the boundary, as the messages' payloads (the wire adds its own framing).

    Kinds are ``task.field``; ``down`` is server to client.
    """

    def __init__(self) -> None:
        self._bytes: dict[str, dict[str, int]] = defaultdict(lambda: {"up": 0, "down": 0})

    def add(self, direction: str, task: str, field: str, count: int) -> None:
        """Count one field of one or more messages."""
        self._bytes[f"{task}.{field}"][direction] += count

    def total(self, direction: str) -> int:
        """All bytes of the method in one direction, evaluation left out."""
        return sum(kind[direction] for name, kind in self._bytes.items() if not name.startswith(f"{EVALUATION}."))

    def summary(self) -> dict[str, Any]:
        """``up``, ``down``, ``by_kind`` of the method's messages, and ``evaluation`` apart."""
        kinds = {name: dict(kind) for name, kind in sorted(self._bytes.items())}
        apart = {name: kind for name, kind in kinds.items() if name.startswith(f"{EVALUATION}.")}
        return {
            "up": self.total("up"),
            "down": self.total("down"),
            "by_kind": {name: kind for name, kind in kinds.items() if name not in apart},
            "evaluation": {way: sum(kind[way] for kind in apart.values()) for way in ("up", "down")},
        }

    def dump(self) -> dict[str, dict[str, int]]:
        """Everything, for a checkpoint."""
        return {name: dict(kind) for name, kind in self._bytes.items()}

    def load(self, content: dict[str, dict[str, int]]) -> None:
        """Take up a checkpoint's counts."""
        self._bytes.clear()
        for name, kind in content.items():
            self._bytes[name].update(kind)

"""Several asks that count as one, when it is asked whether enough clients answered."""

from __future__ import annotations

from synoptic.federation.message import Failure, Replies


class Joint:
    """What came of these asks so far.

    Attributes:
        task: of the first of them, for messages.
        asked, answered: clients; whoever failed in one of them has not answered.
        failures: why.
        errors: what tasks raised where all clients of one ask did.
    """

    def __init__(self) -> None:
        self.task = ""
        self.asked: set[int] = set()
        self.answered: set[int] = set()
        self.failures: list[Failure] = []
        self.errors: list[Exception] = []

    def take(self, task: str, replies: Replies) -> None:
        """Count one ask, or what was left of it after some replies were refused."""
        failed = {failure.client for failure in replies.failures}
        self.task = self.task or task
        self.asked |= {*replies.clients, *failed}
        self.answered = (self.answered | set(replies.clients)) - failed
        self.failures += [failure for failure in replies.failures if failure not in self.failures]

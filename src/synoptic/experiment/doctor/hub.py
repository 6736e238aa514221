"""Whether the Hugging Face hub answers; nobody waits longer than a few seconds for that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from synoptic.experiment.doctor.check import Check, carefully

PATIENCE = 2.5
"""Seconds."""

FIX = "embedded models and data need no network; for others give a folder or files, or name a mirror by HF_ENDPOINT"


class HubCheck:
    """Asks in the background from the start, because looking up a name has no deadline of its own.

    Honours HF_ENDPOINT, HF_HUB_OFFLINE and the usual proxy variables.
    """

    def __init__(self) -> None:
        self._answer = Check("hub", "note", "no answer in time", FIX)
        self._started = time.monotonic()
        self._thread = Thread(target=self._ask, daemon=True)
        self._thread.start()

    def result(self) -> Iterator[Check]:
        """The finding, at most `PATIENCE` seconds after the start."""
        self._thread.join(max(0.0, self._started + PATIENCE - time.monotonic()))
        yield self._answer

    def _ask(self) -> None:
        (self._answer,) = carefully("hub", _ask)


def _ask() -> Iterator[Check]:
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        yield Check("hub", "absent", "offline, as HF_HUB_OFFLINE says", "unset HF_HUB_OFFLINE to load from the hub")
        return
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE):
            pass
    except HTTPError:
        # Somebody is there, whatever he thinks of the question.
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        yield Check("hub", "note", f"{host} cannot be reached ({reason})", FIX)
        return
    yield Check("hub", "fine", f"{host} answers")

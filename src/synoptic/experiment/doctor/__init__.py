"""What this machine and installation have, what is missing, and what to do about it: `synoptic doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from synoptic.experiment.doctor import machine, packages, parts
from synoptic.experiment.doctor.check import Check, Look, carefully
from synoptic.experiment.doctor.hub import HubCheck

__all__ = ["Check", "examine"]


def examine() -> Iterator[Check]:
    """All findings, as they come; never raises."""
    from synoptic import __version__

    yield Check("synoptic", "fine", __version__)
    # Asked first and heard last: the answer travels while the rest is looked at.
    hub = HubCheck()
    looks: dict[str, Look] = {
        "python": packages.python,
        "packages": packages.packages,
        "extras": packages.extras,
        "cores": machine.cores,
        "load": machine.load_and_threads,
        "memory": machine.memory,
        "disk": machine.disk,
        "devices": machine.devices,
        "base models": parts.base_models,
        "methods": parts.methods,
        "hub": hub.result,
    }
    for name, look in looks.items():
        yield from carefully(name, look)

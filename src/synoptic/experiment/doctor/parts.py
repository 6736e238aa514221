"""What ships with the package or was installed beside it: base models and methods."""

from __future__ import annotations

import re
from collections.abc import Iterator

from synoptic.core.errors import SynopticError
from synoptic.experiment.doctor.check import Check

AGAIN = "install synoptic again"


def base_models() -> Iterator[Check]:
    """Whether every embedded checkpoint loads and is the one that its card describes."""
    from synoptic.models.load import embedded, load_model

    known = embedded()
    if not known:
        yield Check("base models", "broken", "no embedded checkpoint is there", AGAIN)
    for name, folder in known.items():
        try:
            model = load_model(name)
            card = re.search(r"Fingerprint `(\w+)`", (folder / "README.md").read_text(encoding="utf-8"))
        except (SynopticError, OSError) as error:
            yield Check(f"base {name}", "broken", str(error).rstrip("."), AGAIN)
            continue
        said = card[1] if card else "nothing"
        if model.fingerprint == said:
            yield Check(f"base {name}", "fine", f"fingerprint {model.fingerprint}, as its card says")
        else:
            yield Check(f"base {name}", "broken", f"fingerprint {model.fingerprint}, but its card says {said}", AGAIN)


def methods() -> Iterator[Check]:
    """Whether every registered method can be imported; one of another package breaks nothing else."""
    from synoptic.methods.base import load_method, registry

    fine: list[str] = []
    for name, point in registry().items():
        try:
            load_method(name)
            fine.append(name)
        except Exception as error:
            own = point.value.startswith("synoptic.")
            owner = point.dist.name if point.dist is not None else point.value
            yield Check(f"method {name}", "broken" if own else "note", str(error).rstrip("."),
                        AGAIN if own else f"install {owner} again, or remove it")  # fmt: skip
    if fine:
        yield Check("methods", "fine", ", ".join(fine))
    else:
        yield Check("methods", "broken", "none is registered", AGAIN)

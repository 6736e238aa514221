"""Python and packages, held against what the installed project asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from synoptic.experiment.doctor.check import Check, Status
from synoptic.experiment.folder import PACKAGES

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROJECT = "synoptic"
DEVELOPMENT = "dev"


def python() -> Iterator[Check]:
    """The interpreter."""
    from packaging.specifiers import SpecifierSet

    here, wanted = platform.python_version(), metadata(PROJECT)["Requires-Python"] or ""
    if SpecifierSet(wanted).contains(here, prereleases=True):
        yield Check("python", "fine", here)
    else:
        yield Check("python", "broken", f"{here}, but {wanted} is needed", "make an environment with a newer Python")


def packages() -> Iterator[Check]:
    """All required packages in one finding, and one for each that is missing or of another version."""
    needed = [requirement for requirement in _requirements() if not _extra(requirement)]
    odd = [check for requirement in needed if (check := _odd(requirement)) is not None]
    known = ", ".join(f"{name} {version(name)}" for name in PACKAGES if _installed(name))
    if not odd:
        yield Check("packages", "fine", f"all {len(needed)} as required: {known}")
    yield from odd


def extras() -> Iterator[Check]:
    """What is optional, a finding for each extra; tools of this project's own developers left out."""
    groups: dict[str, list[Requirement]] = {}
    for requirement in _requirements():
        groups.setdefault(_extra(requirement), []).append(requirement)
    for extra, wanted in groups.items():
        if extra in ("", DEVELOPMENT):
            continue
        odd = {one.name: check for one in wanted if (check := _odd(one)) is not None}
        if not odd:
            yield Check(f"extra {extra}", "fine", ", ".join(f"{one.name} {version(one.name)}" for one in wanted))
        else:
            found = ", ".join(f"{name} {check.found}" for name, check in odd.items())
            bounds = " ".join(f'"{one.name}{one.specifier}"' for one in wanted if one.name in odd)
            status: Status = "note" if all(_installed(name) for name in odd) else "absent"
            yield Check(f"extra {extra}", status, found, f"pip install {bounds}")


def _requirements() -> list[Requirement]:
    from packaging.requirements import Requirement

    return [Requirement(text) for text in requires(PROJECT) or ()]


def _extra(requirement: Requirement) -> str:
    """The extra that a requirement belongs to; empty if everybody needs it."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return ""
    known = metadata(PROJECT).get_all("Provides-Extra") or []
    return next((name for name in known if marker.evaluate({"extra": name})), "")


def _odd(requirement: Requirement) -> Check | None:
    """What is wrong with a package, or None."""
    name, bounds = f"package {requirement.name}", str(requirement.specifier)
    fix = f'pip install "{requirement.name}{bounds}"'
    if not _installed(requirement.name):
        return Check(name, "broken", "not installed", fix)
    here = version(requirement.name)
    if not requirement.specifier.contains(here, prereleases=True):
        return Check(name, "broken", f"{here}, but {bounds} is needed", fix)
    return None


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True

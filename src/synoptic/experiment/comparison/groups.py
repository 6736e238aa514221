"""Runs that differ in nothing but the seed stand together; what differs between such groups is said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.experiment.keys import value_text
from synoptic.experiment.records import RunRecord, flat

IGNORED = ("seed", "output", "keep", "compute.cache_dir")
PROBLEM = ("data.", "model", "evaluate.clients", "compute.base_dtype")
"""Keys that say which problem is solved. Groups that differ here did not solve the same one."""

BUDGET = ("rounds", "train.epochs", "train.steps", "train.batch_size", "federation.participation")
"""Keys that say how much local training there is."""


@dataclass(frozen=True)
class Group:
    """Runs of one recipe with several seeds.

    Attributes:
        label: what it is called in tables and pictures.
        runs: by seed, ascending.
        condition: which setting of the problem, where there are several.
    """

    label: str
    runs: tuple[RunRecord, ...]
    condition: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(run.seed for run in self.runs)

    @property
    def bases(self) -> set[str]:
        """Fingerprints of the base that the runs stand on."""
        return {str(run.summary.get("model", {}).get("fingerprint")) for run in self.runs}

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe that all share."""
        return self.runs[0].recipe


def group(records: Sequence[RunRecord]) -> list[Group]:
    """Groups in the order in which their first run was given, labelled by method and by what sets them apart.

    Raises:
        SynopticError: the same run twice, or two runs of one recipe and seed.
    """
    together: dict[str, list[RunRecord]] = {}
    for record in records:
        together.setdefault(repr(deciding(record.recipe)), []).append(record)
    for runs in together.values():
        _refuse_repeats(runs)
    members = [tuple(sorted(runs, key=lambda run: run.seed)) for runs in together.values()]
    labels = _labels([runs[0].recipe for runs in members])
    return [Group(label, runs) for label, runs in zip(labels, members, strict=True)]


def differences(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Recipe keys, other than the method's own, in which groups differ, with the value that each has."""
    settings = [deciding(group.recipe) for group in groups]
    names = list(dict.fromkeys(name for one in settings for name in one))
    return {
        name: [one.get(name) for one in settings]
        for name in names
        if not name.startswith(("method.", "adapter.")) and len({repr(one.get(name)) for one in settings}) > 1
    }


def same_problem(one: Group, two: Group) -> bool:
    """Whether both were trained and tested on the same data and base, so that seeds can be paired."""
    return one.bases == two.bases and not any(name.startswith(PROBLEM) for name in differences([one, two]))


def what_is_trained(recipe: Mapping[str, Any]) -> str:
    """The adapter in a few words: ``vision LoRA of rank 4 in 2 blocks, text prompt``."""
    if not recipe.get("rounds", 1):
        return "nothing"
    parts = []
    for tower in ("vision", "text"):
        spec = (recipe.get("adapter") or {}).get(tower)
        if isinstance(spec, Mapping):
            parts += [_in_words(tower, kind, own) for kind, own in spec.items() if own]
        elif spec and spec != "frozen":
            parts.append(f"{tower} {spec}")
    return ", ".join(parts) or "nothing"


def _in_words(tower: str, kind: str, own: Any) -> str:
    if kind != "lora" or not isinstance(own, Mapping):
        return f"{tower} {kind}"
    blocks = own.get("layers")
    return f"{tower} LoRA of rank {own.get('rank')} in {blocks} block{'s' * (blocks != 1)}"


def deciding(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that decide its results, by dotted key; seeds and places are left out."""
    return {name: value for name, value in flat(recipe) if name not in IGNORED}


def _labels(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The method's name, and where that is not enough the settings that set it apart."""
    settings = [deciding(recipe) for recipe in recipes]
    names = [str(one["method.name"]) for one in settings]
    labels = []
    for place, one in enumerate(settings):
        alike = [other for other, name in zip(settings, names, strict=True) if name == names[place]]
        apart = [key for key in one if len({repr(other.get(key)) for other in alike}) > 1]
        labels.append(" ".join([names[place], *(f"{key}={value_text(one[key])}" for key in apart)]))
    return labels


def _refuse_repeats(runs: Sequence[RunRecord]) -> None:
    seen: dict[int, RunRecord] = {}
    for run in runs:
        if run.seed in seen:
            raise SynopticError(f"{seen[run.seed].folder.path} and {run.folder.path} are the same recipe and seed",
                                "give only one of them")  # fmt: skip
        seen[run.seed] = run

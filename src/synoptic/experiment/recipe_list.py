"""The recipes that ship with the project: found in a checkout and in an installed package, described by their heads.

A head is the comment at the top: a sentence about the setting, an empty line, then parts that begin with a label
(``Shows:``, ``Expect:``, ``Minutes:``, ``Run:``) and may go on in indented lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.files import write_text
from synoptic.experiment.yaml_text import read_yaml

LABELS = ("Shows", "Expect", "Minutes", "Run")
_LABEL = re.compile(r"(\w+(?: \w+)?):\s+(.*)")


@dataclass(frozen=True)
class ShippedRecipe:
    """One recipe.

    Attributes:
        path: the file.
        title: the setting, in a sentence or two.
        head: parts of the head by label.
        needs: what it takes besides this package: ``nothing``, ``the network``, ``your files``, or both.
    """

    path: Path
    title: str
    head: Mapping[str, str]
    needs: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def minutes(self) -> str:
        """How long it takes, in a few words."""
        return re.split(r"[,;.]", self.head["Minutes"])[0]


def recipe_folder() -> Path:
    """Where the shipped recipes lie.

    Raises:
        SynopticError: neither a checkout nor an installed package has them.
    """
    package = Path(str(resources.files("synoptic")))
    places = (package / "recipes", package.parents[1] / "recipes")
    found = next((place for place in places if any(place.glob("*.yaml"))), None)
    if found is None:
        raise SynopticError(f"there are no recipes at {places[0]}", "install synoptic again")
    return found


def shipped_recipes() -> list[ShippedRecipe]:
    """All of them, first those that need nothing, by name.

    Raises:
        SynopticError: a head that lacks a part.
    """
    known = [describe(path) for path in recipe_folder().glob("*.yaml")]
    return sorted(known, key=lambda recipe: (recipe.needs != "nothing", recipe.name))


def describe(path: Path) -> ShippedRecipe:
    """What a recipe's head says.

    Raises:
        SynopticError: no such file, not YAML, or a head that lacks a part.
    """
    content, _ = read_yaml(path)
    title, head = _head(path.read_text(encoding="utf-8"))
    missing = [label for label in ("title", *LABELS) if not (title if label == "title" else head.get(label))]
    if missing:
        raise SynopticError(f"the comment at the top of {path} lacks {', '.join(missing)}",
                            f"write it as in other recipes: a sentence, then {', '.join(LABELS)}")  # fmt: skip
    return ShippedRecipe(path, title, head, _needs(content))


def copy_recipe(name: str, folder: Path) -> Path:
    """Copy a recipe to ``folder``, to be changed there; its name may end in .yaml.

    Raises:
        SynopticError: no such recipe, or the file is there already.
    """
    known = {path.stem: path for path in recipe_folder().glob("*.yaml")}
    stem = name.removesuffix(".yaml")
    if stem not in known:
        raise SynopticError(f"there is no recipe called '{name}'", nearest(stem, known))
    target = folder / known[stem].name
    if target.exists():
        raise SynopticError(f"{target} is there already", "remove it, or copy in another folder")
    # The commands at its top are to work beside it.
    write_text(target, known[stem].read_text(encoding="utf-8").replace(f"recipes/{target.name}", target.name))
    return target


def _head(text: str) -> tuple[str, dict[str, str]]:
    """The title and the labelled parts; commands of ``Run`` keep their lines."""
    title: list[str] = []
    parts: dict[str, list[str]] = {}
    lines: list[str] | None = title
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words = line.removeprefix("#").strip()
        label = _LABEL.fullmatch(words) if lines is not title and not line.startswith("#  ") else None
        if not words:
            lines = None
        elif label:
            lines = parts.setdefault(label[1], [label[2]])
        elif lines is not None:
            lines.append(words)
    return " ".join(title), {label: ("\n" if label == "Run" else " ").join(part) for label, part in parts.items()}


def _needs(content: Mapping[str, Any]) -> str:
    data = content.get("data", "")
    source = str(data.get("source", "") if isinstance(data, Mapping) else data)
    named = ":" in source or (isinstance(data, Mapping) and "path" in data)
    own = (data.get("tasks") or {}).get("own", ()) if isinstance(data, Mapping) else ()
    sources = [source, *(str(one["source"]).partition(":")[0] for one in own)]
    needs = ["your files"] if {"parquet", "folder"} & set(sources) and not named else []
    if source.startswith("hub") or "/" in str(content.get("model", "")):
        needs.append("the network")
    return " and ".join(needs) or "nothing"

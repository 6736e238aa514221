"""A suite: methods, conditions and seeds that are run and looked at together.

    name: styles
    settings: {data: world, data.partition: domain, rounds: 10}
    methods: [zeroshot, fedavg, {label: fedavg-product, method: fedavg, method.mean: product}]
    conditions:
      one style: {data.styles: [flat, pastel]}
      four styles: {data.styles: [flat, sketched, pastel, blurred]}
    seeds: 5
    baseline: fedavg

A cell's recipe is, lowest first: the method's defaults, the recipe file, ``settings``, the condition, the method's own
entry, the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, field_validator, model_validator

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError, nearest
from synoptic.core.files import digest
from synoptic.experiment.overrides import parse_override, settings_of
from synoptic.experiment.problems import RecipeError, Where, check, nowhere
from synoptic.experiment.recipe import ENDINGS, Recipe, layered_recipe
from synoptic.experiment.yaml_text import read_yaml

Settings = dict[str, Any]
OWN = ("label", "recipe", "method")
"""Keys of a method's entry that are no recipe keys."""

QUICK_SEEDS = (0, 1)


@dataclass(frozen=True)
class Cell:
    """One run of a suite."""

    label: str
    condition: str
    seed: int

    def __str__(self) -> str:
        return f"{self.label}{f', {self.condition}' if self.condition else ''}, seed {self.seed}"


def _plain() -> dict[str, Settings]:
    return {"": {}}


class Suite(Section):
    """What is compared with what."""

    name: str = Field("", description="what files about it are called")
    title: str = Field("", description="a heading for its tables")
    about: str = Field("", description="what a reader must know, such as how settings were chosen")
    recipe: str | None = Field(None, description="a recipe file underneath; none: each method's own defaults")
    settings: Settings = Field(default_factory=dict, description="laid over every recipe")
    methods: dict[str, Settings] = Field(description="names, or entries with a label, a method and settings")
    conditions: dict[str, Settings] = Field(default_factory=_plain, description="variants of the problem")
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), description="how many, or a list")
    baseline: str | None = Field(None, description="the label others are compared with; none: the first")
    metrics: tuple[str, ...] = Field((), description="further columns, such as shared/domain/pastel/accuracy/mean")
    quick: Settings = Field(default_factory=dict, description="laid over all when only checking that it can be done")

    _folder: Path = PrivateAttr(default=Path())
    _quickly: bool = PrivateAttr(default=False)

    @field_validator("methods", mode="before")
    @classmethod
    def _entries(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Sequence):
            named = [_entry(item) for item in value]
            labels = [label for label, _ in named]
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice is not None:
                raise ValueError(f"two entries are called '{twice}'; give one of them another label")
            return dict(named)
        return {label: entry or {} for label, entry in value.items()} if isinstance(value, Mapping) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("conditions", mode="before")
    @classmethod
    def _some(cls, value: Any) -> Any:
        return {name: own or {} for name, own in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _sound(self) -> Suite:
        for what, values in (("methods", self.methods), ("seeds", self.seeds), ("conditions", self.conditions)):
            if not values:
                raise ValueError(f"a suite without {what} has nothing to run")
        for layer in (self.settings, self.quick, *self.conditions.values(), *self.methods.values()):
            if taken := {"seed", "output"} & layer.keys():
                raise ValueError(f"'{min(taken)}' is no setting of a comparison; say --seeds or seeds, and --output")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be whole numbers from 0 on, each once")
        if self.baseline is not None and self.baseline not in self.methods:
            raise ValueError(f"the baseline '{self.baseline}' is not among the methods; "
                             f"{nearest(self.baseline, self.methods)}")  # fmt: skip
        return self

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, seed by seed, so that a table of few seeds is there early."""
        return tuple(Cell(label, condition, seed) for seed in self.seeds for condition in self.conditions
                     for label in self.methods)  # fmt: skip

    @property
    def hash(self) -> str:
        """16 hex digits over the recipes of all methods and conditions; seeds are not in it."""
        first = self.seeds[0]
        return digest(*(f"{label}|{condition}|{self.recipe_of(Cell(label, condition, first), Path()).hash}"
                        for condition in sorted(self.conditions) for label in sorted(self.methods)))  # fmt: skip

    def recipe_of(self, cell: Cell, output: Path) -> Recipe:
        """The recipe of one cell, whose run will lie in ``output``.

        Raises:
            SynopticError: settings that do not fit, with the cell's name.
        """
        entry = self.methods[cell.label]
        file = entry.get("recipe", self.recipe)
        method = entry.get("method", None if "recipe" in entry else cell.label)
        what: str | Path = self._place(file) if file is not None else method or cell.label
        own = {key: value for key, value in entry.items() if key not in OWN}
        # The method comes first, or naming it would wipe out settings of its own that stand in a lower layer.
        layers = [{"method": method} if method else {}, self.settings, self.conditions[cell.condition], own,
                  self.quick if self._quickly else {}, {"seed": cell.seed, "output": str(output)}]  # fmt: skip
        try:
            return layered_recipe(what, [settings_of(layer) for layer in layers])
        except RecipeError as error:
            raise RecipeError(f"{cell.label}: {problem}" for problem in error.problems) from error
        except SynopticError as error:
            raise SynopticError(f"{cell.label}: {error.what}", error.fix) from error

    def quicker(self) -> Suite:
        """The same with the ``quick`` settings over everything and two seeds: to see that all of it can be run."""
        small = self.model_copy(update={"seeds": QUICK_SEEDS, "name": f"{self.name}-quick".lstrip("-")})
        small._quickly, small._folder = True, self._folder
        return small

    def anywhere(self) -> Suite:
        """The same with recipe files by their full paths, to be read from another folder."""
        methods = {label: {**own, **({"recipe": str(self._place(own["recipe"]).resolve())} if "recipe" in own else {})}
                   for label, own in self.methods.items()}  # fmt: skip
        file = str(self._place(self.recipe).resolve()) if self.recipe is not None else None
        return self.model_copy(update={"recipe": file, "methods": methods})

    def with_seeds(self, seeds: Sequence[int]) -> Suite:
        """The same with other seeds."""
        return self.model_copy(update={"seeds": tuple(seeds)})

    def _place(self, file: str) -> Path:
        beside = self._folder / file
        return beside if beside.exists() else Path(file)


def parse_suite(content: Mapping[str, Any], name: str, folder: Path, where: Where | None = None) -> Suite:
    """A suite from plain values.

    Args:
        content: as in a file.
        name: what it is called unless it says so itself.
        folder: where recipe files are looked for first.
        where: says on which line a key stands.

    Raises:
        SynopticError: a sentence for each problem.
    """
    content = {"name": name, **content}
    suite, problems = check(Suite, content, (), where or nowhere)
    if suite is None:
        raise RecipeError(_worded(problem) for problem in problems)
    suite._folder = folder
    return suite


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file.

    Raises:
        SynopticError: a sentence for each problem, with file and line.
    """
    content, lines = read_yaml(path)
    return parse_suite(content, path.stem, path.parent,
                       lambda key: f"{path}, line {lines[key]}: " if key in lines else "")  # fmt: skip


def suite_of_words(words: Sequence[str], seeds: int | None = None, baseline: str | None = None,
                   metrics: Sequence[str] = ()) -> Suite:  # fmt: skip
    """A suite as typed: ``fedavg fedprox:method.mu=0.1 data=world rounds=5``, or one ``suite.yaml`` with settings.

    Raises:
        SynopticError: a sentence for each problem.
    """
    named = [word for word in words if not is_setting(word)]
    settings = {".".join(path): value for path, value in map(parse_override, filter(is_setting, words))}
    given: Settings = {key: value for key, value in
                       (("seeds", seeds), ("baseline", baseline), ("metrics", tuple(metrics) or None))
                       if value is not None}  # fmt: skip
    if not named:
        raise SynopticError("nothing to compare", "name methods, such as: synoptic compare fedavg local")
    if len(named) == 1 and named[0].endswith(ENDINGS):
        content, _ = read_yaml(Path(named[0]))
        if "methods" in content:
            suite = read_suite(Path(named[0]))
            laid = {"settings": {**suite.settings, **settings}, **given}
            return parse_suite({**suite.model_dump(), **laid}, suite.name, Path(named[0]).parent)
    for file in (word for word in named if word.endswith(ENDINGS)):
        if "methods" in read_yaml(Path(file))[0]:
            raise SynopticError(f"{file} is a suite and stands alone", "add the other methods to its list of methods")
    return parse_suite({"methods": named, "settings": settings, **given}, "", Path())


def is_setting(word: str) -> bool:
    """Whether a word is ``key=value`` and not ``method:key=value``."""
    key, equals, _ = word.partition("=")
    return bool(equals) and ":" not in key


def _worded(problem: str) -> str:
    """A sentence about recipes, said of a suite."""
    return problem.replace("recipe key '': ", "").replace("recipe key", "suite key").replace("?.", "?")


def _entry(item: Any) -> tuple[str, Settings]:
    if isinstance(item, Mapping):
        label = item.get("label", item.get("method"))
        if not isinstance(label, str):
            raise ValueError("each of the methods needs a name, or a mapping with 'method' or 'label'")
        return label, dict(item)
    word = str(item)
    if word.endswith(ENDINGS):
        return Path(word).stem, {"recipe": word}
    name, *settings = _parts(word)
    return word, {"method": name, **{".".join(path): value for path, value in map(parse_override, settings)}}


def _parts(word: str) -> Iterator[str]:
    """``fedprox:method.mu=0.1:train.lr=0.01`` taken apart; a colon inside a value stays there."""
    name, *rest = word.split(":")
    parts = [name]
    for piece in rest:
        if "=" in piece or len(parts) == 1:
            parts.append(piece)
        else:
            parts[-1] = f"{parts[-1]}:{piece}"
    yield from parts

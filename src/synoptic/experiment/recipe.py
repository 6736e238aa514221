"""One validated description of a run: method, model, data, what is trained, how, and for how long.

>>> recipe = load_recipe("fedprox", ["data=world", "method.mu=0.1"], rounds=5)
>>> recipe.method.settings.mu, recipe.data.source, recipe.rounds
(0.1, 'world', 5)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from os.path import expandvars
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_serializer, model_validator

from synoptic.adapters.spec import AdapterSpec
from synoptic.core.config import Section
from synoptic.core.errors import SynopticError
from synoptic.data.spec import DataSpec
from synoptic.experiment.overrides import Setting, lay_over, parse_override, settings_of
from synoptic.experiment.problems import RecipeError, Where, check, nowhere, validate
from synoptic.experiment.yaml_text import Path_, dump_yaml, read_yaml
from synoptic.federation.spec import FederationSpec
from synoptic.learning.spec import TrainSpec

if TYPE_CHECKING:
    from synoptic.methods.base import Method

UNHASHED = ("seed", "output", "keep")
"""Keys that do not change what a run is about: several seeds of one recipe share its hash."""

CLASSES, ANSWERS = "tiny-clip", "tiny-vlm"
"""The default base, for classes and for questions."""

SOURCE = "data.source"
"""Where a method names data of its own among its defaults, others of them may be about these data."""

ENDINGS = (".yaml", ".yml")
PATHS = ("path", "test_path")


class MethodSpec(Section):
    """The method by name, and its own settings beside the name; a setting can therefore not be called ``name``."""

    primary: ClassVar[str | None] = "name"
    replaces: ClassVar[bool] = True

    name: str
    settings: SerializeAsAny[Section]

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or isinstance(value.get("settings"), Section):
            return value
        from synoptic.methods.base import load_method

        name, own = _split_method(value)
        return {"name": name, "settings": validate(load_method(name).Settings, own, ("method",))}

    @model_serializer(mode="plain")
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings.model_dump(mode="json")}


class EvaluateSpec(Section):
    """When and on whom models are measured."""

    every: int = Field(1, ge=0, description="rounds between evaluations; 0 evaluates before the first and at the end")
    clients: int | None = Field(
        1000, ge=1, description="ask at most so many clients to evaluate, drawn once for the run; none: all"
    )
    personal: Literal["last", "every"] = Field(
        "last", description="when personal models are also tried on the pooled test sets, which costs most"
    )


class ComputeSpec(Section):
    """Threads, memory and precision of the frozen base."""

    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="auto measures what is fastest")
    base_dtype: Literal["float32", "bfloat16"] = Field("float32", description="how the frozen base rests in memory")
    cache: bool = Field(True, description="compute what is frozen once per image for the whole run")
    cache_memory: str | int = Field("2GiB", description="what does not fit goes to a file")
    cache_dir: str | None = Field(None, description="where that file lies; none: a temporary folder")

    @field_validator("cache_memory")
    @classmethod
    def _size(cls, value: str | int) -> str | int:
        from synoptic.models.cache import parse_bytes

        try:
            parse_bytes(value)
        except SynopticError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return value


class Recipe(Section):
    """A run, described. Made by `load_recipe`, which lays a method's own defaults underneath."""

    method: MethodSpec
    model: str = Field(
        CLASSES,
        description="an embedded model (tiny-vlm if the data asks questions), a save_pretrained folder, a hub id",
    )
    data: DataSpec = Field(default_factory=DataSpec)
    adapter: AdapterSpec | None = Field(None, description="none: what the method trains by default")
    train: TrainSpec = Field(default_factory=TrainSpec)
    federation: FederationSpec = Field(default_factory=FederationSpec)
    evaluate: EvaluateSpec = Field(default_factory=EvaluateSpec)
    compute: ComputeSpec = Field(default_factory=ComputeSpec)
    rounds: int = Field(10, ge=0, description="rounds of training")
    seed: int = Field(0, ge=0, description="root of every random draw")
    output: str = Field("runs", description="folder in which the run's own folder is made")
    keep: int = Field(2, ge=1, description="checkpoints kept")

    @property
    def what_is_adapted(self) -> AdapterSpec:
        """The recipe's adapter, or the method's default."""
        from synoptic.methods.base import load_method

        return self.adapter if self.adapter is not None else _default_adapter(load_method(self.method.name), self.data)

    def resolved(self) -> dict[str, Any]:
        """Everything explicit, as plain JSON values in a fixed order."""
        return {**self.model_dump(mode="json"), "adapter": self.what_is_adapted.model_dump(mode="json")}

    @property
    def hash(self) -> str:
        """16 hex digits over all that is resolved but the seed, the output folder and how many checkpoints are kept."""
        content = {key: value for key, value in self.resolved().items() if key not in UNHASHED}
        # Where a folder lies is not what it is: the same recipe has the same hash on another machine.
        content["model"] = _last_name(content["model"])
        content["data"] = {key: _last_name(value) if key in PATHS else value for key, value in content["data"].items()}
        content["compute"] = {key: value for key, value in content["compute"].items() if key != "cache_dir"}
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_yaml(self) -> str:
        """The resolved recipe as a file that `read_recipe` reads back."""
        head = f"# Resolved recipe {self.hash}; run it again with: synoptic run recipe.yaml"
        return f"{head}\n{dump_yaml(self.resolved())}"


def load_recipe(what: str | Path, overrides: Sequence[str] = (), **keywords: Any) -> Recipe:
    """The recipe of a method or a YAML file, with settings laid over it.

    Lowest come the sections' defaults, then the method's, the file's, ``overrides``, ``keywords``.

    Args:
        what: a method's name, or the path of a YAML file.
        overrides: settings as typed on the command line, ``"train.lr=0.01"``.
        keywords: the same from Python, ``train={"lr": 0.01}`` or ``**{"train.lr": 0.01}``.

    Raises:
        SynopticError: one sentence for each problem: the key, the value, what is allowed.
    """
    return layered_recipe(what, [[parse_override(text) for text in overrides], settings_of(keywords)])


def layered_recipe(what: str | Path, changes: Sequence[Sequence[Setting]]) -> Recipe:
    """The recipe of a method or a YAML file with layers of settings over it, lowest first.

    Within a layer short keys go first; a later layer's ``data.partition`` therefore starts that section anew even where
    an earlier one had set ``data.partition.alpha``.

    Raises:
        SynopticError: one sentence for each problem.
    """
    path = _file_meant(what)
    if path is None:
        return _complete([[(("method",), str(what))], *changes], Path(), nowhere)
    content, lines = read_yaml(path)
    where = _places(str(path), lines, [changed for layer in changes for changed, _ in layer])
    return _complete([settings_of(content), *changes], path.parent, where)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file as it stands."""
    return load_recipe(path)


def _last_name(value: str | None) -> str | None:
    return Path(value).name if value is not None and Path(value).is_absolute() else value


def _file_meant(what: str | Path) -> Path | None:
    """The file that ``what`` names, or None when it is a method's name."""
    text = str(what)
    if isinstance(what, str) and not text.endswith(ENDINGS) and "/" not in text and "\\" not in text:
        return None
    path = Path(what).expanduser()
    if path.is_dir():
        raise SynopticError(f"{text} is a folder, not a recipe",
                            f"give a YAML file; to go on with a run, write: synoptic run --resume {text}")  # fmt: skip
    return path


def _complete(layers: Sequence[Sequence[Setting]], folder: Path, where: Where) -> Recipe:
    """Lay the user's layers of settings over the method's defaults and validate the whole."""
    from synoptic.methods.base import load_method

    name, own = _split_method(_pile({}, layers).get("method"))
    method = load_method(name)
    layers = [settings_of(_applying(method.defaults, layers)), *layers]
    data = _data_meant(_pile({}, layers).get("data"))
    lowest = {"model": ANSWERS if data.asks else CLASSES, "adapter": _default_adapter(method, data).model_dump()}
    tree = _pile(lowest, layers)
    method_settings, problems = check(method.Settings, own, ("method",), where)
    tree["method"] = {"name": name, "settings": method_settings or Section()}
    recipe, more = check(Recipe, tree, (), where)
    if recipe is None or problems:
        raise RecipeError([*problems, *more])
    _check_suits(method, recipe)
    return _with_full_paths(recipe, folder)


def _check_suits(method: type[Method], recipe: Recipe) -> None:
    """Refuse data that the method is not made for."""
    name, data = recipe.method.name, recipe.data
    given = f"data.source={data.source}"
    several = data.tasks is not None
    if several and (not method.several_tasks or method.dual_encoder_only):
        raise SynopticError(f"{name} trains one task for all clients, and {given} gives them different ones",
                            "set another method (fedavg, local, tap), or other data")  # fmt: skip
    if method.tasks_only and not several:
        raise SynopticError(f"{name} is for clients with different tasks, and {given} gives all the same",
                            "set another method, or data=tasks")  # fmt: skip
    if not several and recipe.adapter is not None and recipe.adapter.backbone is not None:
        raise SynopticError(f"adapter.backbone lies behind the towers of several tasks, and {given} has one",
                            "leave it out, or set data=tasks")  # fmt: skip
    if method.dual_encoder_only and data.asks:
        raise SynopticError(f"{name} needs a dual encoder such as {CLASSES}, and {given} asks "
                            "questions", "set another method, or data with classes")  # fmt: skip
    if method.answerer_only and not data.asks:
        raise SynopticError(f"{name} aligns a generative model such as {ANSWERS}, and {given} "
                            "asks no questions", "set another method, or data with questions")  # fmt: skip


def _applying(defaults: Mapping[str, Any], layers: Sequence[Sequence[Setting]]) -> dict[str, Any]:
    """A method's defaults; those about data, and the base for them, only as long as nobody names another source."""
    own, data = defaults.get(SOURCE), _pile({}, layers).get("data")
    named = data.get("source", own) if isinstance(data, Mapping) else own if data is None else data
    return {
        key: value for key, value in defaults.items() if named == own or not (key == "model" or key.startswith("data."))
    }


def _data_meant(content: Any) -> DataSpec:
    """The data that the layers describe; where they make no sense, validation of the whole will say so."""
    spec, _ = check(DataSpec, content if content is not None else {}, ("data",), nowhere)
    return spec or DataSpec()


def _default_adapter(method: type[Method], data: DataSpec) -> AdapterSpec:
    if data.tasks is not None:
        return method.tasks_adapter
    return method.answerer_adapter if data.asks else method.adapter


def _pile(tree: dict[str, Any], layers: Sequence[Sequence[Setting]]) -> dict[str, Any]:
    for layer in layers:
        tree = lay_over(tree, layer, Recipe)
    return tree


def _split_method(content: Any) -> tuple[str, dict[str, Any]]:
    """The method's name and its own settings."""
    own = {"name": content} if isinstance(content, str) else dict(content) if isinstance(content, Mapping) else {}
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise SynopticError("the recipe names no method", "add method=NAME; `synoptic methods` lists them")
    return name, own


def _places(file: str, lines: Mapping[Path_, int], changed: Sequence[Path_]) -> Where:
    """Where a key was written: in the file, unless a later setting touched it."""

    def where(path: Path_) -> str:
        later = any(path[: len(change)] == change for change in changed)
        return f"{file}, line {lines[path]}: " if path in lines and not later else ""

    return where


def _with_full_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Absolute paths, so that a run resumes from any directory; beside the recipe is the second place to look."""
    data, model = recipe.data, recipe.model
    if data.source in ("parquet", "folder", "tasks"):
        full = {key: _full(value, folder) for key in ("path", "test_path") if (value := getattr(data, key)) is not None}
        data = data.model_copy(update=full)
    # A word alone is an embedded model; with a slash it is a folder if there is one, else a hub id.
    if "/" in model:
        model = _full(model, folder)
    return recipe.model_copy(update={"data": data, "model": model})


def _full(text: str, folder: Path) -> str:
    path = Path(expandvars(text)).expanduser()
    # Of a pattern only the part before its first wildcard can be looked up.
    plain = list(takewhile(lambda part: not any(mark in part for mark in "*?[{"), path.parts))
    for place in (Path.cwd(), folder):
        found = place / Path(*plain)
        if found.exists():
            return str(found.resolve().joinpath(*path.parts[len(plain) :]))
    return str(path)

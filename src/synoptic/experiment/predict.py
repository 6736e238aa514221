"""Trying an adapter at once: class probabilities of pictures, computed as in a run's own evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict

from synoptic.adapters.peft_card import is_hub_id
from synoptic.adapters.peft_io import CONFIG, NOTE, Words, import_peft, read_note
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.core.files import read_json
from synoptic.data.sources.source import TEMPLATE
from synoptic.data.table import ExampleTable, FileImages
from synoptic.experiment.delivered import finished, listing, personal, read_about, shared
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import embedded, shared_dual_encoder

MODEL = "config.json"


@dataclass(frozen=True)
class Guess:
    """A class and its probability among the candidates."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one picture, likeliest first."""

    image: Path
    top: tuple[Guess, ...]


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and with what.

    Attributes:
        base, fingerprint: the base that wore the adapter.
        template: the prompt.
        classes: the candidates.
        images: one prediction for each picture, in the order given.
    """

    base: str
    fingerprint: str
    template: str
    classes: tuple[str, ...]
    images: tuple[Prediction, ...]


@dataclass(frozen=True)
class Chosen:
    """What the user named: an adapter folder (None: the base alone), its base, and what it tells apart, if known."""

    folder: Path | None
    base: str
    words: Words | None


def predict(
    adapter: str | Path, images: Sequence[str | Path], classes: Sequence[str] | None = None,
    template: str | None = None, base: str | None = None, client: str | None = None, top: int = 3,
) -> Predictions:  # fmt: skip
    """Classify pictures among class names.

    Args:
        adapter: a folder in PEFT's format, a folder that `synoptic.experiment.export.export` wrote, the folder of a
            run, or a base model alone (embedded name, folder, hub id).
        images: picture files.
        classes: candidates; those of the adapter's training when left out.
        template: the prompt, with ``{}`` for the class; the adapter's own when left out.
        base: where the adapter's base lies, if not where the adapter says.
        client: whose adapter, where clients have their own: name or number.
        top: how many classes of each picture to give.

    Raises:
        SynopticError: nothing to predict with, on or among; a picture that cannot be read; another base.
    """
    paths = _existing(images)
    if top < 1:
        raise SynopticError(f"the {top} likeliest classes are none", "ask for at least 1")
    chosen = choose(adapter, base, client)
    names = _candidates(classes, chosen)
    prompt = _template(template, chosen)
    model = shared_dual_encoder(chosen.base)
    one = import_peft(chosen.folder, model) if chosen.folder is not None else None
    shares = probabilities(model, one, paths, [prompt.replace("{}", name) for name in names])
    return Predictions(model.name, model.fingerprint, prompt, names, tuple(
        Prediction(path, _best(row, names, top)) for path, row in zip(paths, shares, strict=True)
    ))  # fmt: skip


@torch.no_grad()
def probabilities(
    model: DualEncoder, one: TensorDict | None, paths: Sequence[Path], prompts: Sequence[str]
) -> torch.Tensor:
    """Softmax ``[N, C]`` of the similarities of N pictures with C prompts, wearing one adapter or none."""
    table = ExampleTable("the pictures", FileImages(tuple(paths)), np.zeros(len(paths), dtype=np.int64), ("",))
    everything = np.arange(len(paths))
    worn = leaves(expand(one, 1)) if one is not None else {}
    rows = ImageRows(model, table, everything, None)
    logits_1NC = Classifier(model, prompts).predict(worn, rows, everything, np.arange(len(prompts)))
    return logits_1NC[0].softmax(-1)


def _best(row_C: torch.Tensor, names: Sequence[str], top: int) -> tuple[Guess, ...]:
    values, places = row_C.topk(min(top, len(names)))
    return tuple(Guess(names[place], float(value)) for value, place in zip(values, places.tolist(), strict=True))


# -- what the user named ----------------------------------------------------------------------------------------------


def choose(adapter: str | Path, base: str | None = None, client: str | None = None) -> Chosen:
    """Find the adapter and its base. Nothing large is read.

    Raises:
        SynopticError: neither an adapter, nor a run, nor a model; or a client that it does not have.
    """
    path = Path(adapter).expanduser()
    if (path / "recipe.yaml").exists():
        return _of_run(path, base, client)
    if (path / "shared").is_dir() or (path / "personal").is_dir():
        return _of_export(path, base, client)
    if client is not None:
        raise SynopticError(f"{adapter} is not a run, so it has no clients to choose from", "leave out --client")
    if (path / CONFIG).exists() or ((path / NOTE).exists() and not (path / MODEL).exists()):
        return _of_adapter(path, base)
    return _of_model(str(adapter), path, base)


def _of_run(path: Path, base: str | None, client: str | None) -> Chosen:
    run = finished(path)
    about = read_about(run)
    which = shared(run, about) if client is None else personal(run, about, client)
    if which is None and about.personal:
        raise SynopticError(f"every client of the run {run.name} has its own adapter",
                            f"choose with --client among {listing(about.personal.values())}")  # fmt: skip
    # A run that trained nothing is its base.
    return Chosen(which.folder if which is not None else None, base or run.recipe["model"], about.words)


def _of_export(path: Path, base: str | None, client: str | None) -> Chosen:
    if client is None and (path / "shared").is_dir():
        return _of_adapter(path / "shared", base)
    own = {folder.name: folder for folder in sorted((path / "personal").glob("*")) if folder.is_dir()}
    if client in own:
        return _of_adapter(own[client], base)
    if not own:
        raise SynopticError(f"{path} has no adapter of a client '{client}': it holds the shared one alone",
                            "export with --client, or leave it out here")  # fmt: skip
    what = f"{path} has no adapter of a client '{client}'" if client else f"{path} has several clients' own adapters"
    raise SynopticError(what, f"choose with --client among {listing(own)}")


def _of_adapter(folder: Path, base: str | None) -> Chosen:
    note = read_note(folder)
    named = note.base if note is not None else read_json(folder / CONFIG).get("base_model_name_or_path")
    if base is None and (not named or not _reachable(named)):
        which = f"{named} ({note.fingerprint})" if note is not None else named or "a base that it does not name"
        raise SynopticError(f"the adapter in {folder} was made for {which}, which is not here",
                            "say where it is with --base")  # fmt: skip
    return Chosen(folder, base or str(named), note.words if note is not None else None)


def _of_model(name: str, path: Path, base: str | None) -> Chosen:
    if path.is_dir() and not (path / MODEL).exists():
        raise SynopticError(f"{name} is neither an adapter nor a run nor a model", f"point to a folder with {CONFIG}")
    if not _reachable(name):
        known = {*embedded(), *(entry.name for entry in path.parent.glob("*") if entry.is_dir())}
        close = nearest(path.name, known) if known else ""
        raise SynopticError(f"there is no adapter, run or model {name}",
                            close if close.endswith("?") else "give a folder, or the name of a base")  # fmt: skip
    if base is not None:
        raise SynopticError(f"{name} is a base itself", "leave out --base")
    note = read_note(path) if path.is_dir() else None
    return Chosen(None, name, note.words if note is not None else None)


def _reachable(base: str) -> bool:
    """Whether a base's name is an embedded one, a folder, or can only be the hub's."""
    path = Path(base).expanduser()
    return base in embedded() or path.is_dir() or (is_hub_id(base) and not path.parent.exists())


# -- what to predict --------------------------------------------------------------------------------------------------


def _existing(images: Sequence[str | Path]) -> list[Path]:
    paths = [Path(image).expanduser() for image in images]
    if not paths:
        raise SynopticError("no picture was given", "name at least one file")
    for path in paths:
        if path.is_dir():
            raise SynopticError(f"{path} is a folder, not a picture", f"name the files, such as {path}/*.png")
        if not path.is_file():
            raise SynopticError(f"there is no picture {path}", "check the path")
    return paths


def _candidates(classes: Sequence[str] | None, chosen: Chosen) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes) if classes is not None else chosen.words and chosen.words.classes
    if not names or not any(names):
        what = f"the adapter in {chosen.folder}" if chosen.folder is not None else _base_alone(chosen.base)
        silent = f"no class was given, and {what} does not say what to tell apart"
        raise SynopticError(silent if classes is None else "no class was given", 'give --classes "cat,dog"')
    if not all(names) or len(set(names)) < len(names):
        raise SynopticError(f"the classes {', '.join(map(repr, names))} are not all different and not all words",
                            "give every class once")  # fmt: skip
    if len(names) == 1:
        raise SynopticError(f"'{names[0]}' alone leaves nothing to choose from", "give at least two classes")
    return names


def _base_alone(base: str) -> str:
    # A mistyped folder may look like an id of the hub.
    here = base in embedded() or Path(base).expanduser().is_dir()
    return f"the base {base} alone" if here else f"{base} (no folder here, so a model of the hub)"


def _template(template: str | None, chosen: Chosen) -> str:
    prompt = template if template is not None else chosen.words.template if chosen.words is not None else TEMPLATE
    if "{}" not in prompt:
        raise SynopticError(f"the template {prompt!r} has no place for the class", "write {} where it goes")
    return prompt

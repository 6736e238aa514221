"""Trying an adapter at once: class probabilities of pictures, computed as in a run's own evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict

from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.data.sources.source import TEMPLATE
from synoptic.data.table import ExampleTable, FileImages
from synoptic.experiment.chosen import Chosen, base_alone, choose, existing, is_here, refuse_tasks
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import shared_model


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
    paths = existing(images)
    if top < 1:
        raise SynopticError(f"the {top} likeliest classes are none", "ask for at least 1")
    chosen = choose(adapter, base, client)
    refuse_tasks(chosen, adapter)
    if chosen.words is None and is_here(chosen.base):
        # That it asks for questions helps more than that classes are missing.
        _dual_encoder(chosen.base, adapter)
    names = _candidates(classes, chosen)
    prompt = _template(template, chosen)
    model = _dual_encoder(chosen.base, adapter)
    one = import_peft(chosen.folder, model) if chosen.folder is not None else None
    shares = probabilities(model, one, paths, [prompt.replace("{}", name) for name in names])
    return Predictions(model.name, model.fingerprint, prompt, names, tuple(
        Prediction(path, best(row, names, top)) for path, row in zip(paths, shares, strict=True)
    ))  # fmt: skip


def _dual_encoder(base: str, adapter: str | Path) -> DualEncoder:
    model = shared_model(base)
    if isinstance(model, DualEncoder):
        return model
    raise SynopticError(f"{base} answers questions and does not tell classes apart",
                        f'ask it: synoptic ask {adapter} --image PICTURE --question "..."')  # fmt: skip


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


def best(row_C: torch.Tensor, names: Sequence[str], top: int) -> tuple[Guess, ...]:
    """The likeliest names of one row of probabilities ``[C]``, likeliest first."""
    values, places = row_C.topk(min(top, len(names)))
    return tuple(Guess(names[place], float(value)) for value, place in zip(values, places.tolist(), strict=True))


def _candidates(classes: Sequence[str] | None, chosen: Chosen) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes) if classes is not None else chosen.words and chosen.words.classes
    if not names or not any(names):
        what = f"the adapter in {chosen.folder}" if chosen.folder is not None else base_alone(chosen.base)
        silent = f"no class was given, and {what} does not say what to tell apart"
        raise SynopticError(silent if classes is None else "no class was given", 'give --classes "cat,dog"')
    if not all(names) or len(set(names)) < len(names):
        raise SynopticError(f"the classes {', '.join(map(repr, names))} are not all different and not all words",
                            "give every class once")  # fmt: skip
    if len(names) == 1:
        raise SynopticError(f"'{names[0]}' alone leaves nothing to choose from", "give at least two classes")
    return names


def _template(template: str | None, chosen: Chosen) -> str:
    prompt = template if template is not None else chosen.words.template if chosen.words is not None else TEMPLATE
    if "{}" not in prompt:
        raise SynopticError(f"the template {prompt!r} has no place for the class", "write {} where it goes")
    return prompt

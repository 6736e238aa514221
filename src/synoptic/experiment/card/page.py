"""The card as a whole: front matter, what it is, how to load it, and the sections in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from synoptic.adapters.peft_card import is_hub_id, loading
from synoptic.adapters.stack import names, size_bytes, trainable_names
from synoptic.experiment.card import tasks
from synoptic.experiment.card.data import cost, data, training
from synoptic.experiment.card.metrics import limits, metrics
from synoptic.experiment.card.privacy import privacy
from synoptic.experiment.card.subject import Subject
from synoptic.experiment.display.numbers import bytes_text
from synoptic.models.load import embedded

WIDTH = 116
"""Columns of running text."""

HERE = "path/to/this/folder"


def write_card(subject: Subject, command: str) -> str:
    """The text of ``README.md``.

    Args:
        subject: what it is about.
        command: what exported it.
    """
    sections = [
        ("Load it", load(subject)),
        ("Data", data(subject)),
        ("Training", training(subject)),
        ("Metrics", metrics(subject)),
        ("Bytes and time", cost(subject)),
        ("Privacy", privacy(subject.run, subject.about, subject.which)),
        ("Use and limits", limits(subject)),
        ("How this folder was made", _made(subject, command)),
    ]
    return assembled(subject, _head(subject), sections)


def assembled(subject: Subject, head: Iterable[str], sections: Iterable[tuple[str, Iterable[str]]]) -> str:
    """A card of front matter, opening paragraphs, and titled sections of paragraphs."""
    parts = [_front_matter(subject), *head]
    for title, paragraphs in sections:
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(map(_wrapped, parts)) + "\n"


def _wrapped(paragraph: str) -> str:
    """Running text broken at word ends; front matter, titles, tables and code as they are."""
    if paragraph.startswith(("|", "```", "#", "---")):
        return paragraph
    indent = "  " if paragraph.startswith("- ") else ""
    return "\n".join(fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
                     for line in paragraph.splitlines())  # fmt: skip


def _front_matter(subject: Subject) -> str:
    kinds = sorted({name.split("/")[1] for name in names(subject.one)}) if not subject.tasks else ["multi-task"]
    library = "transformers" if subject.merged else "peft" if subject.family else "synoptic"
    lines = ["---"]
    lines += [f"base_model: {subject.base}"] if is_hub_id(subject.base) else []
    lines += [f"library_name: {library}", f"pipeline_tag: {_pipeline(subject)}", "tags:"]
    lines += [f"- {tag}" for tag in ("synoptic", "federated-learning", subject.run.method, *kinds)]
    return "\n".join([*lines, "metrics:", "- accuracy", "---"])


def _pipeline(subject: Subject) -> str:
    if subject.tasks:
        return tasks.pipeline(subject)
    return "image-text-to-text" if subject.asks else "zero-shot-image-classification"


def _head(subject: Subject) -> Iterator[str]:
    run = subject.run
    whose = "shared adapter" if subject.which.kind == "shared" else "personal adapter of one client"
    yield f"# {run.method} on {run.recipe['data']['source']}: {whose} for {subject.base}"
    how = "inside the weights of its base" if subject.merged else "for the frozen base"
    yield (f"A {whose} {how} `{subject.base}`, from a federated run with {subject.about.sizes.clients:,} clients. "
           f"{run.method}: {subject.about.method}.")  # fmt: skip
    yield facts(subject)


def facts(subject: Subject) -> str:
    """The table of base, what is adapted, size and run."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _facts(subject))])


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    one, summary = subject.one, subject.run.summary
    kind = "on the Hugging Face hub" if is_hub_id(subject.base) else "a local folder"
    kind = "ships with Synoptic" if subject.base in embedded() else kind
    yield "base", f"`{subject.base}` ({kind}), fingerprint `{summary['model']['fingerprint']}`"
    towers = {"vision": "vision tower", "connector": "connector", "text": "language decoder"}
    for tower, title in towers.items() if subject.asks else (("vision", "vision tower"), ("text", "text tower")):
        yield title, _adapted(subject.run.recipe["adapter"].get(tower) or {})
    if subject.tasks:
        sizes = subject.run.recipe["adapter"]["backbone"]
        yield "backbone", f"low-rank blocks of rank {sizes['rank']}; heads of rank {sizes['head_rank']}"
        yield "tasks", ", ".join(f"`{task.name}`" for task in subject.tasks)
    count = sum(one[name].numel() for name in trainable_names(one))
    yield "size", f"{count:,} trained values, {bytes_text(size_bytes(one))}"
    yield "run", f"recipe `{summary['recipe_hash']}`, seed {subject.run.seed}"


def _adapted(spec: Mapping[str, Any]) -> str:
    """What is trained on one tower, in words."""
    words = []
    if spec.get("lora"):
        lora = spec["lora"]
        pooling = " and the pooling head" if lora.get("pooling") else ""
        # A connector has no blocks: all its linear weights are adapted.
        blocks = _blocks(lora["layers"]) if "layers" in lora else ""
        where = f"{', '.join(lora['targets'])} of {blocks}" if blocks else "its linear weights"
        words.append(f"LoRA of rank {lora['rank']}, alpha {lora['alpha'] or lora['rank']:g}, on {where}{pooling}")
    if spec.get("prompt"):
        words.append(f"a prompt of {spec['prompt']['length']} vectors")
    if spec.get("head"):
        words.append("a residual linear head")
    return "; ".join(words) or "frozen"


def _blocks(layers: int | str | Sequence[int]) -> str:
    if isinstance(layers, int):
        return "the last block" if layers == 1 else f"the last {layers} blocks"
    return "all blocks" if isinstance(layers, str) else f"blocks {', '.join(map(str, layers))}"


def load(subject: Subject) -> Iterator[str]:
    """Code that loads what lies in the folder, and the command that tries it."""
    known = subject.base in embedded() or is_hub_id(subject.base)
    base = subject.base if known else f"path/to/{subject.base}"
    if subject.merged:
        yield "With `transformers` alone:"
        parts = {"tokenizer": "AutoTokenizer", "processor": "AutoImageProcessor"} if subject.asks else {}
        parts = parts or {"processor": "AutoProcessor"}
        yield _code(f"from transformers import {', '.join([*parts.values(), subject.family or ''])}",
                    f'model = {subject.family}.from_pretrained("{HERE}")',
                    *(f'{name} = {kind}.from_pretrained("{HERE}")' for name, kind in parts.items()))  # fmt: skip
    elif subject.family is not None:
        yield "With plain `transformers` and `peft`:"
        yield loading(base, subject.family, HERE).strip()
    if subject.tasks:
        yield "With Synoptic, from the command line:"
        yield f"```\n{tasks.commands(subject, HERE, '' if known else f' --base {base}')}\n```"
        yield "Or in a program, where `model.read` and its heads take what the blocks make of pictures and texts:"
        yield _code("from pathlib import Path", "from synoptic.models.load import load_model",
                    "from synoptic.models.multitask import open_blocks",
                    f'model, blocks = open_blocks(Path("{HERE}"), load_model("{base}"))')  # fmt: skip
        return
    beyond = [] if subject.merged else sorted({_short(name) for name in names(subject.one) if _beyond(name, subject)})
    if beyond:
        yield (f"PEFT has no form for {', '.join(f'`{name}`' for name in beyond)}, kept in "
               "`synoptic_extra.safetensors`. Without that file the model is not the one that was measured. Synoptic "
               "wears the whole adapter:")  # fmt: skip
    else:
        yield "Or at once, with Synoptic:"
    more = "" if known or subject.merged else f" --base {base}"
    asked = f'ask {HERE} --image picture.png --question "..."' if subject.asks else f"predict {HERE} picture.png"
    yield f"```\nsynoptic {asked}{more}\n```"


def _code(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _beyond(name: str, subject: Subject) -> bool:
    """Whether plain PEFT does not load a tensor here."""
    # Of LoRA that is the output projection of a packed attention, whose other parts are called #q, #k and #v.
    before, packed, _ = name.partition(".out_proj/")
    parts = packed and any(other.startswith(f"{before}#") for other in names(subject.one))
    return "/lora/" not in name or subject.family is None or bool(parts)


def _short(name: str) -> str:
    return name.rpartition("/")[0] if "/lora/" in name else name


def _made(subject: Subject, command: str) -> Iterator[str]:
    from synoptic import __version__

    packages = subject.run.summary.get("environment", {}).get("packages", {})
    used = ", ".join(f"{name} {version}" for name, version in packages.items() if name != "synoptic")
    yield f"Trained with Synoptic {packages.get('synoptic', 'of an unknown version')}" + (
        f" ({used})." if used else "."
    )
    yield f"Exported with Synoptic {__version__} by"
    yield f"```\n{command}\n```"

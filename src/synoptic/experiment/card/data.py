"""A card's sections on data, training and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synoptic.adapters.peft_io import Words
from synoptic.experiment.card import tasks
from synoptic.experiment.card.subject import Subject, bullets, counted
from synoptic.experiment.display.numbers import bytes_text, seconds_text
from synoptic.experiment.records import flat

SHOWN = 20
"""Class names that a card lists."""


def data(subject: Subject) -> Iterator[str]:
    """Where the examples came from, how many there were, and how they were shared out."""
    if subject.tasks:
        yield from tasks.data(subject)
        return
    sizes, spec = subject.about.sizes, subject.run.recipe["data"]
    domains = f" ({', '.join(sizes.domain_names)})" if sizes.domain_names else ""
    yield bullets(
        *examples(subject),
        f"clients: {sizes.clients:,}, with {sizes.fewest:,} to {sizes.most:,} training examples each "
        f"(median {sizes.median:,.0f})",
        f"who holds what: {_partition(spec)}",
        f"domains: {sizes.domains}{domains}" if sizes.domains else None,
    )
    yield "This card names no client."


def examples(subject: Subject) -> Iterator[str]:
    """Where the examples came from, what they are, and how many there were."""
    about, spec = subject.about, subject.run.recipe["data"]
    if subject.tasks:
        yield from tasks.examples(subject, spec)
        return
    yield f"source: {_source(spec)}"
    yield from _classes(about.words) if about.words is not None else _questions(spec)
    dropped = f"; {about.sizes.dropped:,} left out of training because the test part has the same picture"
    counts = f"examples: {about.sizes.train:,} for training, {about.sizes.test:,} for testing"
    yield counts + (dropped if about.sizes.dropped else "")


def _classes(words: Words) -> Iterator[str]:
    novel = set(words.novel)
    yield f"classes trained: {_listed([name for name in words.classes if name not in novel])}"
    if novel:
        yield f"classes never trained, for testing only: {_listed(words.novel)}"
    yield f"prompt: `{words.template}`"


def _questions(spec: Mapping[str, Any]) -> Iterator[str]:
    yield "each example is a picture, a question and its answer; training scores the answer alone"
    for name in ("question", "answer", "rejected"):
        if spec.get(name) is not None:
            yield f"column of the {name}{' answer' if name == 'rejected' else ''}: `{spec[name]}`"
    for name, value in flat(spec.get("questions") or {}):
        if value is not None:
            yield f"questions.{name}: {value}"


def _source(spec: Mapping[str, Any]) -> str:
    path = spec.get("path")
    if path is None:
        return str(spec["source"])
    name = str(path) if spec["source"] == "hub" else str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"{spec['source']} `{name}`"


def _listed(words: Sequence[str]) -> str:
    rest = len(words) - SHOWN
    return f"{len(words):,} ({', '.join(words[:SHOWN])}" + (f" and {rest:,} more)" if rest > 0 else ")")


def _partition(spec: Mapping[str, Any]) -> str:
    how = spec["partition"]
    options = {"alpha": "dirichlet" in how["kind"], "classes_per_client": how["classes_per_client"] is not None,
               "column": how["column"] is not None}  # fmt: skip
    words = [f"{name} {how[name]}" for name, shown in options.items() if shown]
    shots = [f"{spec['shots']} examples per class and client"] if spec.get("shots") else []
    return ", ".join([f"partition `{how['kind']}`", *words, *shots])


def training(subject: Subject) -> Iterator[str]:
    """The method, its settings, and how much work was done."""
    run = subject.run
    recipe, summary = run.recipe, run.summary
    train, work = recipe["train"], summary.get("work", {})
    own = ", ".join(f"{key}={value}" for key, value in flat(recipe["method"]) if key != "name" and value is not None)
    pace = counted(train["steps"], "step") if train["steps"] is not None else counted(train["epochs"], "epoch")
    yield bullets(
        f"method: {run.method} ({subject.about.method})",
        f"its settings: {own}" if own else None,
        f"rounds: {summary['rounds']}, each with {_cohort(recipe['federation']['participation'])}",
        f"local training: {pace} a round, batches of {train['batch_size']}, {train['optimizer']}, learning rate "
        f"{train['lr']:g} ({train['schedule']})",
        f"optimiser steps, all clients together: {work['steps']:,.0f}" if work.get("steps") else None,
        f"optimiser steps on the server: {work['server_steps']:,.0f}" if work.get("server_steps") else None,
        f"precision: the frozen base rested in {recipe['compute']['base_dtype']}; what is trained is float32",
        f"recipe hash: `{summary['recipe_hash']}` (everything but the seed), seed {run.seed}, final hash "
        f"`{summary.get('final_hash', 'unknown')}`",
    )


def _cohort(participation: float) -> str:
    if participation == 1:
        return "all clients"
    return f"{participation:g} of the clients" if participation < 1 else counted(int(participation), "client")


def cost(subject: Subject) -> Iterator[str]:
    """Bytes and seconds."""
    summary = subject.run.summary
    moved, seconds, machine = summary["bytes"], summary["seconds"], summary.get("environment", {})
    parts = ", ".join(f"{name} {seconds_text(value)}" for name, value in seconds.items() if name != "total")
    where = f", on {counted(machine['threads'], 'thread')} ({machine['machine']})" if "threads" in machine else ""
    yield bullets(
        f"up (clients to server): {bytes_text(moved['up'])}, all clients and rounds together",
        f"down (server to clients): {bytes_text(moved['down'])}",
        f"time: {seconds_text(seconds['total'])} ({parts}){where}",
    )

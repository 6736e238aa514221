"""What a card says otherwise where an adapter is of several tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from synoptic.experiment.card.subject import Subject, bullets
from synoptic.experiment.display.numbers import value_text
from synoptic.experiment.display.performed import gives

AVERAGES = {"mean": "every client counts the same", "worst": "the worst client"}
QUANTITIES = {"accuracy": "right answers", "error": "mean squared error, lower is better", "skill": "skill"}
PIPELINES = {
    ("classify", ("image",)): "image-classification",
    ("classify", ("text",)): "text-classification",
    ("generate", ("image",)): "image-to-text",
    ("generate", ("image", "text")): "visual-question-answering",
    ("reconstruct", ("image",)): "image-to-image",
}


def pipeline(subject: Subject) -> str:
    """What the hub calls it."""
    kinds = {PIPELINES.get((task.kind, task.modalities), "any-to-any") for task in subject.tasks}
    return kinds.pop() if len(kinds) == 1 else "any-to-any"


def table(subject: Subject) -> str:
    """The tasks: what each reads and gives."""
    rows = [f"| `{task.name}` | {' and '.join(task.modalities)} | {gives(task)} |" for task in subject.tasks]
    return "\n".join(["| task | reads | gives |", "|---|---|---|", *rows])


def examples(subject: Subject, spec: dict[str, Any]) -> Iterator[str]:
    """How many examples there were, and where those of one's own came from."""
    sizes, own = subject.about.sizes, spec["tasks"]["own"]
    if sizes.clients > 1:
        yield f"tasks of all clients together: {', '.join(task.name for task in subject.about.tasks)}"
    named = [f"{task['name']} ({task['source']})" for task in own]
    yield f"on data of one's own: {', '.join(named)}" if named else "all generated"
    yield f"examples: {sizes.train:,} for training, {sizes.test:,} for testing"


def commands(subject: Subject, here: str, more: str) -> str:
    """One for each task."""
    options = {"image": " --image picture.png", "text": ' --text "..."'}
    lines = [f"synoptic task {here} {task.name}{''.join(options[modality] for modality in task.modalities)}"
             f"{' --out pictures' if task.kind == 'reconstruct' else ''}{more}" for task in subject.tasks]  # fmt: skip
    return "\n".join(lines)


def measures(subject: Subject) -> dict[str, float]:
    """What is known of the adapter's kind, task by task, and on the scale of all tasks."""
    found, kind = subject.run.summary["metrics"], subject.which.kind
    wanted = [f"{kind}/local/{task.name}/{quantity}/{average}" for task in subject.tasks
              for quantity in ("accuracy", "error") for average in AVERAGES]  # fmt: skip
    return {name: found[name] for name in [*wanted, *(f"{kind}/local/skill/{average}" for average in AVERAGES)]
            if name in found}  # fmt: skip


def metrics(subject: Subject) -> Iterator[str]:
    """Measures before and after training, and this client's own."""
    before = subject.run.summary.get("before", {})
    yield ("On clients' own test data, after the last round, never after the best, and before training. A label or a "
           "text counts as right when it is exactly the reference. Skill is 0 for whoever does not look at the input "
           "and 1 for perfect, so that tasks can be averaged.")  # fmt: skip
    lines = ["| metric | before | after | what it is |", "|---|---|---|---|"]
    for name, value in measures(subject).items():
        start = value_text(name, before[name]) if name in before else ""
        lines.append(f"| `{name}` | {start} | {value_text(name, value)} | {_definition(name)} |")
    yield "\n".join(lines)
    own = subject.run.summary.get("clients", {}).get(subject.which.client or "", {})
    told = [f"{name.split('/')[2]} {value_text(name, value)} ({name.rpartition('/')[2]})" for name, value in own.items()
            if name.startswith("personal/local/")]  # fmt: skip
    if told:
        yield f"This very adapter, on its own client's {own['examples']:,.0f} test examples: {', '.join(told)}."


def _definition(metric: str) -> str:
    _, _, *task, quantity, average = metric.split("/")
    of = f"of task {task[0]}" if task else "mean over tasks" if average == "mean" else "the worst task"
    return f"{QUANTITIES[quantity]}, {of}" + (f"; {AVERAGES[average]}" if task else "")


def data(subject: Subject) -> Iterator[str]:
    """What there is to do, and who had what."""
    sizes = subject.about.sizes
    yield table(subject)
    yield bullets(
        *examples(subject, subject.run.recipe["data"]),
        f"clients: {sizes.clients:,}, each with one or more of the tasks, with {sizes.fewest:,} to {sizes.most:,} "
        f"training examples (median {sizes.median:,.0f})",
    )
    yield "This card names no client."


def worse(subject: Subject) -> list[str]:
    """Names of measures that got worse in training."""
    before = subject.run.summary.get("before", {})
    return [name for name, value in measures(subject).items() if name in before
            and (value > before[name] if "/error/" in name else value < before[name])]  # fmt: skip

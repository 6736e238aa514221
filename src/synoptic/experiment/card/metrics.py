"""A card's figures with their definitions, and what they do not say."""

from __future__ import annotations

from collections.abc import Iterator

from synoptic.experiment.card import tasks
from synoptic.experiment.card.subject import Subject
from synoptic.experiment.display.numbers import value_text

SPLITS = {
    "local": "on a client's own test data",
    "base": "on all test examples of classes seen in training",
    "novel": "on test examples of classes never trained",
    "global": "on all test examples, among the names of all classes",
    "hm": "harmonic mean of base and novel",
}
ASKED = {"base": "on all test questions of kinds seen in training", "novel": "on test questions of kinds never trained",
         "global": "on all test questions"}  # fmt: skip
AVERAGES = {
    "mean": "every client counts the same",
    "weighted": "every example of every client counts the same",
    "worst": "the client with the lowest",
    "p10": "what nine clients in ten reach",
}


def metrics(subject: Subject) -> Iterator[str]:
    """Accuracies before and after training."""
    if subject.tasks:
        yield from tasks.metrics(subject)
        return
    before = subject.run.summary.get("before", {})
    how = ("An answer counts as right when greedy decoding gives exactly the reference answer." if subject.asks
           else "A picture is classified among the names of its split's own classes.")  # fmt: skip
    yield f"Accuracy of the last round, never of the best, and of the same model before training. {how}"
    lines = ["| metric | before | after | what it is |", "|---|---|---|---|"]
    for name, value in accuracies(subject).items():
        start = value_text(name, before[name]) if name in before else ""
        lines.append(f"| `{name}` | {start} | {value_text(name, value)} | {definition(name, subject.asks)} |")
    yield "\n".join(lines)
    own = subject.run.summary.get("clients", {}).get(subject.which.client or "", {})
    if "personal/local/accuracy" in own:
        share = value_text("/accuracy", own["personal/local/accuracy"])
        yield f"This very adapter, on its own client's {own['examples']:,.0f} test examples: {share}."


def accuracies(subject: Subject) -> dict[str, float]:
    """The accuracies that concern the card's adapter, without those that name a client or repeat another."""
    found: dict[str, float] = subject.run.summary["metrics"]
    named = bool(subject.about.sizes.domain_names)

    def wanted(name: str) -> bool:
        # On a pooled test set every client has the same examples, so weighted is the mean once more.
        repeated = name.endswith("/weighted") and "/local/" not in name
        return "/accuracy/" in name and not repeated and (named or "/domain/" not in name)

    return {name: value for name, value in found.items() if name.startswith(f"{subject.which.kind}/") and wanted(name)}


def definition(metric: str, asks: bool = False) -> str:
    """What an accuracy is, from its name ``<model>/<split>/accuracy/<average>``, of classes or (``asks``) of answers.

    >>> definition("shared/local/accuracy/worst")
    "on a client's own test data; the client with the lowest"
    """
    model, _, rest = metric.partition("/")
    split, _, average = rest.rpartition("/accuracy/")
    domain = split.removeprefix("domain/")
    of = "questions of" if asks else "examples of trained classes in"
    text = (SPLITS | ASKED if asks else SPLITS).get(split, f"on test {of} the domain {domain}")
    over_clients = split == "local" or (model == "personal" and split != "hm")
    return f"{text}; {AVERAGES.get(average, average)}" if over_clients else text


def limits(subject: Subject) -> Iterator[str]:
    """What the figures do not say, and what got worse."""
    what = "answering questions about pictures" if subject.asks else "classifying pictures by class names"
    if subject.tasks:
        what = f"the {'task' if len(subject.tasks) == 1 else 'tasks'} {', '.join(task.name for task in subject.tasks)}"
    yield (f"Made for {what}, like those of its data, and for research on federated "
           "learning. Tried on the test part of that data and on nothing else; not for uses where a wrong answer "
           "harms somebody.")  # fmt: skip
    before = subject.run.summary.get("before", {})
    worse = [name for name, value in accuracies(subject).items() if value < before.get(name, value)]
    worse, word = (tasks.worse(subject), "Worse") if subject.tasks else (worse, "Lower")
    if worse:
        yield f"{word} than before training: {', '.join(f'`{name}`' for name in worse)}."
    yield ("The figures are of one seed. Another seed gives another split and other figures; `synoptic compare` tells "
           "how much they vary. What the base gets wrong or has prejudices about, an adapter this small mostly "
           "keeps.")  # fmt: skip

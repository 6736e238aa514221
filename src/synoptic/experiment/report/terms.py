"""Definitions of every word and number on the page; a page shows those that it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from synoptic.experiment.comparison.columns import COLUMNS, Column
from synoptic.experiment.report.parts import FIXED, sentence

SPLITS: Final = ("Images are classified among the names of the split's own classes; of questions, answers count that "
                 "are exactly the reference.")  # fmt: skip

WORDS: Final[dict[str, str]] = {
    "± and intervals": "Half of a 95 % interval (Student's t) of the mean over seeds; with one seed there is none.",
    "difference": "Paired: the same seed of both methods shares split, first weights and batches, so values are "
                  "subtracted seed by seed; then the mean and its 95 % interval. Picking the best of several methods "
                  "afterwards is not corrected for.",
    "seed": "Root of every random draw of a run: who holds what, first weights, cohorts and batches; never which "
            "pictures are for testing.",
    "shared": "The model with everybody's adapter.",
    "personal": "The model with a client's own adapter, which only that client has.",
    "n/a": "Does not apply: the method has no such model, or the data have no such part. Never zero.",
    "before and after": "Accuracy with the adapter as it was at the start, and after the last round.",
    "before": "With the adapter as it was at the start, before any training.",
    "after": "After the last round; never the best one.",
    "change": "After minus before, seed by seed: mean and half of a 95 % interval.",
    "round": "The server asks clients to train, and puts together what they send. Round 0 is before training.",
    "training loss": "Cross-entropy on the clients' training batches during the round, mean over examples.",
    "local": "Accuracy on a client's own test data, mean over clients: held-out examples of the classes it holds. "
             f"{SPLITS}",
    "base": f"Accuracy on all test examples of classes seen in training. {SPLITS}",
    "novel": f"Accuracy on all test examples of classes that nobody trained on. {SPLITS}",
    "bytes": "Payload of the method's messages, all clients and rounds; evaluation is counted apart, and the wire adds "
             "its own framing. 1 MB is 10⁶ bytes.",
    "bytes up": "Payload from clients to the server, all clients and rounds; evaluation left out.",
    "bytes down": "Payload from the server to clients, all clients and rounds; evaluation left out.",
    "message kind": "The task that was asked for and the field of its message, such as train.adapter.",
    "training": "Seconds in which clients, or the server, trained.",
    "evaluating": "Seconds in which models were measured; how often one measures is not the method's doing.",
    "communicating": "Seconds for putting messages together, checking them, and the server's own arithmetic.",
    "seconds": "Training, evaluation and communication on the machine that made the run.",
    "client": "A site that holds examples and trains on them.",
    "examples": "How many test examples of its own the client has.",
    "quantile": "Clients sorted by accuracy: 10 % of the clients lie at or below the 10 % quantile.",
    "recipe hash": "16 hex digits over everything the recipe says but seed and places; seeds of one recipe share it.",
    "final hash": "16 hex digits over the server's state and everybody's personal state at the end; the same again "
                  "when the run is repeated with the same versions, processor type, threads and stack size.",
    "base model": "The frozen model that all adapters stand on, by name and fingerprint: 16 hex digits over its "
                  "weights and configuration.",
    "probability": "What the model gives its answer among the candidate classes; it need not be well calibrated.",
    "base classes": "Classes that are trained.",
    "novel classes": "Classes that nobody trains on; only their names are known.",
    "reward": "Mean reward of the sampled answers of a round.",
    "kl": "Mean divergence of the trained from the reference policy, per token or answer as the method has it.",
    "entropy": "Mean entropy of the policy's choices; it falls as the policy becomes certain.",
    "zero_variance": "Share of groups in which all answers got the same reward, which teach nothing.",
    "clip_fraction": "Share of ratios that were clipped.",
    "server_loss": "Loss of the training on the server.",
    "router": "Share of the work that the router gives to each.",
    "replaced": "At how many tasks personal models took over the federated one in a round, all clients together.",
    "replacements": "Of each task, how many clients took over its part of the federated model in a round.",
    "verdict": "Holds: the whole 95 % interval of the effect agrees with the claim. Fails: none of it does. Undecided: "
               "otherwise, or with too few seeds.",
    "effect": "What was measured for the claim, with its 95 % interval over paired seeds.",
    "suite hash": "16 hex digits over the runs that decide the claim, seeds left out.",
}  # fmt: skip
ASKED: Final[dict[str, str]] = {
    "training loss": "Cross-entropy of the answers' tokens on the clients' training batches during the round, mean "
                     "over questions.",
    "local": "Share of a client's own test questions that are answered exactly, mean over clients.",
    "worst client": "Share of exact answers on own test questions, of the client with the lowest.",
    "base": "Share of exact answers on test questions of kinds seen in training.",
    "novel": "Share of exact answers on test questions of kinds that nobody trained on.",
    "global": "Share of all test questions that are answered exactly.",
    "domain": "Share of exact answers on test questions in one domain (a group of sites, or a column's value).",
    "examples": "How many test questions of its own the client has.",
}  # fmt: skip
"""The same words where all that is shown is about questions and answers."""

OTHERS: Final[dict[str, str]] = {
    "before and after": "What was measured with the adapter as it was at the start, and after the last round.",
    "quantile": "Clients sorted by their value: 10 % of the clients lie at or below the 10 % quantile.",
    "domain": "The same measure on the test examples of one domain: a group of sites, a task, a style or a place.",
}
"""The same words where more than accuracies is shown."""

WORDS["domain"] = "Accuracy on test examples of trained classes in one domain (a style or a place), base names only."

ALIASES: Final = {"± (95 %)": "± and intervals", "evidence": "effect", "communication": "communicating"}


def about_column(column: Column, asks: bool) -> str:
    """What a column's numbers are, as a sentence; ``asks`` says that they are about questions and answers."""
    known = asks and column.quantity == "accuracy" and column.name in ASKED
    return ASKED[column.name] if known else sentence(column.about)


def glossary(extra: Sequence[Column], asks: bool = False) -> dict[str, str]:
    """All definitions by word; columns bring their own unless there is a longer one.

    Args:
        extra: columns beside the usual ones.
        asks: whether the page is about questions and answers alone.
    """
    usual = {
        **{column.name: sentence(column.about) for column in (*COLUMNS, *extra)},
        **WORDS,
        **(ASKED if asks else {}),
    }
    others = [column for column in extra if column.is_result and column.quantity != "accuracy"]
    return usual | (OTHERS if others else {}) | {column.name: _meanings(column, extra, usual) for column in others}


def _meanings(column: Column, extra: Sequence[Column], usual: Mapping[str, str]) -> str:
    """A column's definition, after that of accuracies where parts of the page have these under the same name."""
    both = any(one.name == column.name and one.quantity == "accuracy" for one in extra)
    return " ".join([usual[column.name]] * both + [sentence(column.about)])


def meaning(text: str, known: Mapping[str, str]) -> str | None:
    """The glossary's word for a heading: units, ``before``-brackets and case of the first letter do not matter."""
    text = text.replace(FIXED, " ")
    bare = re.sub(r"(,? ?%|\s*\(.*\))$", "", text).strip()
    for candidate in (text, bare, bare[:1].lower() + bare[1:], ALIASES.get(bare, "")):
        if candidate in known:
            return candidate
    first = bare.split("/")[0].split(" ")[0]
    return first if first in ("router", "domain") else None


def anchor(word: str) -> str:
    """The word's id on the page."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")

"""A card's privacy statement: only what the run's own ledger and the method's class say."""

from __future__ import annotations

from collections.abc import Iterator

from synoptic.experiment.delivered import About, Delivered
from synoptic.experiment.display.numbers import bytes_text
from synoptic.experiment.records import RunRecord

RECONSTRUCTION = (
    "The run used neither differential privacy nor secure aggregation. Federated learning without them is no "
    "guarantee: from updates of weights, or from embeddings, that a client sends, somebody may be able to reconstruct "
    "training examples, or to tell whether an example was among them."
)


def privacy(run: RunRecord, about: About, which: Delivered) -> Iterator[str]:
    """Paragraphs: what crossed the boundary, what that does not protect from, and whose this adapter is.

    Args:
        run: a finished run.
        about: what its adapters are about.
        which: the adapter in the folder.
    """
    if about.pools_data:
        yield ("The training data of all clients were put in one place: this method is a ceiling to compare with, and "
               "keeps nothing private.")  # fmt: skip
    else:
        yield ("The clients of this run were simulated on one machine. Between them and the server passed the fields "
               "below, by the run's ledger, and no others.")  # fmt: skip
        yield _crossed(run)
        yield RECONSTRUCTION if _sent(run) else "Clients sent nothing to the server in training."
    yield _whose(about, which)


def _sent(run: RunRecord) -> list[str]:
    return [kind for kind, ways in run.summary["bytes"].get("by_kind", {}).items() if ways["up"]]


def _crossed(run: RunRecord) -> str:
    moved = run.summary["bytes"]
    rows = [f"| `{kind}` | {bytes_text(ways['up'])} | {bytes_text(ways['down'])} |"
            for kind, ways in moved.get("by_kind", {}).items()]  # fmt: skip
    measured = moved.get("evaluation", {"up": 0, "down": 0})
    rows.append(f"| evaluation (counts of right answers and summed losses up, the shared adapter, if any, down) "
                f"| {bytes_text(measured['up'])} | {bytes_text(measured['down'])} |")  # fmt: skip
    return "\n".join(["| task.field | up | down |", "|---|---|---|", *rows])


def _whose(about: About, which: Delivered) -> str:
    if which.kind == "personal":
        return ("This personal adapter belongs to one client: what is personal in it never left that client in the run "
                "(a reply that holds personal tensors is refused). A trained adapter may give away some of the data it "
                "was trained on, so give this folder only to whom that client's data might go.")  # fmt: skip
    own = ("Clients also have personal adapters, which were never sent and are not in this folder. "
           if about.personal else "")  # fmt: skip
    return f"{own}A trained adapter may give away some of the data it was trained on, this one too."

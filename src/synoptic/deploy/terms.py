"""What both sides tell each other before they work together, and whether it fits."""

from __future__ import annotations

from typing import Any

from synoptic import __version__
from synoptic.core import Section, SynopticError
from synoptic.data.federated import FederatedData
from synoptic.experiment.recipe import Recipe

HELLO, BEGIN, BYE = "hello", "begin", "bye"
"""Tasks of the room itself; no method can have one of these names answered by a node."""

ABOUT = "about"
"""The field in which they travel, as JSON."""

ELSEWHERE = ("output", "keep")
"""Keys of a recipe that are about the server's disk."""


class Wish(Section):
    """What a node says of itself.

    Attributes:
        version: of Synoptic.
        seats, of: which clients of how many it wants to be (for trying out a split of one data set); none: any.
    """

    version: str = __version__
    seats: tuple[int, ...] = ()
    of: int = 0


class Terms(Section):
    """What the server asks a node to join.

    Attributes:
        version: of Synoptic.
        run: the run's own name, under which a node keeps what belongs to it.
        recipe: fully resolved; the node's own installed code reads it.
        seats: which clients the node is.
        names: what these are called; only a node's own, for who else takes part is nobody's business.
        clients: how many there are.
        round: rounds that are done.
        base: fingerprint of the frozen base.
        class_names, base_classes, novel_classes, template: what labels mean.
        largest: bytes that a reply may have.
    """

    version: str = __version__
    run: str
    recipe: dict[str, Any]
    seats: tuple[int, ...]
    names: tuple[str, ...]
    clients: int
    round: int
    base: str
    class_names: tuple[str, ...]
    base_classes: tuple[int, ...]
    novel_classes: tuple[int, ...]
    template: str
    largest: int


class Joined(Section):
    """What a node says when it takes part.

    Attributes:
        examples: training examples of its clients.
        own: whether it trains on data of its own; else on its part of the recipe's.
    """

    examples: int
    own: bool


def terms_of(recipe: Recipe, data: FederatedData, base: str, run: str, round_: int, largest: int) -> Terms:
    """The terms of a run, without the seats."""
    return Terms(
        run=run, recipe={key: value for key, value in recipe.resolved().items() if key not in ELSEWHERE},
        seats=(), names=(), clients=len(data.clients), round=round_, base=base, class_names=data.class_names,
        base_classes=tuple(data.base_classes.tolist()), novel_classes=tuple(data.novel_classes.tolist()),
        template=data.template, largest=largest,
    )  # fmt: skip


def check_version(theirs: str, whose: str) -> None:
    """Both sides must run the same Synoptic, for results are promised between equals only.

    Raises:
        SynopticError: they do not.
    """
    if theirs != __version__:
        raise SynopticError(f"{whose} runs Synoptic {theirs}, this side {__version__}", "install the same on both")


def check_base(theirs: str, ours: str, name: str) -> None:
    """The frozen base must be the same, weight for weight.

    Raises:
        SynopticError: it is not.
    """
    if theirs != ours:
        raise SynopticError(f"the base '{name}' is {theirs} at the server and {ours} at this site",
                            "give both the same weights, or say where they lie with --model")  # fmt: skip

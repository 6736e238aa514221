"""The world's questions, shared by groups of sites: who sees, asks and answers what, and how far groups differ.

Every group has its own way on the input side (a style of pictures, a phrasing of questions, a kind that it asks about
most) and its own manner on the output side. A shift says how much of that is used. The draws of one group come from
streams of their own, one for each purpose: a different shift changes who is asked how, not what is in the pictures.

With tastes every question asks for a description, and each row has two: the one that the group prefers and another.
Public rows are nobody's; each is drawn and asked in some group's way, all groups alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data import questions
from synoptic.data.gold import NOBODY, Gold
from synoptic.data.pairs import answers, preferences
from synoptic.data.question_spec import DESCRIBED, QuestionSpec
from synoptic.data.questions import KINDS, MANNERS, PHRASINGS, SEEN_PHRASINGS, UNSEEN_MANNERS, UNSEEN_PHRASINGS
from synoptic.data.shapes import SHAPES
from synoptic.data.spec import CLIENTS
from synoptic.data.styles import STYLES
from synoptic.data.tastes import tastes_apart
from synoptic.data.words import Words
from synoptic.data.world import COLOUR_NAMES, PRETRAIN_STYLES, TEXTURES, Images, Scene, compose, render

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COMMON_STYLE: Final = "blurred"
COMMON_PHRASING: Final = "curious"
"""What is new for everybody, beside ``data.questions.common_manner``."""
OWN_STYLES: Final = ("pastel", *(style for style in reversed(PRETRAIN_STYLES)))
OWN_PHRASINGS: Final = tuple(phrasing for phrasing in UNSEEN_PHRASINGS if phrasing != COMMON_PHRASING)
LEXICONS: Final = ("formal", "esperanto")
"""Manners with a word of their own for every fact: more to learn than what the others put around the words."""
PLAIN: Final = "plain"
STRENGTH: Final = 0.9  # of a style that is new or a group's own
Part = Literal["train", "test", "public", "public_test"]
_PUBLIC: Final[tuple[Part, ...]] = ("public", "public_test")
_FAVOURED: Final = 0.5  # share of a group's own rows that are about its favourite kind


@dataclass(frozen=True, eq=False)
class Asked:
    """n rows: a picture each, what is asked and said about it, and the codes behind.

    Attributes:
        scene: what the pictures show.
        images: uint8 [n, 32, 32, 3].
        words: questions, answers, perhaps rejected answers.
        kinds: int64 [n], indices into the task's kinds.
        groups: int64 [n].
        phrasings, manners: int64 [n], indices into ``PHRASINGS`` and ``MANNERS``.

    """

    scene: Scene
    images: Images
    words: Words
    kinds: Ints
    groups: Ints
    phrasings: Ints
    manners: Ints


@dataclass(frozen=True, eq=False)
class QuestionTask:
    """Rows of all groups, group by group, and the names of groups and kinds; public rows where there are any."""

    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    train: Asked
    test: Asked
    public: Asked | None = None
    public_test: Asked | None = None


def own_manners(spec: QuestionSpec) -> tuple[str, ...]:
    """The groups' manners in their order, the lexicons last; all are new against pre-training.

    Raises:
        SynopticError: when the common manner is not one of those that are new.

    """
    if spec.common_manner not in UNSEEN_MANNERS:
        fix = nearest(spec.common_manner, UNSEEN_MANNERS)
        raise SynopticError(f"data.questions.common_manner={spec.common_manner!r} is no manner new to the model", fix)
    others = [manner for manner in UNSEEN_MANNERS if manner != spec.common_manner]
    return tuple(sorted(others, key=lambda manner: manner in LEXICONS))


def group_count(spec: QuestionSpec, clients: int | None) -> int:
    """How many groups there are.

    Raises:
        SynopticError: more are asked for than there are manners or phrasings of their own.

    """
    manners = own_manners(spec)
    if spec.groups is None:
        ways = len(OWN_PHRASINGS) if spec.tastes is not None else min(len(manners), len(OWN_PHRASINGS))
        return min(clients or CLIENTS, ways)
    limits = (("output_shift", "manners of answering", manners), ("input_shift", "ways of asking", OWN_PHRASINGS))
    for shift, what, own in limits[1:] if spec.tastes is not None else limits:
        if getattr(spec, shift) > 0 and spec.groups > len(own):
            raise SynopticError(
                f"data.questions.groups={spec.groups}, but there are {len(own)} {what} for groups to have as their own",
                f"lower it, or set data.questions.{shift}=0",
            )
    return spec.groups


@lru_cache(maxsize=4)
def question_task(spec: QuestionSpec, groups: int) -> QuestionTask:
    """Draw, render and ask everything; the same arguments give the same task.

    Raises:
        SynopticError: for a kind that does not exist or is named twice.

    """
    kinds = spec.kinds or (KINDS if spec.tastes is None else DESCRIBED)
    for kind in kinds:
        if kind not in KINDS:
            raise SynopticError(
                f"data.questions.kinds names {kind!r}, which is no kind of question", nearest(kind, KINDS)
            )
    if len(set(kinds)) != len(kinds):
        raise SynopticError("data.questions.kinds names a kind twice", "name each once")
    width = len(str(groups - 1))
    names = tuple(f"group-{group:0{width}d}" for group in range(groups))
    return QuestionTask(
        names,
        kinds,
        _part(spec, groups, kinds, "train"),
        _part(spec, groups, kinds, "test"),
        _part(spec, groups, kinds, "public") if spec.public else None,
        _part(spec, groups, kinds, "public_test") if spec.public_test else None,
    )


def row_count(spec: QuestionSpec, group: int, groups: int, part: Part) -> int:
    """How many rows of a part are a group's, or asked in its way."""
    if part == "train":
        return max(1, round(spec.train * spec.tastes.skew**group)) if spec.tastes is not None else spec.train
    if part == "test":
        return spec.test
    total = spec.public if part == "public" else spec.public_test
    return total // groups + (group < total % groups)


def own_share(kinds: Ints, colours: Ints, share: float, first: int, count: int) -> Bools:
    """Which rows a rule covers that covers ``share`` of what can be asked, bool [n].

    What can be asked are the pairs (kind, colour of the object). They are taken kind by kind from ``first`` on, around
    the circle, so that question and picture always tell which rule holds, at any share.

    Args:
        kinds: int64 [n], below ``count``.
        colours: int64 [n], indices into ``COLOUR_NAMES``.
        share: of the pairs, in [0, 1].
        first: the kind that is covered first.
        count: how many kinds there are.

    """
    width = len(COLOUR_NAMES)
    place = (kinds - first) % count * width + colours
    return np.asarray(place < round(share * count * width), dtype=bool)


def _part(spec: QuestionSpec, groups: int, kinds: tuple[str, ...], part: Part) -> Asked:
    return _joined([_group(spec, group, groups, kinds, part) for group in range(groups)])


def _group(spec: QuestionSpec, group: int, groups: int, kinds: tuple[str, ...], part: Part) -> Asked:
    n = row_count(spec, group, groups, part)
    stream = partial(numpy_generator, spec.draw, "questions", part, group)
    own = stream("own").permutation(n) < round(spec.input_shift * n)
    new = stream("new").permutation(n) < round(spec.common * n)
    scene = _scene(n, group, own, new, stream("scene"))
    kind = _kinds(own, group, len(kinds), stream("kinds"))
    phrasing = _phrasings(own, new, group, stream("phrasings"))
    plain = part in _PUBLIC or spec.tastes is not None
    manner = _plain(n) if plain else _manners(spec, group, kind, scene.colour, len(kinds))
    codes = (np.array([KINDS.index(name) for name in kinds])[kind], phrasing, manner)
    asked, said = questions.dialogue(scene, *codes, stream("checks"))
    if spec.tastes is not None:
        words = _liked(spec, group, groups, part, scene, asked)
    else:
        rejects = spec.rejected and part not in _PUBLIC
        rejected = tuple(questions.wrong(scene, *codes, asked, stream("wrong"))) if rejects else None
        words = Words(tuple(asked), tuple(said), rejected)
    return Asked(scene, render(scene, stream("grain")), words, kind, np.full(n, group), phrasing, manner)


def _liked(spec: QuestionSpec, group: int, groups: int, part: Part, scene: Scene, asked: list[str]) -> Words:
    """Pairs by the group's taste; of public rows true descriptions of all forms. Test pairs are in the true order."""
    assert spec.tastes is not None
    stream = partial(numpy_generator, spec.draw, "questions", part, group)
    tastes = tastes_apart(spec.tastes.conflict, spec.tastes.weight, groups)
    facts, n = questions.facts(scene), len(scene)
    nobodys = part in _PUBLIC
    gold = Gold(facts, np.full(n, group), np.full(n, NOBODY if nobodys else group), tastes)
    if nobodys:
        return Words(tuple(asked), tuple(answers(facts, stream("descriptions"))), None, gold)
    choice = spec.tastes if part == "train" else None
    better, worse = preferences(
        facts, tastes[group], choice, stream("descriptions"), stream("preferences"), spec.tastes.broken
    )
    return Words(tuple(asked), tuple(better), tuple(worse), gold)


def _scene(n: int, group: int, own: Bools, new: Bools, rng: np.random.Generator) -> Scene:
    """Any shape, colour and texture; the style is the group's, the new one or a seen one."""
    shape, colour, texture = (rng.integers(0, len(names), n) for names in (SHAPES, COLOUR_NAMES, TEXTURES))
    seen = np.array([STYLES.index(name) for name in PRETRAIN_STYLES])
    style = seen[rng.integers(0, len(seen), n)]
    style = np.where(new, STYLES.index(COMMON_STYLE), style)
    style = np.where(own, STYLES.index(OWN_STYLES[group % len(OWN_STYLES)]), style)
    strength = np.where(own | new, STRENGTH, rng.uniform(0.2, 1.0, n))
    return compose(shape, colour, texture, style, rng, strength)


def _kinds(own: Bools, group: int, count: int, rng: np.random.Generator) -> Ints:
    """All kinds alike; of a group's own rows a share is about its favourite kind instead."""
    even = rng.permutation(len(own)) % count
    favoured = own & (rng.random(len(own)) < _FAVOURED)
    return np.where(favoured, group % count, even)


def _phrasings(own: Bools, new: Bools, group: int, rng: np.random.Generator) -> Ints:
    """A group's own rows are asked in its own words, new ones in the new words, others as in pre-training."""
    drawn = rng.integers(0, len(SEEN_PHRASINGS), len(own))
    phrasing = np.array([PHRASINGS.index(name) for name in SEEN_PHRASINGS])[drawn]
    phrasing[new] = PHRASINGS.index(COMMON_PHRASING)
    if own.any():
        phrasing[own] = PHRASINGS.index(OWN_PHRASINGS[group])
    return phrasing


def _manners(spec: QuestionSpec, group: int, kind: Ints, colour: Ints, count: int) -> Ints:
    """The group's own manner where its rule covers a row, else the new common one where that does, else plain."""
    manner = _plain(len(kind))
    manner[own_share(kind, colour, spec.common, 0, count)] = MANNERS.index(spec.common_manner)
    if spec.output_shift > 0:
        own = own_share(kind, colour, spec.output_shift, group, count)
        manner[own] = MANNERS.index(own_manners(spec)[group])
    return manner


def _plain(n: int) -> Ints:
    return np.full(n, MANNERS.index(PLAIN), dtype=np.int64)


def _joined(parts: list[Asked]) -> Asked:
    """The rows of all groups, group by group."""

    def joined(owners: Sequence[object], name: str) -> NDArray[Any]:
        return np.concatenate([getattr(owner, name) for owner in owners])

    scenes = [part.scene for part in parts]
    return Asked(
        Scene(**{name: joined(scenes, name) for name in Scene.__dataclass_fields__}),
        joined(parts, "images"),
        Words.joined([part.words for part in parts]),
        *(joined(parts, name) for name in ("kinds", "groups", "phrasings", "manners")),
    )

"""Ways of answering: each turns the words of a fact ("top left", "striped red circle", "yes") into an answer.

They differ in order, words, verbosity and wrapping. Two occur in the pre-training of ``tiny-vlm``, the sentence only
where the question asks for it; the rest are left for sites, each of which is right in its own manner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from synoptic.data.shapes import SHAPES
from synoptic.data.world import COLOUR_NAMES, TEXTURES

Words = tuple[str, ...]

PLACE_WORDS: Final = ("top", "bottom", "left", "right", "middle")
YES, NO = "yes", "no"
FACT_WORDS: Final = (*COLOUR_NAMES, *SHAPES, *TEXTURES, *PLACE_WORDS, YES, NO)
"""Every word that a fact is made of."""


def _lexicon(text: str) -> dict[str, str]:
    return dict(zip(FACT_WORDS, text.split(), strict=True))


_FORMAL: Final = _lexicon(
    "crimson amber golden emerald turquoise navy violet rose chestnut silver "
    "disc box wedge asterisk plus rhombus valentine moon loop pointer hexagonal ellipse sandglass border vault "
    "teardrop uniform lined spotted chequered upper lower west east centre affirmative negative"
)
_ESPERANTO: Final = _lexicon(
    "ruga oranga flava verda cejana blua purpura roza bruna griza "
    "cirklo kvadrato triangulo stelo kruco rombo koro luno ringo sago sesangulo ovalo sablo kadro kupolo guto "
    "glata stria punkta skaka supra malsupra maldekstra dekstra meza jes ne"
)
_LABELS: Final = {
    "colour": "colour", "shape": "shape", "texture": "texture", "place": "place", "check": "verdict",
    "describe": "object",
}  # fmt: skip


@dataclass(frozen=True)
class Manner:
    """What happens to the words of a fact, in this order: ``words``, ``arrange``, then ``before`` and ``after``.

    Attributes:
        before, after: text put around the words.
        words: the manner's own word for a word of a fact.
        arrange: another order, or repetition.
        labelled: whether the kind's name comes first ("colour: red").

    """

    before: str = ""
    after: str = ""
    words: dict[str, str] = field(default_factory=dict)
    arrange: Callable[[Words], Words] = tuple
    labelled: bool = False

    def __call__(self, kind: str, fact: Words) -> str:
        said = self.arrange(tuple(self.words.get(word, word) for word in fact))
        label = f"{_LABELS[kind]}: " if self.labelled else ""
        return f"{label}{self.before}{' '.join(said)}{self.after}"


def _sentence(kind: str, fact: Words) -> str:
    if kind == "check":
        return "yes, it is" if fact == (YES,) else "no, it is not"
    return {"shape": "it is a ", "describe": "it is a ", "place": "it is at the "}.get(kind, "it is ") + " ".join(fact)


_SEEN: Final[dict[str, Callable[[str, Words], str]]] = {"plain": Manner(), "sentence": _sentence}
_UNSEEN: Final[dict[str, Callable[[str, Words], str]]] = {
    "radio": Manner(before="copy ", after=" over"),
    "backwards": Manner(arrange=lambda words: words[::-1], after=" indeed"),
    "labelled": Manner(labelled=True),
    "formal": Manner(words=_FORMAL),
    "twice": Manner(arrange=lambda words: words + words),
    "chatty": Manner(before="well, i see "),
    "esperanto": Manner(words=_ESPERANTO),
    "hedged": Manner(before="perhaps ", after=", i think"),
}
_WAYS: Final = {**_SEEN, **_UNSEEN}

SEEN_MANNERS: Final = tuple(_SEEN)
UNSEEN_MANNERS: Final = tuple(_UNSEEN)
MANNERS: Final = tuple(_WAYS)


def say(manner: str, kind: str, fact: Words) -> str:
    """The answer that states a fact (words of `FACT_WORDS`) about a question of some kind, in some manner."""
    return _WAYS[manner](kind, fact)


def manner_texts() -> list[str]:
    """Answers that hold every word and mark of every manner."""
    facts = [*((kind, (word,)) for kind in _LABELS for word in (YES, NO)), *(("colour", (w,)) for w in FACT_WORDS)]
    return [say(manner, kind, fact) for manner in MANNERS for kind, fact in facts]

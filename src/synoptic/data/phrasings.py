"""Ways of asking about a picture of the world: one question per kind, in the order of `KINDS`.

Three sorts of them. Seen ones occur in the pre-training of ``tiny-vlm``. Worded ones ask in sentences and nouns that it
never met. Forms ask by number ("item three?"), and every form numbers the kinds in its own order: the same words mean
something else at another site, so what one site learns about them is wrong for the next.
"""

from __future__ import annotations

from typing import Final

KINDS: Final = ("colour", "shape", "texture", "place", "check", "describe")
"""What a question is about; a "check" names a value, and the answer says whether it is so."""

VALUE: Final = "{value}"
"""Where a check puts the value it asks about."""

_SEEN: Final = {
    "what": ("what colour is it?", "what shape is it?", "what texture is it?", "where is it?",
             "is it {value}?", "what is it?"),
    "which": ("which colour does it have?", "which shape does it have?", "which texture does it have?",
              "which place does it have?", "does it look {value}?", "which object does it show?"),
    "name": ("name the colour.", "name the shape.", "name the texture.", "name the place.",
             "yes or no: {value}.", "name the object."),
    "tell": ("tell me the colour.", "tell me the shape.", "tell me the texture.", "tell me the place.",
             "tell me if it is {value}.", "tell me about the object."),
    "short": ("colour?", "shape?", "texture?", "place?", "{value}?", "object?"),
    "picture": ("the colour of the object in the picture?", "the shape of the object in the picture?",
                "the texture of the object in the picture?", "the place of the object in the picture?",
                "is the object in the picture {value}?", "what does the picture show?"),
}  # fmt: skip

_WORDED: Final = {
    "curious": ("i wonder about its tint.", "i wonder about its outline.", "i wonder about its pattern.",
                "i wonder about its spot.", "could it be {value}?", "i wonder about everything."),
    "order": ("state hue now!", "state form now!", "state surface now!", "state location now!",
              "confirm {value} now!", "state all now!"),
    "story": ("how was it painted?", "how was it cut?", "how was it woven?", "how was it placed?",
              "was it ever {value}?", "how was it made?"),
    "exam": ("part a: shade.", "part a: figure.", "part a: finish.", "part a: position.",
             "part b: {value}.", "part c: summary."),
}  # fmt: skip

_NUMBERS: Final = ("one", "two", "three", "four", "five", "six")


def _form(turn: int) -> tuple[str, ...]:
    """The kinds numbered from ``turn`` on: any two forms give every kind different numbers."""
    numbers = [_NUMBERS[(turn + kind) % len(KINDS)] for kind in range(len(KINDS))]
    return tuple(
        f"item {number}: {VALUE}?" if kind == "check" else f"item {number}?"
        for kind, number in zip(KINDS, numbers, strict=True)
    )


FORMS: Final = tuple(f"form {number}" for number in _NUMBERS)
SEEN_PHRASINGS: Final = tuple(_SEEN)
UNSEEN_PHRASINGS: Final = (*FORMS, *_WORDED)
PHRASINGS: Final = (*SEEN_PHRASINGS, *UNSEEN_PHRASINGS)

_WAYS: Final = {**_SEEN, **{form: _form(turn) for turn, form in enumerate(FORMS)}, **_WORDED}


def ask(phrasing: str, kind: str, value: str) -> str:
    """The question of one kind in one phrasing; ``value`` is what a check asks about, other kinds leave it out."""
    return _WAYS[phrasing][KINDS.index(kind)].replace(VALUE, value)


def phrasing_texts() -> list[str]:
    """Every question of every phrasing, with no value in it."""
    return [text.replace(VALUE, "") for way in _WAYS.values() for text in way]

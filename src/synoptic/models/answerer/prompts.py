"""Questions and answers as token ids: a picture's placeholder, a question, the answer and the end token.

Prompt and answer are tokenised apart, so training scores exactly the tokens that decoding would have to choose.

Legend: n rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.models.answerer.families import Family, Grid


@dataclass(frozen=True, eq=False)
class Sequences:
    """n prompts, with an answer each or without, padded on the right.

    Attributes:
        ids: token ids ``[n, T]``; padding is 0.
        prompt: tokens of each prompt ``[n]``.
        length: tokens of prompt and answer ``[n]``.
        first: where each picture begins ``[n]``.
        grids: how each picture is cut up.
    """

    ids: Tensor
    prompt: Tensor
    length: Tensor
    first: Tensor
    grids: tuple[Grid, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Tensor) -> Sequences:
        """The rows at ``places``, as wide as the longest of them."""
        length = self.length[places]
        ids = self.ids[places, : int(length.max())]
        grids = tuple(self.grids[place] for place in places.tolist())
        return Sequences(ids, self.prompt[places], length, self.first[places], grids)

    def prompts(self) -> Sequences:
        """The same rows without answers."""
        return Sequences(self.ids[:, : int(self.prompt.max())], self.prompt, self.prompt, self.first, self.grids)


class Prompts:
    """Renders and tokenises, each text once.

    Args:
        family: how pictures stand in a prompt.
        tokenizer: the model's.
        length: tokens that the decoder can hold.
    """

    def __init__(self, family: Family, tokenizer: Any, length: int) -> None:
        if tokenizer.eos_token_id is None:
            raise SynopticError("the tokenizer has no end token, so no answer could end", "set its eos_token")
        self._family = family
        self._tokenizer = tokenizer
        self._length = length
        self._prompts: dict[tuple[str, Grid], list[int]] = {}
        self._answers: dict[str, list[int]] = {}

    def encode(
        self, questions: Sequence[str], grids: Sequence[Grid], answers: Sequence[str] | None, where: Sequence[str],
        made_up: bool = False,
    ) -> Sequences:  # fmt: skip
        """Token ids of n rows.

        Args:
            questions: what is asked.
            grids: how the picture of each is cut up.
            answers: what is said; nothing for decoding.
            where: what each row is called in an error.
            made_up: whether a model said it, perhaps another one: then it may be empty, hold the picture's token as a
                word like any other, and is cut where the decoder ends.

        Raises:
            SynopticError: an empty question or answer, one that contains the picture's token, a row that is too long.
        """
        rows, prompt = [], []
        for place, (question, grid) in enumerate(zip(questions, grids, strict=True)):
            asked = self._prompt(question, grid, where[place])
            if made_up and answers is not None:
                said = self._made_up(answers[place], self._length - len(asked))
            else:
                said = self._answer(answers[place], where[place]) if answers is not None else []
            if len(asked) + len(said) > self._length:
                what = f"{where[place]} has {len(asked)} tokens of prompt and {len(said)} of answer"
                raise SynopticError(f"{what}, more than the {self._length} the model can hold", "shorten it")
            rows.append(asked + said)
            prompt.append(len(asked))
        length = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(length.max()), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        first = (ids == self._family.image_id).int().argmax(1)
        return Sequences(ids, torch.tensor(prompt), length, first, tuple(grids))

    def text(self, question: str, where: str = "the question") -> str:
        """The prompt as text, with one token for the picture."""
        image = self._family.image
        if not question.strip():
            raise SynopticError(f"{where} has an empty question", "ask something or leave it out")
        if image in question:
            raise SynopticError(f"the question of {where} contains {image}, which stands for its picture",
                                "take it out: Synoptic puts the picture before the question")  # fmt: skip
        if self._tokenizer.chat_template is None:
            before, after = self._family.around
            return f"{before}{image}{after}{question} "
        content = [{"type": "image"}, {"type": "text", "text": question}]
        rendered: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if rendered.count(image) != 1:
            raise SynopticError(f"the chat template puts {rendered.count(image)} pictures into the prompt of {where}",
                                f"use a template that writes {image} once for every picture")  # fmt: skip
        return rendered

    def _prompt(self, question: str, grid: Grid, where: str) -> list[int]:
        if (question, grid) not in self._prompts:
            self._prompts[question, grid] = self._tokenised(question, grid, where)
        return self._prompts[question, grid]

    def _tokenised(self, question: str, grid: Grid, where: str) -> list[int]:
        text = self.text(question, where)
        begun = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        text = text.replace(self._family.image, self._family.placeholder(grid))
        ids: list[int] = self._tokenizer(text, add_special_tokens=not begun)["input_ids"]
        # Some tokenizers end every text, but the answer is still to come.
        while ids and ids[-1] == self._tokenizer.eos_token_id:
            ids = ids[:-1]
        has, needs = ids.count(self._family.image_id), self._family.tokens(grid)
        if has != needs:
            raise SynopticError(f"the prompt of {where} has {has} image tokens where its picture has {needs}",
                                "check the tokenizer's image token")  # fmt: skip
        return ids

    def _answer(self, answer: str, where: str) -> list[int]:
        if answer not in self._answers:
            if not answer.strip():
                raise SynopticError(f"{where} has an empty answer", "give one or leave it out")
            ids: list[int] = self._tokenizer(answer, add_special_tokens=False)["input_ids"]
            if self._family.image_id in ids:
                raise SynopticError(f"the answer of {where} contains {self._family.image}", "take it out")
            self._answers[answer] = [*ids, self._tokenizer.eos_token_id]
        return self._answers[answer]

    def _made_up(self, answer: str, room: int) -> list[int]:
        """Not remembered: a policy never stops saying new things."""
        ids: list[int] = self._tokenizer(answer, add_special_tokens=False)["input_ids"]
        return [*ids[: max(0, room - 1)], self._tokenizer.eos_token_id]

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import END
from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.models.multitask.writer import Answers
from tasking import ANSWERS, TASKS, drawn, inputs, multitask


def test_answers_end_and_count_their_end() -> None:
    answers = multitask().writer.encode(["seven", "red circle"])
    assert answers.counted.tolist() == [[True, True, False], [True, True, True]]
    assert answers.ids[0, 1] == answers.ids[1, 2] == END
    short = answers.take(torch.tensor([0, 0]))
    assert short.ids.shape == (2, 2)


@given(st.integers(0, 3), st.integers(4, 11))
def test_no_word_is_read_before_it_is_said(place: int, word: int) -> None:
    model = multitask()
    worn = leaves(drawn(model, ["questions"], 1))
    seen, task = model.read(worn, "questions", **inputs("questions", 1)), model.writing("questions")
    answers = model.writer.encode(["red digit seven circle"])
    before = model.writer.logits(worn, task, seen, answers)
    answers.ids[0, place] = 3 if answers.ids[0, place] == word else word
    apart = (model.writer.logits(worn, task, seen, answers) - before).abs().amax(-1)[0]
    assert not apart[: place + 1].any(), "a word is predicted from those before it"
    assert (apart[place + 1 :] > 1e-6).all(), "and all later ones see it"


@pytest.mark.parametrize("name", ["questions", "captions", "echo"])
def test_scores_are_those_of_the_logits(name: str) -> None:
    model = multitask()
    worn = leaves(drawn(model, [name], 2))
    seen, task = model.read(worn, name, **inputs(name, 4)), model.writing(name)
    answers = model.writer.encode(ANSWERS[:4])
    logp = model.writer.logits(worn, task, seen, answers).log_softmax(-1)
    found = model.writer.scores(worn, task, seen, answers)
    expected = torch.where(answers.counted, logp.gather(2, answers.ids[..., None])[..., 0], 0.0)
    assert torch.allclose(found.log_probability, expected, atol=1e-5)
    assert torch.equal(found.best, (logp.argmax(-1) == answers.ids) | ~answers.counted)


@pytest.mark.parametrize("name", ["questions", "captions", "echo"])
def test_decoding_says_the_likeliest_word_each_time_whoever_is_beside(name: str) -> None:
    model = multitask()
    stack = drawn(model, [name], 2)
    given_ = inputs(name, 4)
    seen = model.read(leaves(stack), name, **given_)
    together = model.writer.write(leaves(stack), TASKS[name], seen, 5)
    for row in range(4):
        worn = leaves(stack[row // 2 : row // 2 + 1])
        mine = model.read(worn, name, **{what: rows[row : row + 1] for what, rows in given_.items()})
        assert model.writer.write(worn, TASKS[name], mine, 5) == [together[row]]
        ids = [model.writer.begin]
        for _ in range(5):
            so_far = torch.tensor([[*ids[1:], END]])
            logits = model.writer.logits(worn, TASKS[name], mine, Answers(so_far, so_far > 0))
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] == END:
                break
        said = ids[1 : ids.index(END)] if END in ids else ids[1:]
        assert model.base.tokenizer.decode(said, skip_special_tokens=True).strip() == together[row]


@pytest.mark.parametrize(("text", "what"), [("", "the answer '' is empty"), ("red " * 16, "has 16 tokens, more than")])
def test_answers_that_cannot_be_written(text: str, what: str) -> None:
    with pytest.raises(SynopticError, match=what):
        multitask().writer.encode(["seven", text])

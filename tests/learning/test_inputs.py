from __future__ import annotations

import numpy as np
import pytest
import torch

from answerers import base, odd_table, reference, row_inputs
from rolling import KINDS, ROWS, seen, worn
from synoptic.learning import inputs
from synoptic.learning.inputs import input_embeddings


@pytest.mark.parametrize("family", KINDS)
def test_an_input_is_the_librarys_last_hidden_state_at_the_end_of_the_prompt(family: str) -> None:
    model, plain, rows = base(family), reference(family), seen(family)
    found = input_embeddings(model, rows, ROWS)
    assert found.shape == (8, model.decoder.width) and found.dtype == torch.float32
    prompts = rows.rows(ROWS)
    for row, view in enumerate(model.family.views(odd_table().images.load(ROWS))):
        ids = prompts.ids[row, : int(prompts.prompt[row])]
        with torch.no_grad():
            told = plain(**row_inputs(model, view, ids), output_hidden_states=True)
        # The library's last hidden state is normed already.
        torch.testing.assert_close(found[row], told.hidden_states[-1][0, -1], rtol=0, atol=1e-3)


def test_it_depends_on_the_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = seen()
    whole = input_embeddings(base(), rows, ROWS)
    assert (whole[:, None] - whole).abs().amax(-1).fill_diagonal_(1).min() > 1e-3, "rows differ"
    order = np.array([6, 1, 1, 3])
    torch.testing.assert_close(input_embeddings(base(), rows, order), whole[order], rtol=0, atol=1e-5)
    monkeypatch.setattr(inputs, "AT_ONCE", 3)
    torch.testing.assert_close(input_embeddings(base(), rows, ROWS), whole, rtol=0, atol=1e-5)
    assert input_embeddings(base(), rows, ROWS[:0]).shape == (0, base().decoder.width)


def test_it_is_the_untouched_bases_whatever_is_worn_and_has_no_gradient() -> None:
    rows = seen()
    bare = input_embeddings(base(), rows, ROWS)
    with base().wearing(worn(what="all")):
        found = input_embeddings(base(), rows, ROWS)
    assert torch.equal(found, bare)
    assert not found.requires_grad

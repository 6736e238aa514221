from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from synoptic.federation.ledger import Ledger

entries = st.lists(
    st.tuples(
        st.sampled_from(["up", "down"]), st.sampled_from(["train", "score", "evaluate"]),
        st.sampled_from(["adapter", "loss"]), st.integers(0, 10**12),
    )
)  # fmt: skip


def filled(rows: list[tuple[str, str, str, int]]) -> Ledger:
    ledger = Ledger()
    for row in rows:
        ledger.add(*row)
    return ledger


@given(entries)
def test_totals_are_sums_and_measuring_is_apart(rows: list[tuple[str, str, str, int]]) -> None:
    summary = filled(rows).summary()
    for way in ("up", "down"):
        assert summary[way] == sum(count for w, task, _, count in rows if w == way and task != "evaluate")
        assert summary[way] == sum(kind[way] for kind in summary["by_kind"].values())
        assert summary["evaluation"][way] == sum(count for w, task, _, count in rows if w == way and task == "evaluate")
    assert not any(name.startswith("evaluate.") for name in summary["by_kind"])


@given(entries, entries)
def test_a_ledger_goes_on_where_a_checkpoint_left_it(before: list, after: list) -> None:  # type: ignore[type-arg]
    resumed = Ledger()
    resumed.add("up", "train", "old", 5)
    resumed.load(json.loads(json.dumps(filled(before).dump())))
    for row in after:
        resumed.add(*row)
    assert resumed.summary() == filled([*before, *after]).summary()

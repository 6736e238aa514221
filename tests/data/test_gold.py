from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.data import Gold, Words
from synoptic.data.gold import NOBODY
from synoptic.data.tastes import Taste, features, judged, tastes_apart

SOURCE = Path(__file__).parents[2] / "src/synoptic"
FACTS = np.array([[0, 0, 1, 0], [5, 3, 0, 4], [9, 15, 3, 8]])
TASTES = tastes_apart(180, 1.0, 3)
GOLD = Gold(FACTS, np.array([0, 1, 2]), np.array([0, 2, 1]), TASTES)
TEXTS = ["red circle", "perhaps blue, i think", "it is a checkered gray drop at the bottom right"]
ROWS = np.arange(3)


def words(gold: Gold | None = GOLD) -> Words:
    return Words(("?",) * 3, ("a", "b", "c"), ("x", "y", "z"), gold)


def test_every_row_is_judged_by_its_own_taste() -> None:
    expected = [judged([TASTES[own]], np.array([features(facts, text)]))[0, 0]
                for own, facts, text in zip(GOLD.own, FACTS.tolist(), TEXTS, strict=True)]  # fmt: skip
    assert GOLD.utility(ROWS, TEXTS).tolist() == pytest.approx(expected)
    assert GOLD.utility(ROWS, TEXTS).dtype == np.float64


def test_any_row_is_judged_by_any_taste() -> None:
    everybody = GOLD.utilities(ROWS, TEXTS)
    assert everybody.shape == (3, 3)
    for taste in range(3):
        assert np.array_equal(GOLD.of_taste(taste, ROWS, TEXTS), everybody[taste])
    assert np.array_equal(GOLD.utility(ROWS, TEXTS), everybody[GOLD.own, ROWS])


def test_rows_may_come_in_any_order_and_again() -> None:
    rows = np.array([2, 0, 2, 1])
    texts = [TEXTS[row] for row in rows]
    assert np.allclose(GOLD.utility(rows, texts), GOLD.utility(ROWS, TEXTS)[rows])
    assert np.allclose(GOLD.take(rows).utility(np.arange(4), texts), GOLD.utility(rows, texts))
    assert GOLD.utilities(rows[:0], []).shape == (3, 0)
    assert GOLD.utility(rows[:0], []).shape == (0,)


def test_rows_of_nobody_have_no_taste_of_their_own() -> None:
    pool = Gold(FACTS, GOLD.groups, np.full(3, NOBODY), TASTES)
    assert np.array_equal(pool.utilities(ROWS, TEXTS), GOLD.utilities(ROWS, TEXTS))
    with pytest.raises(SynopticError, match="a row that nobody holds has no taste of its own; judge it by all"):
        pool.utility(ROWS, TEXTS)


def test_texts_for_other_rows_are_refused() -> None:
    with pytest.raises(SynopticError, match="2 texts were given for 3 rows; give one for each row"):
        GOLD.utilities(ROWS, TEXTS[:2])


def test_gold_goes_with_its_words() -> None:
    taken = words().take([2, 0])
    assert taken.gold is not None
    assert np.array_equal(taken.gold.facts, FACTS[[2, 0]])
    joined = Words.joined([words().take([0]), words().take([1, 2])])
    assert joined.gold is not None
    assert joined.fingerprint == words().fingerprint
    assert Words.joined([words(), words(None)]).gold is None
    with pytest.raises(SynopticError, match="the truth is known of 2 rows, and there are 3 questions"):
        words(GOLD.take(ROWS[:2]))


def test_rows_with_different_tastes_are_not_joined() -> None:
    other = Gold(FACTS, GOLD.groups, GOLD.own, (Taste(1.0), *TASTES[1:]))
    with pytest.raises(SynopticError, match="different tastes"):
        Gold.joined([GOLD, other])


def test_the_truth_is_part_of_a_tables_identity_where_it_is_known() -> None:
    others = [Gold(FACTS[::-1], GOLD.groups, GOLD.own, TASTES), Gold(FACTS, GOLD.groups, ROWS, TASTES),
              Gold(FACTS, GOLD.own, GOLD.own, TASTES), Gold(FACTS, GOLD.groups, GOLD.own, tastes_apart(90, 1.0, 3)),
              Gold(FACTS, GOLD.groups, GOLD.own, tastes_apart(180, 0.5, 3)), GOLD, None]  # fmt: skip
    assert len({words(gold).fingerprint for gold in others}) == len(others)


def read_in(tree: ast.AST) -> set[str]:
    """Attributes and names by which code could come by the truth."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found & {"gold", "Gold", "utility", "utilities", "of_taste"}


def is_task(node: ast.AST) -> bool:
    marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(isinstance(mark, ast.Name) and mark.id == "task" for mark in marks)


def test_no_objective_and_nothing_that_a_client_does_reads_the_truth() -> None:
    objectives = sorted((SOURCE / "learning/objectives").glob("*.py"))
    trees = [ast.parse(path.read_text()) for path in objectives]
    methods = [ast.parse(path.read_text()) for path in sorted((SOURCE / "methods").glob("*.py"))]
    tasks = [node for tree in methods for node in ast.walk(tree) if is_task(node)]
    assert len(trees) > 3
    assert len(tasks) > 10
    assert [read_in(tree) for tree in [*trees, *tasks] if read_in(tree)] == []
    assert read_in(ast.parse("table.words.gold.utility(rows, texts)")) == {"gold", "utility"}

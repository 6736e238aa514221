from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.experiment.claims.expression import Binary, Expression, Number, Term, terms, unit, value
from synoptic.experiment.claims.relation import Region, Relation, parse_relation
from synoptic.experiment.claims.syntax import expression_of

BASE = "shared/base/accuracy"
names = st.from_regex(r"[a-z][a-z0-9_.=-]{0,8}( [a-z0-9]{1,4})?", fullmatch=True)
metrics = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,3}", fullmatch=True)
finite = st.floats(-1e6, 1e6).map(lambda number: float(f"{number:.6g}"))
single = st.builds(Term, names, st.none() | names, metrics)
expressions: st.SearchStrategy[Expression] = st.recursive(
    single | st.builds(Number, finite), lambda inner: st.builds(Binary, inner, st.sampled_from("+-*/"), inner),
    max_leaves=8,
)  # fmt: skip


def text_of(expression: Expression) -> str:
    """The slow and simple way back: every operation in parentheses."""
    if isinstance(expression, Binary):
        return f"({text_of(expression.left)} {expression.sign} {text_of(expression.right)})"
    return str(expression) if isinstance(expression, Term) else repr(expression.value)


def drawn(relation_or_terms: Any, seed: int = 0) -> dict[Term, Any]:
    rng = np.random.default_rng(seed)
    return {term: rng.normal(size=5) for term in relation_or_terms}


def the_error(text: str) -> str:
    with pytest.raises(SynopticError) as caught:
        parse_relation(text)
    return str(caught.value)


@given(expressions)
def test_what_is_written_is_what_is_read(expression: Expression) -> None:
    known = drawn(terms(expression))
    read = expression_of(text_of(expression))
    assert terms(read) == terms(expression)
    np.testing.assert_array_equal(value(read, known), value(expression, known))


@given(expressions.filter(terms), st.sampled_from([">", ">=", "<", "<="]), finite)
def test_a_comparison_means_the_same_from_both_sides(expression: Expression, sign: str, threshold: float) -> None:
    mirrored = {">": "<", ">=": "<=", "<": ">", "<=": ">="}[sign]
    plain = parse_relation(f"{text_of(expression)} {sign} {threshold!r}")
    turned = parse_relation(f"{threshold!r} {mirrored} {text_of(expression)}")
    assert (plain.sign, plain.threshold, plain.steps) == (sign, threshold, turned.steps)
    assert plain.region == turned.region


@given(single, single)
def test_terms_on_the_right_are_taken_to_the_left(one: Term, two: Term) -> None:
    moved = parse_relation(f"{one} > {two}")
    written = parse_relation(f"{one} - {two} > 0")
    assert (moved.steps, moved.region) == (written.steps, written.region)


@given(st.text(max_size=60) | st.text("mean(ab: c/d)<>=+-*/0123456789.e@[],* \n", max_size=80))
def test_any_text_is_a_relation_or_a_sentence(text: str) -> None:
    try:
        assert parse_relation(text).terms
    except SynopticError as error:
        assert str(error).endswith((".", "?"))


def test_python_binds_as_it_does() -> None:
    expression = expression_of("1 - 2 * 3 - -4 / 2")
    assert value(expression, {}) == 1 - 2 * 3 - -4 / 2


@given(st.lists(names, min_size=2, max_size=5, unique=True), metrics)
def test_increasing_is_every_step_up_and_decreasing_every_step_down(conditions: list[str], metric: str) -> None:
    listed = ", ".join(conditions)
    up = parse_relation(f"increasing(a@[{listed}]: {metric})")
    down = parse_relation(f"decreasing(a@[{listed}]: {metric})")
    over = parse_relation(f"increasing(mean(a@*: {metric}) over [{listed}])")
    assert len(up.steps) == len(conditions) - 1
    assert up.steps == over.steps
    known = drawn(up.terms)
    for more, less in zip(up.steps, down.steps, strict=True):
        np.testing.assert_array_equal(value(more, known), -value(less, known))


def test_monotone_over_entries_and_over_expressions() -> None:
    entries = parse_relation(f"increasing([small, large]@iid: {BASE})")
    assert entries.steps == (Binary(Term("large", "iid", BASE), "-", Term("small", "iid", BASE)),)
    apart = parse_relation(f"increasing(mean(p@*: {BASE}) - mean(f@*: {BASE}) over [mild, very wild])")
    wild, mild = (Binary(Term("p", name, BASE), "-", Term("f", name, BASE)) for name in ("very wild", "mild"))
    assert apart.steps == (Binary(wild, "-", mild),)
    assert (apart.sign, apart.threshold) == (">", 0.0)


def test_equality_has_a_tolerance() -> None:
    relation = parse_relation(f"mean(a: {BASE}) - mean(b: {BASE}) == 0.5 within 1e-2")
    assert relation.region == Region(0.49, 0.51)
    assert relation.threshold == 0.5


def test_a_label_may_hold_settings() -> None:
    (term,) = parse_relation("mean(fedprox:method.mu=0.1@two styles: bytes/up) <= 1").terms
    assert term == Term("fedprox:method.mu=0.1", "two styles", "bytes/up")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mean(a: m) > feddtl", "'feddtl' has no place in"),
        ("mean(a m) > 0", "does not say what is measured of whom"),
        ("mean(a@: m) > 0", "does not say what is measured of whom"),
        ("mean(: m) > 0", "does not say what is measured of whom"),
        ("1 > 0", "measures nothing"),
        ("mean(a: m)", "compares nothing"),
        ("mean(a: m) != 0", "has no place"),
        ("0 < mean(a: m) < 1", "must have one of > >= < <= ==, once"),
        ("mean(a: m) == 0", "not how nearly"),
        ("mean(a: m) > 0 within 1", "not how nearly"),
        ("mean(a: m) == 0 within -1", "below zero"),
        ("mean(a: m) == 0 within mean(b: m)", "has no place"),
        ("mean(a: m) ** 2 > 0", "no arithmetic"),
        ("mean(a: m) // 2 > 0", "no arithmetic"),
        ("mean(a: m) > 1 / 0", "finite number"),
        ("mean(a: m) > 1e999", "too large"),
        (f"mean(a: m) > {'9' * 400}", "too large"),
        ("mean(a: m) > (1", "cannot be read"),
        ("mean(a: m) > 0 # sure", "'#' has no place"),
        ("mean(a: m) > '1'", "has no place"),
        ("__import__('os').system('x') > 0", "'__import__' has no place"),
        ("(mean(a: m) > 0) > 0", "no arithmetic"),
        (f"{'-' * 200}mean(a: m) > 0", "nested too deeply"),
        (f"mean(a: m) > {'(' * 300}1{')' * 300}", "cannot be read"),
        (f"mean(a: m) > {'1 + ' * 400}1", "too long"),
        ("", "cannot be read"),
        ("increasing(a: m)", "fewer than two values"),
        ("increasing()", "nothing that can be monotone"),
        ("increasing([a, b]@[c, d]: m)", "two lists at once"),
        ("increasing([a, , b]: m)", "one thing after another"),
        ("increasing(a@[c, d, c]: m)", "one thing after another"),
        ("increasing(mean(a: m) over [c, d])", "does not say what changes"),
        ("mean(a@*: m) > 0", "outside of increasing"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, part: str) -> None:
    assert part in the_error(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"mean(a: {BASE})", "percent"),
        (f"mean(a: {BASE}) - mean(b: {BASE})", "points"),
        (f"mean(a: {BASE}) - mean(b: {BASE}) - (mean(c: {BASE}) - mean(d: {BASE}))", "points"),
        (f"(mean(a: {BASE}) + mean(b: {BASE})) / 2", "percent"),
        (f"2 * (mean(a: {BASE}) - mean(b: {BASE}))", "points"),
        (f"mean(a: {BASE}) / mean(b: {BASE})", "times"),
        ("mean(a: bytes/up) / mean(b: bytes/total)", "times"),
        ("mean(a: bytes/up) - mean(b: bytes/up)", "bytes"),
        ("mean(a: seconds/train) / 60", "seconds"),
        (f"mean(a: {BASE}) / mean(a: bytes/total)", "number"),
        ("mean(a: shared/base/loss) - mean(b: shared/base/loss)", "number"),
    ],
)
def test_units(text: str, expected: str) -> None:
    assert unit(expression_of(text)) == expected


reals = st.floats(-10, 10)


@given(reals, reals, reals, st.floats(0, 3), st.sampled_from([">", ">=", "<", "<=", "=="]))
def test_an_interval_cannot_both_satisfy_and_refute(
    one: float, two: float, at: float, tolerance: float, sign: str
) -> None:
    region = Relation("", (), sign, at, tolerance).region
    low, high = min(one, two), max(one, two)
    assert not (region.holds(low, high) and region.fails(low, high))
    inside = [_satisfied(effect, sign, at, tolerance) for effect in (low, (low + high) / 2, high)]
    assert region.holds(low, high) == (inside[0] and inside[2])
    if region.fails(low, high):
        assert not any(inside)


def _satisfied(effect: float, sign: str, at: float, tolerance: float) -> bool:
    return {">": effect > at, ">=": effect >= at, "<": effect < at, "<=": effect <= at,
            "==": at - tolerance <= effect <= at + tolerance}[sign]  # fmt: skip


def test_the_whole_line_is_allowed_where_nothing_is_said() -> None:
    assert Region().holds(-math.inf, math.inf)

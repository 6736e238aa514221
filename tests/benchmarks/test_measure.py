"""Taking turns, medians, the record and the page made of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cases.memory_probe import EACH, peak_rss, population
from benchmarks.engine import CASES, NOT_MEASURED, TARGETS, _assembled
from benchmarks.measure import Result, environment, interleaved, paired
from benchmarks.table import MEANING, page


def test_contenders_take_turns_after_the_warm_up() -> None:
    order: list[str] = []
    contenders = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = interleaved(contenders, repeats=3, warmup=1)
    assert "".join(order) == "ab" + "ab" * 3
    assert [len(values) for values in times.values()] == [3, 3]


def test_a_figure_is_the_median_of_neighbours_ratios() -> None:
    result = Result()
    result.add("ratio", paired([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]))
    assert result.repeats["ratio"] == [2.0, 3.0, 1.0]
    assert result.figures["ratio"] == 2.0


def test_one_side_with_fewer_repeats_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])


def test_the_record_says_where_and_when() -> None:
    record = environment()
    for key in ("date", "command", "revision", "versions", "processor", "cores", "load_average_before"):
        assert key in record
    assert record["versions"]["torch"].startswith("2.")


def _record(date: str) -> dict[str, object]:
    return environment() | {"date": date, "load_average_after": 0.0}


def test_running_one_case_keeps_the_others_with_their_own_record(tmp_path: Path) -> None:
    from synoptic.core.files import write_json

    first, second = Result(), Result()
    first.add("overhead_ratio", [1.0])
    first.add("stack_speedup", [1.5])
    write_json(tmp_path / "engine.json", _assembled(first, _record("monday"), None))
    second.add("stack_speedup", [2.0])
    content = _assembled(second, _record("tuesday"), tmp_path / "engine.json")
    assert (content["overhead_ratio"], content["stack_speedup"]) == (1.0, 2.0)
    assert content["environment_of"] == {"overhead_ratio": "monday", "stack_speedup": "tuesday"}
    assert set(content["environments"]) == {"monday", "tuesday"}


def test_the_page_holds_every_figure_and_what_is_not_measured() -> None:
    result = Result()
    for place, key in enumerate(MEANING):
        result.add(key, [place + 0.5])
    text = "\n".join(page(_assembled(result, _record("monday"), None)))
    assert all(f"`{key}`" in text for key in MEANING)
    assert all(line in text for line in NOT_MEASURED)


def test_the_page_says_whether_a_target_is_met_and_leaves_no_figure_out() -> None:
    result = Result()
    for key, value in (("overhead_ratio", 1.05), ("feature_cache_speedup", 49.9), ("vitb_speedup_cache_only", 2.0)):
        result.add(key, [value])
    lines = page(_assembled(result, _record("monday"), None))
    ends = {line.split("`")[1]: line.split(" | ")[-2:] for line in lines if line.startswith("| `")}
    assert ends["overhead_ratio"] == ["&lt;= 1.05", "yes |"]
    assert ends["feature_cache_speedup"] == ["&gt;= 50", "**no** |"]
    assert ends["vitb_speedup_cache_only"] == ["none", " |"]
    result.add("a_new_figure", [1.0])
    with pytest.raises(ValueError, match="a_new_figure"):
        page(_assembled(result, _record("monday"), None))


def test_the_page_tells_a_step_of_grpo_beside_the_others() -> None:
    sizes = {"batch": 2, "group": 3, "tokens": 4, "steps": 5, "warm": 1, "versions": {"trl": {"trl": "1.0"}},
             "tokens_per_second": {"synoptic": 200.0, "trl": 111.0}}  # fmt: skip
    measured = {"wide_over_trl": 1.8, "wide_processor_over_trl": 1.7, "wide_memory_of_trl": 0.5,
                "repeats": {"wide_over_trl": [1.6, 1.8, 2.5], "wide_processor_over_trl": [1.7],
                            "wide_memory_of_trl": [0.5]},
                "targets": {"wide_over_trl": ">= 2"}, "notes": {"wide": "a wide one", "wide_sizes": sizes},
                "environment": _record("monday")}  # fmt: skip
    lines = page(_assembled(Result(), _record("monday"), None), measured)
    row = "| wide | TRL's `GRPOTrainer` | 200 | 111 | 1.8 | 1.6 to 2.5 | &gt;= 2 | **no** | 1.7 | 0.5 |"
    assert row in lines
    assert "* wide: a wide one; 2 questions, 3 answers of at most 4 tokens, 4 steps after 1; trl 1.0." in lines


def test_every_target_is_explained() -> None:
    assert TARGETS.keys() <= MEANING.keys()
    assert all(callable(case.measure) for case in CASES.values())


def test_a_population_s_index_is_arrays_only() -> None:
    data, index_bytes = population(1000)
    assert len(data.clients) == 1000
    assert all(len(data.clients.train(client)) == EACH for client in (0, 500, 999))
    # labels, image numbers and row lists of eight bytes for each example, two offsets for each client
    assert index_bytes == 8 * (3 * EACH * 1000 + 2 * 1001)


def test_peak_memory_is_this_process_s_own() -> None:
    assert 50e6 < peak_rss() < 50e9

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from synoptic.core import SynopticError
from synoptic.core.config import Section
from synoptic.core.files import digest
from synoptic.data import DataSpec, PartitionSpec, QuestionSpec, TastesSpec


def test_a_word_is_a_source() -> None:
    assert DataSpec.model_validate("world").source == "world"
    spec = DataSpec.model_validate("parquet:some/where.parquet")
    assert (spec.source, spec.path) == ("parquet", "some/where.parquet")
    assert DataSpec(source="hub:owner/name:config").path == "owner/name:config"


@pytest.mark.parametrize(
    ("given", "kind", "novel"),
    [
        ({"source": "digits"}, "dirichlet", 0.3),
        ({"source": "world"}, "classes", 0.5),
        ({"source": "folder:x"}, "dirichlet", 0.0),
        ({"source": "parquet:x", "domain": "site"}, "domain", 0.0),
        ({"source": "digits", "partition": {"alpha": 0.1}}, "dirichlet", 0.3),
        ({"source": "world", "partition": "iid", "novel": 0}, "iid", 0.0),
        ({"source": "questions"}, "domain", 0.0),
        ({"source": "parquet:x", "question": "q"}, "dirichlet", 0.0),
        ({"source": "parquet:x", "question": "q", "answer_lengths": 3}, "domain", 0.0),
    ],
)
def test_defaults_depend_on_the_source(given: dict[str, object], kind: str, novel: float) -> None:
    spec = DataSpec.model_validate(given)
    assert spec.partition.kind == kind
    assert spec.novel == novel


SAVED_BEFORE = {
    "{}": "32f246f9370b5b47",
    '{"groups": 2, "rejected": true}': "ba377156ceda83c3",
    '{"kinds": ["colour", "check"], "train": 20}': "16f888f90a12b99b",
}
"""What is hashed of questions, from before there were tastes: a run of then is still found by the same recipe."""

ASKING = {"source": "parquet:x", "question": "q"}
LIKING = {"source": "questions", "questions": {"tastes": 120, "public": 50}}


@pytest.mark.parametrize(
    "given",
    ["digits", "world", "folder:x", "questions", ASKING, {**ASKING, "label": "y"}, LIKING,
     {"source": "questions", "questions": {"public": 5, "public_test": 0}},
     {"source": "questions", "questions": {"tastes": {"noise": 0}, "public_test": 5}}],
)  # fmt: skip
def test_a_saved_spec_reads_back_the_same(given: object) -> None:
    spec = DataSpec.model_validate(given)
    assert DataSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert DataSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": "digts"}, "did you mean 'digits'"),
        ({"source": "parquet"}, "needs a path"),
        ({"source": "parquet:a", "path": "b"}, "name two paths"),
        ({"source": "digits", "path": "x"}, "data.path has no meaning for data.source=digits"),
        ({"source": "digits", "draw": 3}, "data.draw has no meaning for data.source=digits"),
        ({"source": "world", "label": "y"}, "data.label has no meaning for data.source=world"),
        ({"novel": 1.0}, "not a share of the classes"),
        ({"classes": 0}, "leaves no class"),
        ({"template": "a photo"}, "no place for the class"),
        ({"partition": {"kind": "iid", "alpha": 0.1}}, "partition.alpha has no meaning for partition.kind=iid"),
        ({"partition": {"kind": "dirichlet", "classes_per_client": 2}}, "leave it out or use kind=classes"),
        ({"partition": {"kind": "domain", "column": "x"}}, "use kind=column"),
        ({"partition": "column"}, "set partition.column"),
        ({"source": "digits", "question": "q"}, "data.question has no meaning for data.source=digits"),
        ({"source": "folder:x", "question": "q"}, "data.question has no meaning for data.source=folder"),
        ({"source": "parquet:x", "answer": "a"}, "data.answer needs questions; set data.question"),
        ({"source": "parquet:x", "rejected": "r"}, "data.rejected needs questions; set data.question"),
        ({"source": "world", "group": "g"}, "data.group needs questions"),
        ({"source": "world", "questions": {"groups": 2}}, "data.questions has no meaning for data.source=world; use"),
        ({**ASKING, "questions": {}}, "data.questions has no meaning for data.source=parquet"),
        ({**ASKING, "template": "a {}"}, "data.template has no meaning for questions"),
        ({"source": "questions", "class_names": ["a"]}, "data.class_names has no meaning for questions"),
        ({"source": "parquet:x", "label": None}, "data.label names no column"),
        ({**ASKING, "instruction": "describe it."}, "data.question and data.instruction both say what is asked"),
        ({"source": "parquet:x", "instruction": " "}, "data.instruction has no words"),
        ({"source": "world", "instruction": "describe it."}, "data.instruction has no meaning for data.source=world"),
        ({**ASKING, "domain": "d", "answer_lengths": 2}, "both say what the domains are"),
        (
            {"source": "questions", "questions": {"tastes": {}, "kinds": ["colour"]}},
            "asks for a description; leave out",
        ),
    ],
)
def test_wrong_settings_are_explained(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        DataSpec.model_validate(given)


@pytest.mark.parametrize("given", [{"clients": 0}, {"validation": 1.0}, {"colour": 1}, {"partition": {"alpha": 0}}])
def test_values_out_of_range_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate(given)


@pytest.mark.parametrize(
    "options",
    [{"groups": 0}, {"input_shift": 1.1}, {"common": -1}, {"kinds": []}, {"train": 0}, {"public": -1}, {"tastes": 200},
     {"tastes": {"noise": 0.6}}, {"tastes": {"skew": 0}}, {"tastes": {"weight": 1.5}}, {"tastes": {"angle": 3}}],
)  # fmt: skip
def test_questions_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate({"source": "questions", "questions": options})


def test_what_asks_and_what_it_says_by_default() -> None:
    world, file = DataSpec.model_validate("questions"), DataSpec.model_validate(ASKING)
    assert world.asks
    assert file.asks
    assert not DataSpec.model_validate("world").asks
    assert world.questions == QuestionSpec()
    assert (file.answer, file.label) == ("answer", None)
    assert DataSpec.model_validate({**ASKING, "validation": 0}).validation == 0
    assert world.validation > 0


@pytest.mark.parametrize("given", ["digits", "world", "parquet:x"])
def test_data_of_classes_is_saved_as_it_was_before_there_were_questions(given: str) -> None:
    saved = DataSpec.model_validate(given).model_dump()
    assert not {"question", "instruction", "answer", "rejected", "group", "answer_lengths", "questions"} & set(saved)
    assert saved["label"] == "label"


def test_questions_without_tastes_are_saved_as_they_were_before_there_were_any() -> None:
    saved = DataSpec.model_validate("questions").model_dump()["questions"]
    assert set(QuestionSpec.model_fields) - set(saved) == {"tastes", "public", "public_test"}
    for given, was in SAVED_BEFORE.items():
        spec = DataSpec.model_validate({"source": "questions", "questions": json.loads(given)})
        assert digest(json.dumps(spec.model_dump(mode="json"), sort_keys=True)) == was


def test_tastes_and_public_rows_are_saved_where_they_apply() -> None:
    saved = DataSpec.model_validate(LIKING).model_dump()["questions"]
    assert saved["tastes"]["conflict"] == 120
    assert (saved["public"], saved["public_test"]) == (50, 200)
    none = QuestionSpec(public=5, public_test=0).model_dump()
    assert (none["public"], none["public_test"]) == (5, 0)


@pytest.mark.parametrize("section", [DataSpec, PartitionSpec, QuestionSpec, TastesSpec])
def test_every_option_is_described(section: type[Section]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []

from __future__ import annotations

import pytest
from pydantic import ValidationError

from synoptic.core import SynopticError
from synoptic.data import DataSpec, PartitionSpec


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
    ],
)
def test_defaults_depend_on_the_source(given: dict[str, object], kind: str, novel: float) -> None:
    spec = DataSpec.model_validate(given)
    assert spec.partition.kind == kind
    assert spec.novel == novel


@pytest.mark.parametrize("given", ["digits", "world", "folder:x"])
def test_a_saved_spec_reads_back_the_same(given: str) -> None:
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
    ],
)
def test_wrong_settings_are_explained(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        DataSpec.model_validate(given)


@pytest.mark.parametrize("given", [{"clients": 0}, {"validation": 1.0}, {"colour": 1}, {"partition": {"alpha": 0}}])
def test_values_out_of_range_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate(given)


@pytest.mark.parametrize("section", [DataSpec, PartitionSpec])
def test_every_option_is_described(section: type[DataSpec] | type[PartitionSpec]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []

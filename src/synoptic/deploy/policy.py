"""What a site allows: read from a file at the node, decided at the node, and said to both sides.

>>> Policy(methods=("fedavg",), max_rounds=5).against_terms("feddtl", 3, 100)
"this site allows the methods fedavg, and was asked for feddtl"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field, ValidationError

from synoptic.core import Section, SynopticError
from synoptic.core.errors import nearest
from synoptic.data.spec import DataSpec
from synoptic.experiment.yaml_text import read_yaml


class Policy(Section):
    """A site's own rules. Left out means allowed; an empty list allows nothing."""

    methods: tuple[str, ...] | None = Field(None, description="names of the methods that may run here")
    max_rounds: int | None = Field(None, ge=0, description="longest run that is taken part in")
    min_examples: int = Field(1, ge=0, description="fewest training examples with which this site takes part")
    may_leave: tuple[str, ...] | None = Field(
        None, description="patterns of what may leave, task.field: train.adapter, *.loss, evaluate.*"
    )
    data_folder: Path | None = Field(None, description="folder that files must lie in to be read as data")
    max_uploads: dict[str, int] = Field(
        {}, description="how many replies of a run may hold a field: {'*.embedding': 10}"
    )

    def against_terms(self, method: str, rounds: int, examples: int) -> str | None:
        """Why this site takes no part in a run; None when it does."""
        if self.methods is not None and method not in self.methods:
            return f"this site allows the methods {', '.join(self.methods) or 'none'}, and was asked for {method}"
        if self.max_rounds is not None and rounds > self.max_rounds:
            return f"this site allows {self.max_rounds} rounds, and was asked for {rounds}"
        if examples < self.min_examples:
            return f"this site takes part with at least {self.min_examples} examples, and holds {examples}"
        return None

    def against_data(self, spec: DataSpec) -> str | None:
        """Why data may not be read; None when they may. A recipe of a server's can name any path of this machine."""
        if self.data_folder is None:
            return None
        folder = self.data_folder.expanduser().resolve()
        outside = f"this site's data lie in {folder}, and "
        if spec.source == "hub":
            return f"{outside}it was asked for '{spec.path}' from the hub"
        for path in (spec.path, spec.test_path):
            if path is not None and not Path(path).expanduser().resolve().is_relative_to(folder):
                return f"{outside}it was asked for {path}"
        return None

    def against_reply(self, task: str, fields: Iterable[str], sent: Mapping[str, int]) -> str | None:
        """Why a reply may not leave; None when it may.

        Args:
            task: what was asked.
            fields: names of what would leave.
            sent: how many replies held a field that a pattern of ``max_uploads`` names, so far, by pattern.
        """
        for kind in (f"{task}.{field}" for field in fields):
            if self.may_leave is not None and not any(fnmatchcase(kind, pattern) for pattern in self.may_leave):
                return f"this site lets no '{kind}' leave"
            for pattern in self.limits(kind):
                if sent.get(pattern, 0) >= self.max_uploads[pattern]:
                    return f"this site lets '{pattern}' leave {self.max_uploads[pattern]} times in a run, and it has"
        return None

    def limits(self, kind: str) -> list[str]:
        """The patterns of ``max_uploads`` that count this kind of field."""
        return [pattern for pattern in self.max_uploads if fnmatchcase(kind, pattern)]


def read_policy(path: Path) -> Policy:
    """The policy in a YAML file.

    Raises:
        SynopticError: no such file, or one of its keys or values is not of a policy; it is never read as "all allowed".
    """
    content, lines = read_yaml(path)
    unknown = [key for key in content if key not in Policy.model_fields]
    if unknown:
        raise SynopticError(f"{path}, line {lines[(unknown[0],)]}: a policy has no '{unknown[0]}'",
                            nearest(unknown[0], Policy.model_fields))  # fmt: skip
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        raise SynopticError(f"{path}, line {lines.get((key,), 1)}: '{key}' cannot be {first['input']!r}",
                            Policy.model_fields[key].description or "") from error  # fmt: skip

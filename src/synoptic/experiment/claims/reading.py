"""Claims files, found by name and read.

    title: The foundation
    suites:
      skew:
        settings: {data: world, rounds: 10}
        methods: [local, fedavg]
        conditions: {iid: {data.partition: iid}, disjoint: {data.partition: classes}}
    quick: {rounds: 1, data.train_limit: 60}
    claims:
      together-wins-iid:
        statement: With iid data the shared adapter beats working alone.
        source: ours
        suite: skew
        relation: "mean(fedavg@iid: shared/global/accuracy) > mean(local@iid: personal/global/accuracy)"

A suite is written as for `synoptic compare`; what a relation may say stands in `synoptic.experiment.claims.relation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.claims.judge import check_place
from synoptic.experiment.claims.spec import Claim, ClaimsFile, Head
from synoptic.experiment.comparison.suite import Suite, parse_suite
from synoptic.experiment.problems import RecipeError, check
from synoptic.experiment.recipe import ENDINGS
from synoptic.experiment.yaml_text import Path_, read_yaml

FOLDER = Path("claims")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def find_claims(name: str, folder: Path = FOLDER) -> Path:
    """The file of a name: ``claims/NAME.yaml`` in the current folder, or the path of a YAML file.

    Raises:
        SynopticError: no such file; the sentence says which there are.
    """
    if name.endswith(ENDINGS) or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise SynopticError(f"there is no claims file {name}", "check the path")
    found = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in ENDINGS}
    if name in found:
        return found[name]
    fix = nearest(name, found) if found else "give the path of a YAML file, or go to the folder that holds claims/"
    raise SynopticError(f"there are no claims called '{name}'", fix)


def read_claims(path: Path) -> ClaimsFile:
    """The claims in a YAML file, everything in it checked that can be without a run.

    Raises:
        SynopticError: a sentence for each problem, with file and line.
    """
    content, lines = read_yaml(path)
    return _Reader(path, lines).read(content)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Mapping[Path_, int]

    def where(self, key: Path_) -> str:
        """The line of a key, or of the nearest key above it."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.path}, line {self.lines[key]}: " if key else f"{self.path}: "

    def read(self, content: Mapping[str, Any]) -> ClaimsFile:
        head, problems = check(Head, content, (), self.where)
        if head is None:
            raise RecipeError(_worded(problems))
        suites: dict[str, Suite] = {}
        claims: dict[str, Claim] = {}
        for name, given in head.suites.items():
            try:
                suites[name] = self.suite(name, given, head.quick)
            except RecipeError as error:
                problems += error.problems
        for name, given in head.claims.items():
            claim, found = check(Claim, given, ("claims", name), self.where)
            problems += found
            if claim is not None:
                claims[name] = claim
                problems += self.misfits(name, claim, suites, head)
        if problems:
            raise RecipeError(_worded(problems))
        return ClaimsFile(self.path.stem, head.title, head.about, suites, claims)

    def suite(self, name: str, given: Any, quick: Mapping[str, Any]) -> Suite:
        if not isinstance(given, Mapping):
            raise RecipeError([f"{self.where(('suites', name))}the suite '{name}' holds no keys; give it methods."])
        own = given.get("quick") or {}
        content = {**given, "quick": {**quick, **own} if isinstance(own, Mapping) else own}
        return parse_suite(content, name, self.path.parent, lambda key: self.where(("suites", name, *key)))

    def misfits(self, name: str, claim: Claim, suites: Mapping[str, Suite], head: Head) -> Iterator[str]:
        """What is wrong with an id, and what a claim asks of its suite that the suite has not."""
        if not _ID.fullmatch(name):
            yield f"{self.where(('claims', name))}the id '{name}' must be of small letters, digits and hyphens."
        if claim.suite not in head.suites:
            error = SynopticError(f"there is no suite '{claim.suite}'", nearest(claim.suite, head.suites))
            yield f"{self.where(('claims', name, 'suite'))}{error}"
        if claim.suite in suites:
            suite = suites[claim.suite]
            for term in claim.parsed.terms:
                try:
                    check_place(term, list(suite.methods), list(suite.conditions))
                except SynopticError as error:
                    yield f"{self.where(('claims', name, 'relation'))}claim '{name}': {error}"


def _worded(problems: list[str]) -> list[str]:
    """The sentences of recipes, said of a claims file."""
    changes = {"suite key": "key", "recipe key": "key", "the recipe does not": "the file does not", "?.": "?"}
    for old, new in changes.items():
        problems = [problem.replace(old, new) for problem in problems]
    return problems

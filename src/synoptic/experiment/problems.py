"""From pydantic's findings to sentences: which key, on which line, what stands there, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError
from synoptic.experiment.keys import allowed, child_section, item_section, meant, suggest
from synoptic.experiment.yaml_text import Path_

S = TypeVar("S", bound=Section)
Where = Callable[[Path_], str]
"""Says where a key was written ("recipes/x.yaml, line 4: "), or nothing."""

LONGEST = 60


class RecipeError(SynopticError):
    """What is wrong with a recipe, a sentence for each problem and a line for each sentence."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))
        self.args = (self.what,)


def nowhere(path: Path_) -> str:
    """For settings without a file."""
    return ""


def check(section: type[S], content: Any, prefix: Path_ = (), where: Where = nowhere) -> tuple[S | None, list[str]]:
    """The validated section, or None and a sentence for each problem."""
    try:
        return section.model_validate(content), []
    except RecipeError as error:
        return None, list(error.problems)
    except SynopticError as error:
        return None, [str(error)]
    except ValidationError as error:
        return None, _sentences(error, section, content, prefix, where)


def validate(section: type[S], content: Any, prefix: Path_ = (), where: Where = nowhere) -> S:
    """The validated section.

    Raises:
        RecipeError: one sentence for each problem.
    """
    result, problems = check(section, content, prefix, where)
    if result is None:
        raise RecipeError(problems)
    return result


def _sentences(error: ValidationError, root: type[Section], content: Any, prefix: Path_, where: Where) -> list[str]:
    found: dict[Path_, str] = {}
    for detail in error.errors(include_url=False):
        path, parent = _clean(detail, root)
        # A union reports each of its branches; the first says enough, because the sentence names them all.
        if path not in found:
            found[path] = where((*prefix, *path)) + _sentence(detail, path, parent, root, content, prefix)
    return list(found.values())


def _clean(detail: ErrorDetails, root: type[Section]) -> tuple[Path_, type[Section]]:
    """The key without the names of union branches and list places, and the section that holds it."""
    path: list[str] = []
    section: type[Section] | None = root
    parent = root
    for part in detail["loc"]:
        if section is None:
            break
        if not isinstance(part, str):
            continue
        known = part in section.model_fields
        if not known and detail["type"] != "extra_forbidden":
            continue
        path.append(part)
        parent, section = section, child_section(section, part) or item_section(section, part)
    return tuple(path), parent


def _sentence(
    detail: ErrorDetails, path: Path_, parent: type[Section], root: type[Section], content: Any, prefix: Path_
) -> str:
    key = ".".join((*prefix, *path))
    if detail["type"] == "extra_forbidden":
        # Suggestions are made among the root's keys and then given the names they have in the whole recipe.
        hint = suggest(root, path, parent).replace("mean '", f"mean '{''.join(f'{part}.' for part in prefix)}")
        return f"recipe key '{key}' does not exist; {hint if hint.endswith('?') else f'{hint}.'}"
    if detail["type"] == "missing" and path and path[-1] == detail["loc"][-1]:
        return f"the recipe does not say '{key}'; add {key}=..."
    if detail["type"] == "value_error":
        return f"recipe key '{key}': {detail['ctx']['error']}."
    given = _lookup(content, path, detail["input"])
    what = f"recipe key '{key}' cannot be {_shown(given)}"
    field = parent.model_fields.get(path[-1]) if path else None
    if field is None:
        return f"{what}; {detail['msg']}."
    words, near = allowed(field.annotation, field.metadata), meant(given, field.annotation)
    return f"{what}; use {words}." if near is None else f"{what}; did you mean '{near}'? It is {words}."


def _lookup(content: Any, path: Path_, otherwise: Any) -> Any:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return otherwise
        content = content[part]
    return content


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

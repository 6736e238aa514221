"""Settings laid over a recipe: ``train.lr=0.01`` on the command line, ``train={"lr": 0.01}`` in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError
from synoptic.experiment.keys import child_section
from synoptic.experiment.problems import validate
from synoptic.experiment.yaml_text import Path_, parse_value

Setting = tuple[Path_, Any]


def parse_override(text: str) -> Setting:
    """A setting as typed: ``data.classes=[red circle, blue square]``.

    Raises:
        SynopticError: no ``key=value``, or a list that does not end.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SynopticError(f"'{text}' is no setting", "write key=value, such as rounds=5")
    return split_key(key), parse_value(value, key)


def split_key(key: str) -> Path_:
    """``data.partition.alpha`` taken apart."""
    parts = tuple(key.split("."))
    if not all(parts):
        raise SynopticError(f"'{key}' is no recipe key", "write it like data.partition.alpha")
    return parts


def settings_of(content: Mapping[str, Any]) -> list[Setting]:
    """A mapping as settings; its keys may be dotted."""
    return [(split_key(key), value) for key, value in content.items()]


def lay_over(tree: dict[str, Any], settings: Iterable[Setting], root: type[Section]) -> dict[str, Any]:
    """A new tree with ``settings`` over ``tree``.

    Short keys go first, whatever their order, so ``data.partition.alpha=0.1 data.partition=dirichlet`` means the same
    as the other way round; of two equal keys the later wins. A bare word sets a section's primary field, or starts the
    section anew where it says so (`Section.replaces`) or has no primary field.
    """
    result = deepcopy(tree)
    for path, value in sorted(settings, key=lambda setting: len(setting[0])):
        _set(result, path, value, root, ())
    return result


def _set(tree: dict[str, Any], path: Path_, value: Any, section: type[Section] | None, above: Path_) -> None:
    key, *rest = path
    child = child_section(section, key)
    here = (*above, key)
    if rest:
        inner = _as_mapping(tree.get(key), child, here)
        _set(inner, tuple(rest), value, child, here)
        tree[key] = inner
    elif isinstance(value, Section):
        tree[key] = value.model_dump(exclude_unset=True)
    elif isinstance(value, Mapping) and (child is not None or key in tree):
        inner = _as_mapping(tree.get(key), child, here)
        for nested, inner_value in sorted(value.items(), key=lambda item: item[0].count(".")):
            _set(inner, split_key(str(nested)), inner_value, child, here)
        tree[key] = inner
    elif child is not None and child.primary is not None and not child.replaces and value is not None:
        tree[key] = {**_as_mapping(tree.get(key), child, here), child.primary: value}
    else:
        tree[key] = deepcopy(value)


def _as_mapping(value: Any, section: type[Section] | None, path: Path_) -> dict[str, Any]:
    """What a section holds so far, a bare word written out."""
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if section is None:
        raise SynopticError(f"recipe key '{'.'.join(path)}' is a plain value and has no keys below it",
                            f"set {'.'.join(path)} itself")  # fmt: skip
    if section.primary is not None:
        return {section.primary: value}
    return validate(section, value, path).model_dump(exclude_unset=True)

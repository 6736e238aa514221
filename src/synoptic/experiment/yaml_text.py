"""Recipes as text: a YAML that reads numbers and words the way people mean them, and knows its line numbers.

PyYAML's rules are those of YAML 1.1: ``1e-3`` is a word there, ``no`` is false, ``1:30`` is ninety and a key given
twice silently wins. Here ``1e-3`` is a number, only ``true`` and ``false`` are truth values, ``none`` is nothing, and a
key given twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from synoptic.core.errors import SynopticError

Path_ = tuple[str, ...]
"""A dotted key, taken apart."""

DEEPEST = 20
_SCALARS = {
    "null": (r"~|null|Null|none|None|", ["~", "n", "N", ""]),
    "bool": (r"true|True|false|False", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan",
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    # The stubs call PyYAML's class attribute an instance one.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def ignore_aliases(self, data: Any) -> bool:
        """Equal lists are written out, not linked."""
        return True

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """Lists stand on one line, as they are typed."""
        return super().represent_sequence(tag, sequence, flow_style=True)


for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    """The mapping in a file, and the line on which each key stands.

    Raises:
        SynopticError: no such file, or not YAML; the sentence gives the file, the line and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SynopticError(f"there is no recipe file {path}", "check the path, or name a method") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SynopticError(f"the recipe {path} cannot be read ({reason})", "check the file") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    """`read_yaml` for text; ``name`` is what errors call it."""
    lines: dict[Path_, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = {} if node is None else _plain(loader, node, (), lines, name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}, line {mark.line + 1}" if mark else name
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SynopticError(f"{place}: not YAML ({what})", "mend that line, or quote its value") from error
    if not isinstance(content, dict):
        raise SynopticError(f"{name} holds no keys", "write lines such as 'method: fedavg'")
    return content, lines


def parse_value(text: str, key: str) -> Any:
    """The value of a setting on the command line: a word, a number, true, false, none, or a list such as [a, b].

    Anything else is taken as it stands, so a template with a colon or a sharp sign needs no quotes.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return _construct(text)
        except yaml.YAMLError as error:
            if text.startswith("["):
                raise SynopticError(f"the value of '{key}' is no list ({text})", "write it like [a, b]") from error
            return text
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(yaml.ScalarNode(tag, text), deep=True)


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Text that `parse_yaml` reads back as the same content, keys in the given order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def _construct(text: str) -> Any:
    loader = _Loader(text)
    node = loader.get_single_node()
    return _plain(loader, node, (), {}, "the value") if node is not None else None


def _plain(loader: _Loader, node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str) -> Any:
    if len(path) > DEEPEST:
        raise SynopticError(f"{name}, line {node.start_mark.line + 1}: nested too deeply", "write the keys flat")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*path, "[]"), lines, name) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key, str):
            raise SynopticError(f"{name}, line {line}: a key must be a word", "write 'key: value'")
        # In a file a dotted key means what it means on the command line.
        place = (*path, *key.split("."))
        if key in content:
            raise SynopticError(f"{name}, line {line}: '{'.'.join(place)}' is given twice (first in line "
                                f"{lines[place]})", "keep one of them")  # fmt: skip
        lines[place] = line
        content[key] = _plain(loader, value_node, place, lines, name)
    return content

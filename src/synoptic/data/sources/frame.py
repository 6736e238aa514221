"""Arrow columns with the words of their class labels: the common form of parquet files and hub data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.images import EncodedImages, FileImages, ImageStore
from synoptic.data.sources.source import Source, split_off
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One split of a source.

    Attributes:
        name: for messages, such as "train.parquet".
        table: an Arrow table; image bytes stay encoded.
        words: class names of the integer columns that have them (the ``ClassLabel`` features).
        identity: the content's fingerprint.

    """

    name: str
    table: pa.Table
    words: Mapping[str, tuple[str, ...]]
    identity: str

    def column(self, name: str, option: str) -> Any:
        """An Arrow column without missing values; ``option`` is the setting that named it."""
        require_columns(self.name, self.table.column_names, {option: name})
        column = self.table.column(name)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise SynopticError(
                f"column {name!r} of {self.name} is empty in {column.null_count:,} rows, first in row {row}",
                "fill or remove them",
            )
        return column


def require_columns(where: str, known: Iterable[str], wanted: Mapping[str, str]) -> None:
    """Refuse a column that does not exist and say which do. ``wanted`` maps an option to its column."""
    names = list(known)
    for option, name in wanted.items():
        if name not in names:
            raise SynopticError(
                f"{where} has no column {name!r}", f"set {option} to one of its columns: {', '.join(names)}"
            )


def wanted_columns(spec: DataSpec) -> dict[str, str]:
    """The columns that a recipe names, by the option that names them."""
    options = ("image", "label", "domain", "question", "answer", "rejected", "group")
    wanted = {f"data.{option}": getattr(spec, option) for option in options}
    wanted["data.partition.column"] = spec.partition.column
    return {option: column for option, column in wanted.items() if column is not None}


def frames_source(name: str, train: Frame, test: Frame | None, spec: DataSpec) -> Source:
    """Tables from frames. Without a test frame a fifth of every class is set aside, always the same."""
    frames = [train] if test is None else [train, test]
    class_names, labels = coded(frames, spec.label or "", "data.label")
    class_names = _overridden(class_names, spec, train.name)
    domain_names: tuple[str, ...] = ()
    domains: Sequence[Ints | None] = [None] * len(frames)
    if spec.domain is not None:
        domain_names, domains = coded(frames, spec.domain, "data.domain")
    stores = [images_of(frame, spec.image) for frame in frames]
    tables = [
        ExampleTable(f"{name}/{part}", store, label, class_names, domain, domain_names)
        for part, store, label, domain in zip(("train", "test"), stores, labels, domains, strict=False)
    ]
    columns = {}
    if spec.partition.column is not None:
        column = train.column(spec.partition.column, "data.partition.column")
        columns[spec.partition.column] = np.asarray(column.to_numpy())
    if test is not None:
        return Source(tables[0], tables[1], columns=columns)
    rows, held = split_off(tables[0].labels)
    return Source(tables[0].take(rows), tables[0].take(held), columns={k: v[rows] for k, v in columns.items()})


def coded(frames: list[Frame], name: str, option: str) -> tuple[tuple[str, ...], list[Ints]]:
    """Words and int64 codes [rows] of a column: its ClassLabel names, or its sorted values over all frames."""
    columns = [np.asarray(frame.column(name, option).to_numpy()) for frame in frames]
    words = frames[0].words.get(name)
    if words is not None and all(frame.words.get(name) == words for frame in frames):
        for frame, values in zip(frames, columns, strict=True):
            if len(values) and not 0 <= values.min() <= values.max() < len(words):
                row = int(np.flatnonzero((values < 0) | (values >= len(words)))[0])
                raise SynopticError(
                    f"row {row} of {frame.name} has {name}={values[row]}, but there are {len(words)} names for it",
                    "remove the row or mend the names",
                )
        return words, [values.astype(np.int64) for values in columns]
    if any(values.dtype.kind == "f" for values in columns):
        raise SynopticError(f"column {name!r} holds fractional numbers, not classes", f"set {option} to another column")
    spelled = [_spelled(frame, name, values) for frame, values in zip(frames, columns, strict=True)]
    known, codes = np.unique(np.concatenate(spelled), return_inverse=True)
    if all(values.dtype.kind in "iu" for values in columns) and words is None:
        known, codes = _numeric(known, codes)
    cuts = np.cumsum([len(values) for values in columns])[:-1]
    return tuple(str(word) for word in known), [part.astype(np.int64) for part in np.split(codes, cuts)]


def _spelled(frame: Frame, name: str, values: NDArray[Any]) -> NDArray[Any]:
    words = frame.words.get(name)
    return np.array([words[v] if words else str(v) for v in values])


def _numeric(known: NDArray[Any], codes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes without names in the order of their numbers, not of their spelling."""
    order = np.argsort(known.astype(np.int64), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return known[order], place[codes]


def _overridden(words: tuple[str, ...], spec: DataSpec, where: str) -> tuple[str, ...]:
    if spec.class_names is None:
        return words
    if len(spec.class_names) != len(words):
        raise SynopticError(
            f"data.class_names has {len(spec.class_names)} words, but {where} has {len(words)} classes",
            "give one word per class, in the source's order",
        )
    return spec.class_names


def images_of(frame: Frame, name: str) -> ImageStore:
    """The store of a column of images: encoded bytes, structs of bytes and path, or paths."""
    import pyarrow as pa

    column = frame.column(name, "data.image")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return FileImages(tuple(Path(path) for path in column.to_pylist()))
    is_struct = pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0
    if not is_struct and not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        raise SynopticError(
            f"column {name!r} of {frame.name} holds {column.type}, not images", "set data.image to the image column"
        )
    return EncodedImages(ArrowBytes(column, frame.name, is_struct), frame.name, frame.identity)


class ArrowBytes(Sequence[bytes]):
    """The encoded images of an Arrow column, read one row at a time."""

    def __init__(self, column: Any, where: str, is_struct: bool) -> None:
        self.column, self.where, self.is_struct = column, where, is_struct

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: Any) -> Any:
        value = self.column[row].as_py()
        content, path = (value["bytes"], value.get("path")) if self.is_struct else (value, None)
        if content is not None:
            return content
        if path and Path(path).is_file():
            return Path(path).read_bytes()
        raise SynopticError(f"row {row} of {self.where} has neither image bytes nor a file", "repair or remove it")

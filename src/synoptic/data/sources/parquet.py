"""Parquet files as the hub and `datasets` write them: image struct {bytes, path}, class names in the schema."""

from __future__ import annotations

import json
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.data.sources.asking import asking_source
from synoptic.data.sources.frame import Frame, frames_source, require_columns, wanted_columns
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY: Final = 2 << 30  # bytes of files that are read at once; above, `datasets` maps them from its cache on disk
ONLY_TRAINED: Final = ("data.group", "data.partition.column")
"""Options whose columns a test part of questions may lack: they say who holds the training rows."""
_EDGE: Final = 1 << 16


def parquet_source(spec: DataSpec) -> Source:
    """Read the columns that the recipe names from the files at ``spec.path`` (and ``spec.test_path``)."""
    train, test = find_files(spec.path or "", spec.test_path)
    name = Path(spec.path or "").stem if len(train) == 1 else train[0].parent.name
    held = read_frame(test, spec, ONLY_TRAINED if spec.asks else ()) if test else None
    made = asking_source if spec.asks else frames_source
    return made(name, read_frame(train, spec), held, spec)


def find_files(path: str, test_path: str | None) -> tuple[list[Path], list[Path]]:
    """Train and test files of a path: a file, a glob, a folder, or a path with {split}.

    A folder holds train*.parquet and test*.parquet, or validation*.parquet in place of the latter, also inside
    ``data/``. An empty test list means that there is none.
    """
    path = str(Path(path).expanduser())
    if "{split}" in path:
        if test_path is not None:
            raise SynopticError("data.path has {split} and data.test_path is set too", "leave data.test_path out")
        return _files(path.replace("{split}", "train")), _files(path.replace("{split}", "test"))
    if Path(path).is_dir() and test_path is None:
        return _in_folder(Path(path))
    return _files(path), [] if test_path is None else _files(test_path)


def _files(pattern: str) -> list[Path]:
    named = Path(pattern).expanduser()
    if named.is_file():
        return [named]
    if named.is_dir():
        return sorted(named.glob("*.parquet")) or _files(f"{pattern}/*.parquet")
    found = sorted(Path(name) for name in glob(str(named), recursive=True))  # noqa: PTH207
    if not found:
        raise SynopticError(f"no parquet file matches {pattern}", "check data.path")
    return found


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    parts = {
        split: sorted([*folder.glob(f"{split}*.parquet"), *folder.glob(f"data/{split}*.parquet")])
        for split in ("train", "test", "validation")
    }
    if not parts["train"]:
        raise SynopticError(f"{folder} has no train*.parquet", "name the file, or use a path with {split}")
    return parts["train"], parts["test"] or parts["validation"]


def read_frame(files: list[Path], spec: DataSpec, spared: tuple[str, ...] = ()) -> Frame:
    """The wanted columns of some files as one frame. A damaged file or a missing column is one sentence.

    The columns of ``spared`` options may be missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = wanted_columns(spec)
    name = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    tables = []
    for file in files:
        try:
            schema = pq.read_schema(file)
            wanted = {o: name for o, name in wanted.items() if o not in spared or name in schema.names}
            require_columns(str(file), schema.names, wanted)
            if sum(one.stat().st_size for one in files) <= IN_MEMORY:
                tables.append(pq.read_table(file, columns=list(dict.fromkeys(wanted.values()))))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise SynopticError(f"{file} is truncated or no parquet file ({reason})", "restore it") from error
    try:
        table = pa.concat_tables(tables) if tables else _mapped(files)
    except pa.ArrowInvalid as error:
        raise SynopticError(f"{name} do not have the same columns ({error})", "give files of one data set") from error
    words = class_words(schema)
    return Frame(name, table, words, digest(*(file_identity(file) for file in files), *sorted(wanted.values())))


def _mapped(files: list[Path]) -> Any:
    import datasets

    names = [str(file) for file in files]
    return datasets.load_dataset("parquet", data_files={"train": names}, split="train").data.table


def class_words(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names of the ``ClassLabel`` columns, from the metadata that `datasets` leaves in a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: value for name, value in features.items() if value.get("_type") == "ClassLabel"}
        return {name: tuple(value["names"]) for name, value in labels.items() if value.get("names")}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def file_identity(file: Path) -> str:
    """A file's size, head and tail: a parquet file's tail holds the place and statistics of every page."""
    with file.open("rb") as stream:
        head = stream.read(_EDGE)
        size = stream.seek(0, 2)
        stream.seek(max(size - _EDGE, 0))
        return digest(str(size), head, stream.read())

"""What a finished run delivered, read back: its adapters, and what they are about.

``adapters/about.json`` lies beside the adapters, so that nobody needs the data, the method or the base to describe
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from synoptic.adapters.peft_io import Words
from synoptic.core import Section, SynopticError
from synoptic.core.errors import listing
from synoptic.core.files import read_json
from synoptic.data.tasks import Task
from synoptic.experiment.records import RunRecord, read_run
from synoptic.models.multitask.saved import BLOCKS

ABOUT = "about.json"


class Sizes(Section):
    """How much data a run had.

    Attributes:
        train, test: examples.
        clients: how many share the training examples.
        fewest, median, most: training examples of one client.
        dropped: training examples left out because the test part has the same picture.
        domains: how many.
        domain_names: empty where clients are named after domains; the names of clients are nobody's business.
    """

    train: int
    test: int
    clients: int
    fewest: int
    median: float
    most: int
    dropped: int
    domains: int
    domain_names: tuple[str, ...]


class About(Section):
    """What a run's adapters are about.

    Attributes:
        method: the method's line about itself.
        pools_data: whether the method put all clients' data in one place.
        words: classes and prompt; None for an adapter that answers questions, or has several tasks.
        tasks: all of the run, where its clients have different ones.
        sizes: of the data.
        shared: whether there is a shared adapter.
        personal: names of the clients that have an adapter of their own, by number.
    """

    format: int = 1
    method: str
    pools_data: bool
    words: Words | None
    tasks: tuple[Task, ...] = ()
    sizes: Sizes
    shared: bool
    personal: dict[int, str]


@dataclass(frozen=True)
class Delivered:
    """One adapter of a run, and whose it is."""

    kind: Literal["shared", "personal"]
    folder: Path
    client: str | None = None

    @property
    def place(self) -> Path:
        """Where it lies below a folder of adapters."""
        return Path(self.kind) if self.client is None else Path(self.kind, folder_name(self.client))

    @property
    def in_blocks(self) -> bool:
        """Whether it is of several tasks, so that it holds blocks and not what PEFT knows."""
        return (self.folder / BLOCKS).exists()


def finished(path: Path) -> RunRecord:
    """The run in a folder, which must be finished.

    Raises:
        SynopticError: no run there, one that is not finished, or a damaged file.
    """
    run = read_run(path)
    if run.status == "running":
        raise SynopticError(f"the run {path} is still being written", f"wait for its end: synoptic watch {path}")
    if run.status == "stopped":
        raise SynopticError(f"the run {path} is not finished", f"go on with it: synoptic run --resume {path}")
    return run


def read_about(run: RunRecord) -> About:
    """What a finished run's adapters are about.

    Raises:
        SynopticError: the file is missing or damaged.
    """
    path = run.folder.adapters / ABOUT
    try:
        return About.model_validate(read_json(path))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its top level"
        raise again(run, SynopticError(f"{path} is damaged at {where}")) from error
    except SynopticError as error:
        raise again(run, error) from error


def again(run: RunRecord, error: SynopticError) -> SynopticError:
    """The same problem with what helps: a run writes its adapters anew from its last checkpoint."""
    path = run.folder.path
    return SynopticError(error.what, f"write the adapters anew: remove {run.folder.summary} and go on with "
                                     f"synoptic run --resume {path}")  # fmt: skip


def shared(run: RunRecord, about: About) -> Delivered | None:
    """Everybody's adapter, if there is one."""
    return Delivered("shared", run.folder.adapters / "shared") if about.shared else None


def personal(run: RunRecord, about: About, client: str) -> Delivered:
    """A client's own adapter.

    Args:
        run: a finished run.
        about: from `read_about`.
        client: name or number.

    Raises:
        SynopticError: that client has none.
    """
    known = about.personal
    name = client if client in known.values() else known.get(int(client)) if client.isdecimal() else None
    if name is None:
        fix = f"it has {listing(known.values())}" if known else "all its clients share one; leave out --client"
        raise SynopticError(f"the run {run.name} has no adapter of a client '{client}'", fix)
    return Delivered("personal", run.folder.adapters / "personal" / folder_name(name), name)


def folder_name(client: str) -> str:
    """A client's name as that of one folder: whatever could mean a place becomes ``%XX``.

    >>> folder_name("client-07"), folder_name("ward 3/B"), folder_name("..")
    ('client-07', 'ward 3%2FB', '%2E%2E')
    """
    odd = r"[^\w .()+,@-]" if client.strip(". ") else "."
    return re.sub(odd, lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), client)

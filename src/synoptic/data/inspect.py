"""Looking at a split: a row per client for tables, and one picture for eyes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.rows import Rows
from synoptic.data.table import ExampleTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Ints = NDArray[np.int64]

DRAWN: Final = 100  # clients; of more, so many are drawn, evenly spaced by size
SAMPLED: Final = 6  # clients whose pictures are shown
SAMPLES: Final = 6  # pictures of each
PEEKED: Final = 100  # rows of a client among which its questions are looked for
SAID: Final = 3  # questions of each client in a table
WIDEST: Final = 22  # letters of a question or answer under a picture
NAMED: Final = 40  # rows or columns that can carry names
COUNTED: Final = 120  # cells that can carry their number
INK: Final = "#1f3a5f"
SUFFIXES: Final = frozenset({".png", ".svg", ".pdf"})


@dataclass(frozen=True)
class Said:
    """A question of a client, its answer, and its rejected answer if there is one."""

    question: str
    answer: str
    rejected: str | None = None


@dataclass(frozen=True)
class ClientRow:
    """One client in a table: numbers of examples, what it holds, and the share of its most frequent class.

    ``said`` are a few of its questions, each of another class as far as it has them.
    """

    client: str
    train: int
    val: int
    test: int
    classes: int
    domains: tuple[str, ...]
    largest_share: float
    largest_class: str
    said: tuple[Said, ...] = ()


def describe(data: FederatedData) -> list[ClientRow]:
    """A row per client, in client order; training and validation examples count together for what it holds."""
    clients = data.clients
    counts = class_counts(data, "label")
    domain_counts = class_counts(data, "domain")
    largest = counts.argmax(axis=1)
    held = np.maximum(counts.sum(axis=1), 1)
    train, val, test = (rows.counts for rows in (clients.train_rows, clients.val_rows, clients.test_rows))
    return [
        ClientRow(
            clients.name(k),
            int(train[k]),
            int(val[k]),
            int(test[k]),
            int((counts[k] > 0).sum()),
            tuple(data.train.domain_names[i] for i in np.flatnonzero(domain_counts[k])),
            float(counts[k, largest[k]] / held[k]),
            data.class_names[largest[k]],
            _said(data, k),
        )
        for k in range(len(clients))
    ]


def _said(data: FederatedData, k: int) -> tuple[Said, ...]:
    words = data.train.words
    if words is None:
        return ()
    held = np.concatenate([data.clients.train(k), data.clients.val(k)])
    labels = data.train.labels[held]
    repeats = np.array([int((labels[:place] == label).sum()) for place, label in enumerate(labels[:PEEKED])])
    picked = np.sort(np.argsort(repeats, kind="stable")[:SAID])
    rejected = words.rejected
    return tuple(
        Said(words.questions[row], words.answers[row], None if rejected is None else rejected[row])
        for row in held[picked]
    )


def class_counts(data: FederatedData, by: str = "label") -> Ints:
    """Training and validation examples per client and class ("label") or domain ("domain"), int64 [clients, n]."""
    table = data.train
    values, width = (table.labels, len(table.class_names)) if by == "label" else _domain_values(table)
    clients = len(data.clients)
    total = np.zeros(clients * width, dtype=np.int64)
    if width:
        for rows in (data.clients.train_rows, data.clients.val_rows):
            total += np.bincount(rows.owners * width + values[rows.positions], minlength=clients * width)
    return total.reshape(clients, width)


def _domain_values(table: ExampleTable) -> tuple[Ints, int]:
    if table.domains is None:
        return np.zeros(len(table), dtype=np.int64), 0
    return table.domains, len(table.domain_names)


def draw(data: FederatedData, path: Path) -> None:
    """Write a picture of the split (PNG, SVG or PDF by the file's ending).

    Left, how many examples of each base class (and domain) a client holds; middle, its sizes; right, some of its
    pictures. Of more than DRAWN clients a sample is drawn, evenly spaced by size, and the title says so.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SynopticError(f"{path} has no picture ending", f"use one of: {', '.join(sorted(SUFFIXES))}")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = _shown(data)
    counts = class_counts(data)[shown][:, data.base_classes]
    domains = class_counts(data, "domain")[shown]
    widths = (1.2 + 0.32 * min(counts.shape[1], 40), 0.9 + 0.32 * min(domains.shape[1], 12), 1.5)
    sizes: tuple[float, ...] = (*widths, 5.2 if data.asks else 3.6)
    if not domains.shape[1]:
        sizes = (sizes[0], *sizes[2:])
    height = float(np.clip(1.9 + 0.26 * len(shown), 6.5 if data.asks else 4.2, 12))
    figure = Figure(figsize=(sum(sizes) + 1.6, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subfigures(1, 2, width_ratios=(sum(sizes[:-1]) + 1.2, sizes[-1]))
    left, right = panels
    axes = list(np.atleast_1d(left.subplots(1, len(sizes) - 1, sharey=True, width_ratios=sizes[:-1])))
    names = [data.clients.name(int(k)) for k in shown]
    _heat(axes[0], counts, [data.class_names[i] for i in data.base_classes], "examples per class")
    if domains.shape[1]:
        _heat(axes[1], domains, list(data.train.domain_names), "per domain")
    _sizes(axes[-1], data, shown)
    _label_clients(axes[0], names)
    _pictures(right, data, shown)
    figure.suptitle(_title(data, len(shown)), fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text in an SVG, and the same split gives the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "synoptic"}):
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _shown(data: FederatedData) -> Ints:
    clients = len(data.clients)
    if clients <= DRAWN:
        return np.arange(clients)
    by_size = np.argsort(-data.clients.train_rows.counts, kind="stable")
    return by_size[np.linspace(0, clients - 1, DRAWN).round().astype(np.int64)]


def _title(data: FederatedData, shown: int) -> str:
    spec = data.origin.spec if data.origin else None
    how = f", partition {spec.partition.kind}" if spec else ""
    part = f" ({shown} shown, from the largest to the smallest)" if shown < len(data.clients) else ""
    return f"{data.train.name}: {len(data.train):,} examples, {len(data.clients):,} clients{part}{how}"


def _heat(axes: Axes, counts: Ints, names: list[str], title: str) -> None:
    from matplotlib.colors import PowerNorm

    # A square-root scale keeps a client's few examples of a class apart from none, which stays white.
    norm = PowerNorm(0.5, vmin=0, vmax=max(int(counts.max()), 1))
    axes.imshow(np.ma.masked_equal(counts, 0), aspect="auto", cmap="YlGnBu", norm=norm, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    else:
        axes.set_xlabel(f"{len(names)} in the source's order", fontsize=8)
        axes.set_xticks([])
    axes.tick_params(length=0)
    if counts.size > COUNTED:
        return
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = norm(counts[row, column]) > 0.55
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )


def _label_clients(axes: Axes, names: list[str]) -> None:
    step = -(-len(names) // NAMED)
    rows = range(0, len(names), step)
    axes.set_yticks(rows, [names[i] for i in rows], fontsize=7)


def _sizes(axes: Axes, data: FederatedData, shown: Ints) -> None:
    clients = data.clients
    left = np.zeros(len(shown))
    parts: list[tuple[str, Rows, str]] = [
        ("train", clients.train_rows, INK),
        ("validation", clients.val_rows, "#c98a1b"),
        ("test", clients.test_rows, "#9fb4cc"),
    ]
    for name, rows, colour in parts:
        counts = rows.counts[shown]
        if counts.any():
            axes.barh(range(len(shown)), counts, left=left, color=colour, height=0.8, label=name)
            left += counts
    axes.set_title("sizes", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), handlelength=1)


def _pictures(figure: Any, data: FederatedData, shown: Ints) -> None:
    """Up to SAMPLES pictures of up to SAMPLED clients, evenly spaced over each client's examples."""
    holders = [int(k) for k in shown if len(data.clients.train(int(k)))]
    picked = [holders[i] for i in np.unique(np.linspace(0, len(holders) - 1, SAMPLED).round().astype(int))]
    grid = figure.subplots(len(picked), SAMPLES, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, k in zip(grid, picked, strict=True):
        held = data.clients.train(k)
        spaced = held[np.unique(np.linspace(0, len(held) - 1, SAMPLES).round().astype(int))]
        row[0].set_title(data.clients.name(k), fontsize=7, loc="left")
        for axes, picture, row_of_table in zip(row, data.train.images.load(spaced), spaced, strict=False):
            axes.imshow(np.asarray(picture), interpolation="nearest")
            _write_words(axes, data, int(row_of_table))


def _write_words(axes: Axes, data: FederatedData, row: int) -> None:
    """What is asked and said about a picture, below it."""
    words = data.train.words
    if words is not None:
        said = (shorten(text, WIDEST, placeholder="...") for text in (words.questions[row], words.answers[row]))
        axes.text(0.5, -0.04, "\n".join(said), fontsize=4.5, ha="center", va="top", transform=axes.transAxes)

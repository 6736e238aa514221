"""What it cost: bytes by message kind, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.display.numbers import bytes_text, seconds_text
from synoptic.experiment.report.draw import TEXT, drawing, identifier, plain, svg
from synoptic.experiment.report.palette import sentinel
from synoptic.experiment.report.parts import Block, Figure, Grid, Key, plural, row, shortened
from synoptic.experiment.report.scene import Scene

STEP = 39
LONGEST = 28
SMALL = 0.01
"""Message kinds below this share of the largest method's bytes are drawn together."""

WAYS = {"up": "s0", "down": "s4"}
PARTS = {"train": "training", "evaluate": "evaluating", "communicate": "communicating"}
FILLS = {"train": "s0", "evaluate": "s4", "communicate": "s1"}


@dataclass(frozen=True)
class Stack:
    """A bar of parts, each with its fill."""

    name: str
    parts: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(value for _, value in self.parts)


def cost(scene: Scene) -> Block | None:
    """Bytes by kind and direction, and seconds by activity, means over seeds."""
    if not scene.finished:
        return None
    return Block("Cost", ("Means over seeds, for all clients and rounds together.",),
                 figures=(_bytes(scene), _seconds(scene)))  # fmt: skip


def kinds(group: Group) -> dict[str, dict[str, float]]:
    """Bytes of each message kind, up and down, mean over seeds."""
    result: dict[str, dict[str, float]] = {}
    for run in group.runs:
        for kind, ways in run.summary["bytes"].get("by_kind", {}).items():
            mine = result.setdefault(kind, {"up": 0.0, "down": 0.0})
            for way in WAYS:
                mine[way] += ways.get(way, 0) / len(group.runs)
    return result


def seconds(group: Group) -> dict[str, float]:
    """Seconds of each activity, mean over seeds."""
    return {part: sum(run.summary["seconds"].get(part, 0.0) for run in group.runs) / len(group.runs) for part in PARTS}


def _bytes(scene: Scene) -> Figure:
    entries: list[Stack] = []
    rows = []
    largest = max(sum(sum(ways.values()) for ways in kinds(group).values()) for group in scene.finished)
    for group in scene.finished:
        prefix = "" if scene.single else f"{group.label}: "
        table = kinds(group)
        entries += _stacks(prefix, table, SMALL * largest) or [Stack(f"{prefix}nothing sent", ())]
        rows += [row(f"{prefix}{kind}", bytes_text(ways["up"]), bytes_text(ways["down"])) for kind, ways in
                 table.items()] or [row(f"{prefix}nothing sent", "0 B", "0 B")]  # fmt: skip
    keys = tuple(Key(f"bytes {way}", fill=fill) for way, fill in WAYS.items())
    grid = Grid(("message kind", "bytes up", "bytes down"), tuple(rows), linked=3)
    apart = "Evaluation's own messages are left out."
    return Figure("bytes by message kind", f"Payload that crossed the boundary, up and then down. {apart}",
                  _drawn(scene, "bytes", entries, WAYS, bytes_text), grid, keys)  # fmt: skip


def _stacks(prefix: str, table: Mapping[str, Mapping[str, float]], least: float) -> list[Stack]:
    small = [kind for kind, ways in table.items() if ways["up"] + ways["down"] < least]
    large = [Stack(f"{prefix}{kind}", tuple((way, table[kind][way]) for way in WAYS)) for kind in table
             if len(small) < 2 or kind not in small]  # fmt: skip
    large.sort(key=lambda stack: -stack.total)
    if len(small) > 1:
        rest = tuple((way, sum(table[kind][way] for kind in small)) for way in WAYS)
        large.append(Stack(f"{prefix}{plural(len(small), 'small kind')}", rest))
    return large


def _seconds(scene: Scene) -> Figure:
    entries = [Stack(group.label, tuple(seconds(group).items())) for group in scene.finished]
    rows = [row(group.label, *(seconds_text(value) for value in seconds(group).values()),
                seconds_text(sum(seconds(group).values()))) for group in scene.finished]  # fmt: skip
    keys = tuple(Key(PARTS[part], fill=fill) for part, fill in FILLS.items())
    grid = Grid(("method", *PARTS.values(), "seconds"), tuple(rows), linked=5)
    return Figure("time", "Where the seconds went on the machine that made the runs, in this order.",
                  _drawn(scene, "time", entries, FILLS, seconds_text), grid, keys)  # fmt: skip


def _drawn(scene: Scene, name: str, entries: Sequence[Stack], fills: Mapping[str, str], text: object) -> str:
    assert callable(text)
    height = STEP * len(entries) + 6
    longest = max((entry.total for entry in entries), default=0) or 1
    with drawing(height, (4, 10, 2, 4)) as (figure, axes):
        for place, entry in enumerate(entries):
            top, left = place * STEP, 0.0
            axes.text(0, top + TEXT, shortened(entry.name, LONGEST), va="baseline", color=sentinel("muted"))
            axes.text(longest, top + TEXT, text(entry.total), va="baseline", ha="right", color=sentinel("ink"))
            for part, value in entry.parts:
                axes.barh(top + 25, value, left=left, height=13, color=sentinel(fills[part]),
                          edgecolor=sentinel("card"), linewidth=0.8, clip_on=False)  # fmt: skip
                left += value
        plain(axes)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlim(0, longest)
        axes.set_ylim(max(STEP * len(entries), 1), 0)
        axes.set_xticks([])
        axes.set_yticks([])
        said = "; ".join(f"{entry.name} {text(entry.total)}" for entry in entries)
        return svg(figure, identifier(scene.condition, name), f"Bar chart of {name}: {said}.")

"""The page of figures about runs over nodes, from `benchmarks/results/deploy.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.table import _environments, _table

HEAD = """# Figures

Written by `python -m benchmarks.deploy` from `benchmarks/results/deploy.json`; no number is typed by hand. Everything
runs on one machine, server and nodes sharing its cores.
"""


def page(content: Mapping[str, Any]) -> str:
    """Markdown of what was measured; parts that were not are left out."""
    parts = {"asks": _asks, "stock": _stock, "faults": _faults, "soak": _soak}
    lines = [HEAD]
    for name, write in parts.items():
        if name in content:
            lines += [*write(content[name]), "", *_where(content[name]), ""]
    return "\n".join(lines)


def _where(part: Mapping[str, Any]) -> list[str]:
    if "environment" in part:
        return _environments([part["environment"]])
    about = part["about"]
    return [f"* {about['machine']}, {about['cores']} cores, load average {about['load']}."]


def _asks(part: Mapping[str, Any]) -> list[str]:
    rows = [[line, size, str(one["median"]), str(one["p95"]), str(one["server_cpu"])]
            for line, sizes in part["milliseconds_per_ask"].items() for size, one in sizes.items()]  # fmt: skip
    text = (f"The server sends a letter to {part['nodes']} resident nodes, which send it back; milliseconds until both "
            f"replies are there, of {part['asks']} asks.")  # fmt: skip
    head = ["line", "letter", "median", "95th percentile", "of it computing at the server"]
    return ["## One ask, there and back", "", text, "", *_table(head, rows)]


def _stock(part: Mapping[str, Any]) -> list[str]:
    rows = [[kind, ", ".join(f"{one:.2f}" for one in part["seconds_per_round"][kind]), f"{part['overhead'][kind]:.2f}"]
            for kind in ("resident", "stock")]  # fmt: skip
    text = (
        f"The same {part['method']} run with {part['nodes']} nodes, {part['asks_per_round']} asks a round. In one "
        f"process a round takes {part['seconds_in_one_process']:.2f} s; what a round takes beyond that is overhead. "
        f"Stock nodes add **{part['ratio']:.1f} times** as much as resident ones: they look for letters every three "
        "seconds, and start a process for each, which loads the base and the data again."
    )
    head = ["nodes", "seconds of each round", "overhead, median"]
    return ["## Resident nodes and stock ones", "", text, "", *_table(head, rows)]


def _faults(part: Mapping[str, Any]) -> list[str]:
    inside, outside = part["in_process"], part["over_sockets"]
    both = {**outside["by_kind"], **inside["by_kind"]}
    kinds = dict.fromkeys([*inside["by_kind"], *outside["by_kind"]])
    rows = [[kind, _ended(inside["by_kind"].get(kind)), _ended(outside["by_kind"].get(kind)), both[kind]["meant"]]
            for kind in kinds]  # fmt: skip
    rows.append(["**all**", f"{inside['faults']:,} in {inside['rounds']} rounds",
                 f"{outside['faults']}, {outside['rounds']} rounds", ""])  # fmt: skip
    rows += [[f"**{key.replace('_', ' ')}**", f"**{inside[key]}**", f"**{outside[key]}**", ""]
             for key in ("lost_rounds", "corrupted_replies")]  # fmt: skip
    text = (
        "Five clients, of which one or two are hit in every round. A reply is *left out* with a reason, or the fault "
        "is *mended* and the client's honest reply arrives all the same; strangers are *kept out*. Told is how often a "
        "fault came, and how often it did not end so, if ever. A round is lost if an honest reply is missing from it; "
        "a reply is corrupted if one is taken that no honest node sent, bit for bit."
    )
    return ["## Faults", "", text, "", *_table(["fault", "in process", "over TLS sockets", "meant to be"], rows)]


def _ended(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    other = row["times"] - row["so_ended"]
    return f"{row['times']}" + (f", **{other} otherwise**" if other else "")


def _soak(part: Mapping[str, Any]) -> list[str]:
    rows = [[name, f"{one['megabytes']:.0f}", f"{100 * one['growth']:+.1f} %"] for name, one in part["memory"].items()]
    seconds, ledger, wire = part["seconds_per_round"], part["ledger_bytes_per_round"], part["wire_bytes_per_round"]
    text = (
        f"{part['rounds']} rounds, {part['nodes']} nodes, TLS and node keys, an adapter of "
        f"{part['adapter_bytes'] / 1e6:.2f} MB each way. A round takes {seconds['median']:.2f} s (95th percentile "
        f"{seconds['p95']:.2f} s). The ledger counts {ledger / 1e6:.2f} MB a round; over the loopback interface go "
        f"{wire / 1e6:.2f} MB, {100 * (wire / ledger - 1):+.1f} %, with headers, signs of life and looks for letters. "
        f"Memory after round {part['settled_after']}, and its growth to the end:"
    )
    return ["## Many rounds", "", text, "", *_table(["process", "resident, MB", "growth"], rows)]

"""The tutorial is executed as it is printed: every command in a shell of its own, every file as the page names it.

What the page says a command prints is checked line by line; ``…`` stands for whatever the run decides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pages import Block, blocks, read
from synoptic.core.files import read_json

PAGE = "docs/tutorial.md"
PATIENCE = 240
"""Seconds for one block on a busy machine."""


def shell(text: str, folder: Path) -> str:
    """What a block of commands prints; it must end well."""
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
                   "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}  # fmt: skip
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, timeout=PATIENCE, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\nended with status {done.returncode}:\n{done.stdout}"
    return done.stdout


def missing(expected: str, printed: str) -> str | None:
    """The first line of ``expected`` that is not there, in order, in what was printed."""
    lines = iter(printed.splitlines())
    for line in expected.splitlines():
        words = [re.escape(part) for part in line.split("…")]
        pattern = re.compile(r"\s+".join(".*".join(words).split(r"\ ")))
        if not any(pattern.match(found) for found in lines):
            return line
    return None


def test_a_line_that_is_missing_is_found() -> None:
    printed = "round 1/2  loss 0.5\nround 2/2  loss 0.4\ndone"
    assert missing("round 1/2 loss …\ndone", printed) is None
    assert missing("done\nround 2/2 loss …", printed) == "round 2/2 loss …"
    assert missing("round 3/2", printed) == "round 3/2"


def compares_as_the_page_says(folder: Path) -> None:
    """What the page tells a reader to look for in the table is there."""
    (table,) = [read_json(path)["tables"][0] for path in folder.glob("runs/compare-*/table.json")]
    cells = {row["method"]: {name: cell["mean"] for name, cell in row["cells"].items()} for row in table["rows"]}
    assert {row["method"]: row["model"] for row in table["rows"]}["local"] == "personal"
    assert cells["local"]["local"] > cells["fedavg"]["local"]
    assert cells["local"]["base"] < cells["fedavg"]["base"]
    assert cells["promptfl"]["bytes"] * 10 < cells["fedavg"]["bytes"]


def test_the_tutorial_runs_as_printed(tmp_path: Path) -> None:
    printed = ""
    ran: list[Block] = []
    for block in blocks(read(PAGE), "bash", "python", "output"):
        if block.language == "output":
            assert missing(block.text, printed) is None, f"{ran[-1].text}\nprinted:\n{printed}"
        elif block.language == "python":
            assert block.title is not None, "a file needs a name"
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        else:
            printed = shell(block.text, tmp_path)
            ran.append(block)
    assert len(ran) > 8
    compares_as_the_page_says(tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "my-adapter" / "shared" / "adapter_config.json").exists()
    finished = {path.parent.name.split("-")[0] for path in tmp_path.glob("runs/*/summary.json")}
    assert finished == {"zeroshot", "local", "fedavg", "promptfl", "lossweighted"}

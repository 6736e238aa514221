"""`synoptic status`: who takes part in a run that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, app


@app.command("status")
def status_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", hidden=True)],
    debug: Debug = False,
) -> None:
    """Show the nodes of a served run: who is there, when each last replied, what failed and why.

    RUN is the run's folder at the server.
    """
    from rich.table import Table

    from synoptic.deploy.status import read_status
    from synoptic.experiment.display import output

    status = read_status(run)
    table = Table("client", "node", "examples", "last reply", "last failure", box=None, pad_edge=False)
    for row in status.rows:
        table.add_row(*row)
    console = output()
    console.print(status.headline)
    console.print(table)
    for refusal in status.refused:
        console.print(f"refused {refusal}", markup=False)

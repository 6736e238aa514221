"""`synoptic report`: runs as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, app


@app.command("report")
def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", hidden=True)],
    out: Annotated[
        Path, typer.Option(metavar="FILE", show_default=False, help="The page; default report.html.")
    ] = Path("report.html"),
    baseline: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The method that others are compared with; default the first.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further metric for tables and curves; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", show_default=False, help="Title of the page.")] = "",
    claims: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of claims: the JSON file of `synoptic claims`.")
    ] = None,
    no_examples: Annotated[
        bool, typer.Option("--no-examples", help="Open neither base nor data for pictures with predictions.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show runs as one HTML page.

    RUN is the folder of a run, or a folder that holds such folders; all of them are taken.
    """
    from synoptic.experiment.report import write_report
    from synoptic.experiment.report.gather import gather, read_claims

    found = gather(runs)
    rows = read_claims(claims) if claims is not None else ()
    for sentence in found.left_out:
        typer.echo(f"left out: {sentence}", err=True)
    path = write_report(
        found.groups, out, title=title, baseline=baseline, metrics=metric or (), claims=rows, examples=not no_examples,
        unfinished=[f"Left out: {sentence}" for sentence in found.left_out],
    )  # fmt: skip
    typer.echo(f"report: {path}")

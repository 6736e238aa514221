"""`synoptic doctor`: what this machine has, and what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from synoptic.cli.app import Debug, app

BROKEN = 1


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Check this machine and installation.

    Versions, cores and threads, memory, disk, devices, embedded models, methods, extras, and whether the hub answers;
    with a fix for whatever is not fine. Needs no network and takes seconds.

    Exit status: 0 if nothing is broken, 1 if something is.
    """
    import json
    from dataclasses import asdict

    from synoptic.experiment.display import output
    from synoptic.experiment.display.checks import show_checks
    from synoptic.experiment.doctor import examine

    console = output()
    with console.status("looking", spinner="line"):
        checks = list(examine())
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        show_checks(console, checks)
    if any(check.status == "broken" for check in checks):
        raise typer.Exit(BROKEN)

"""`synoptic onboard`: a client that comes when a run is over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, Settings, app


@app.command("onboard")
def onboard_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", hidden=True)],
    settings: Settings = None,
    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Which client of these data it is: name or number.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; default ./RUN-onboard, by the run's name.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make an adapter for a client that joins a finished run.

    RUN is the folder of a finished run. What its clients share stays as it is,
    and the newcomer trains what each of them has for itself (with pLoRA A,
    with FedSA B); where they have nothing of their own, a copy of the shared
    adapter. Nothing leaves the newcomer.

    KEY=VALUE settings name its data (data=folder:PATH, data.path=PATH) and,
    if need be, how it trains (train.steps=20); by default as long as a client
    of the run did in all rounds. FOLDER is in PEFT's format, with a card.
    """
    from synoptic.experiment.onboard import onboard

    place = out or Path(f"{run.resolve().name}-onboard")
    done = onboard(run, settings or [], place, client)
    from synoptic.experiment.display import output
    from synoptic.experiment.display.newcomer import show_onboarded
    from synoptic.experiment.export import trial

    show_onboarded(output(), done)
    typer.echo(f"written: {place}")
    typer.echo(f"try it: {trial(place)}")

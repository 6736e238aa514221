"""`synoptic export` and `synoptic predict`: adapters for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synoptic.cli.app import Debug, app


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", hidden=True)],
    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Also this client's own adapter: name or number.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; default ./RUN-export, by the run's name.")
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Also whole models with the adapter in the weights.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a run's adapters for use elsewhere.

    RUN is the folder of a finished run. Each adapter becomes a folder in PEFT's
    format (of several tasks: of blocks) with a model card: shared/, and
    personal/CLIENT/ with --client, or for all clients where there is no shared
    one. Folders of personal adapters are
    called after their clients; the cards name none.
    """
    from synoptic.experiment.export import export, trial

    place = out or Path(f"{run.resolve().name}-export")
    written = export(run, place, client, merged)
    for folder in written:
        typer.echo(f"exported: {folder}")
    typer.echo(f"try it: {trial(written[0])}")


@app.command("predict")
def predict_command(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", hidden=True)],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", hidden=True)],
    classes: Annotated[
        str | None, typer.Option(metavar="NAMES", help='Candidates, "cat,dog"; default those of the training.')
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="TEXT", help='Prompt, "a photo of a {}."; default that of the training.')
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the base is, if not where the adapter says.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="In a run or an export: this client's adapter.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", show_default=False, help="Classes for each picture; default 3.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:
    """Classify pictures with an adapter.

    ADAPTER is an exported folder, any LoRA folder in PEFT's format, a run's folder,
    or a base alone (tiny-clip, a folder, a hub id). IMAGE... are picture files.
    Probabilities are those among the candidates.
    """
    from synoptic.experiment.predict import predict

    names = classes.split(",") if classes is not None else None
    found = predict(adapter, images, names, template, base, client, top)
    from synoptic.experiment.display import output
    from synoptic.experiment.display.predictions import predictions_json, show_predictions

    if as_json:
        typer.echo(predictions_json(found))
    else:
        show_predictions(output(), found)

"""``noria submit``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.commands.train import report
from noria.cli.options import FileOption
from noria.cli.output import hint, say
from noria.errors import InvalidInput, PipelineError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def submit(
    file: FileOption,
    host: Annotated[
        str,
        typer.Option(
            envvar="NORIA_KFP_HOST", metavar="URL", help="URL of Kubeflow Pipelines' API."
        ),
    ],
    ui: Annotated[
        str,
        typer.Option(
            envvar="NORIA_KFP_UI",
            metavar="URL",
            help="URL of its page, to link to; none by default.",
        ),
    ] = "",
    namespace: Annotated[
        str,
        typer.Option(
            envvar="NORIA_KFP_NAMESPACE",
            help="Namespace of your profile; none where there is a single user.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="NORIA_KFP_TOKEN_FILE",
            metavar="FILE",
            help="File with a bearer token; read again for each request.",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="NORIA_KFP_CA_FILE", metavar="FILE", help="CA certificates to trust (PEM)."
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option(
            envvar="NORIA_COMPONENTS_IMAGE",
            help="Image of the steps, where spec.train.compute.image names none.",
        ),
    ] = "",
    experiment: Annotated[str, typer.Option(help="Experiment that the run belongs to.")] = "noria",
    service_account: Annotated[
        str,
        typer.Option(envvar="NORIA_TRAINING_SERVICE_ACCOUNT", help="Service account of the pods."),
    ] = "",
    tracking_uri: Annotated[
        str,
        typer.Option(
            envvar="NORIA_MLFLOW_URI", metavar="URL", help="MLflow's, as the pods reach it."
        ),
    ] = "",
    mlflow_secret: Annotated[
        str,
        typer.Option(
            envvar="NORIA_MLFLOW_SECRET", help="Secret with the pods' credentials of MLflow."
        ),
    ] = "",
    shared_claim: Annotated[
        str,
        typer.Option(
            envvar="NORIA_TRAINING_CLAIM",
            metavar="NAME",
            help="PersistentVolumeClaim that the nodes of a run share (several nodes only).",
        ),
    ] = "",
    served: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Monitor with the rows that were served, as the pods reach it; of replicas all.",
        ),
    ] = None,
    champion: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Version that the gates compare with.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", help="Use rows known at that time (UTC); default: now."),
    ] = None,
    run_id: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the run; one name is started once."),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", "--follow", help="Follow the steps until the run ends.")
    ] = False,
) -> None:
    """Run the training pipeline on Kubeflow Pipelines.

    Compiles it, starts it once and prints the run's name and page. With --wait it follows the
    steps, and fails when the run does. Nothing is served by it: that is the operator's.
    """
    from datetime import UTC

    from components import BASE_IMAGE
    from noria.loop.values import RunPhase
    from noria.spec import load_model
    from pipelines.kubeflow_api import KubeflowSettings
    from pipelines.submission import submit as run_once

    if not tracking_uri:
        raise InvalidInput(
            "--tracking-uri is missing: the run has nowhere to register its version",
            fix="give MLflow's URL as the pods reach it, or set NORIA_MLFLOW_URI",
        )
    settings = KubeflowSettings(
        host,
        ui=ui,
        namespace=namespace,
        experiment=experiment,
        token_file=token_file,
        ca_file=ca_file,
        image=image or BASE_IMAGE,
        tracking_uri=tracking_uri,
        mlflow_secret=mlflow_secret,
        service_account=service_account,
        shared_claim=shared_claim,
        served=" ".join(served or ()),
    )
    moment = as_of.replace(tzinfo=as_of.tzinfo or UTC) if as_of is not None else None
    made = run_once(file, settings, champion=champion, as_of=moment, run_id=run_id)
    say(f"run {made.run_id}")
    if made.url:
        say(f"page {made.url}")
    if not wait:
        flags = {
            "--host": host,
            "--ui": ui,
            "--namespace": namespace,
            "--token-file": token_file,
            "--ca-file": ca_file,
            "--image": image,
            "--experiment": experiment,
            "--service-account": service_account,
            "--tracking-uri": tracking_uri,
            "--mlflow-secret": mlflow_secret,
            "--shared-claim": shared_claim,
            "--champion": champion,
            "--as-of": f"{as_of:%Y-%m-%dT%H:%M:%S}" if as_of is not None else None,
            "--run-id": made.run_id,
        }
        given = [word for flag, value in flags.items() if value for word in (flag, value)]
        given += [word for url in served or () for word in ("--served", url)]
        hint("noria", "submit", "-f", file, *given, "--wait", note="follows it")
        return
    status = made.wait(lambda text: say(f"  {text}"))
    if status.phase is not RunPhase.SUCCEEDED:
        raise PipelineError(f"run {made.run_id} {status.phase.value}: {status.detail}")
    if status.result is None:
        say(f"run {made.run_id} succeeded; {status.detail}")
        return
    report(load_model(file), status.result)

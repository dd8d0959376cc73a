"""``noria doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import say, say_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def doctor(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where models are to live.")
    ] = "default",
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="File with the cluster's address.")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="Context of the kubeconfig.")
    ] = None,
    kfp_host: Annotated[
        str, typer.Option("--kfp-host", envvar="NORIA_KFP_HOST", help="Kubeflow Pipelines' URL.")
    ] = "",
    mlflow_uri: Annotated[
        str, typer.Option("--mlflow-uri", envvar="NORIA_MLFLOW_URI", help="MLflow's URL.")
    ] = "",
    prometheus_url: Annotated[
        str,
        typer.Option("--prometheus-url", envvar="NORIA_PROMETHEUS_URL", help="Prometheus' URL."),
    ] = "",
    gateway: Annotated[
        str,
        typer.Option("--gateway", envvar="NORIA_GATEWAY", help="The gateway: namespace/name."),
    ] = "",
    traffic: Annotated[
        str,
        typer.Option(
            "--traffic", envvar="NORIA_TRAFFIC", help="auto, standard, routes or knative."
        ),
    ] = "auto",
    runtime: Annotated[
        str,
        typer.Option("--runtime", envvar="NORIA_SERVING_RUNTIME", help="The server's runtime."),
    ] = "noria-server",
    storage_class: Annotated[
        str,
        typer.Option(
            "--storage-class",
            envvar="NORIA_MONITOR_STORAGE_CLASS",
            help="Of monitors' volumes.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a cluster for what Noria needs.

    One line for each prerequisite, and below it how to mend what is not well.
    Exit code 0: nothing required is missing. 1: something is. 2: no cluster answers.
    """
    from noria.doctor.checks import diagnose
    from noria.doctor.cluster import Cluster, Expected
    from noria.doctor.finding import healthy, text
    from noria.errors import ClusterError, InvalidInput, Unavailable
    from noria.kube import KubeClient

    expected = Expected(
        namespace=namespace,
        kfp_host=kfp_host,
        mlflow_uri=mlflow_uri,
        prometheus_url=prometheus_url,
        gateway=gateway,
        traffic=traffic,
        runtime=runtime,
        storage_class=storage_class,
    )
    try:
        client = KubeClient.connect(kubeconfig, context)
        client.within(10.0).server_version()
        findings = diagnose(Cluster(client, expected))
    except (ClusterError, Unavailable) as error:
        raise InvalidInput(
            f"no Kubernetes cluster answers: {error.message}",
            fix="check `kubectl cluster-info`, or name one with --kubeconfig and --context",
        ) from error
    if as_json:
        say_json({"cluster": client.host, "healthy": healthy(findings), "findings": findings})
    else:
        say(f"Noria on {client.host}, models in {namespace}")
        say()
        say(text(findings))
    if not healthy(findings):
        raise typer.Exit(1)

"""``noria operator``."""

from __future__ import annotations

import os

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def operator() -> None:
    """Keep the Models of a cluster's namespaces.

    Settings are environment variables, NORIA_*: docs/kubernetes-operator.md has the list. The
    cluster is $KUBECONFIG's, or the pod's own. Ends by SIGTERM, and with exit code 1 when
    another operator may have taken the lead.
    """
    import logging

    from noria.operator.app import Operator
    from noria.operator.settings import read_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # One line for each request, or step of kopf's own start, is nobody's to read.
    kopf = ("kopf.objects", "kopf.activities", "kopf._core.engines.activities")
    for chatty in ("httpx", "urllib3", "alembic", "mlflow", *kopf):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    raise typer.Exit(Operator(read_settings(os.environ)).run())

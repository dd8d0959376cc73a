"""The loop on one machine, without a cluster: the composition root and what may be asked of it.

Every function raises ``NoriaError`` and nothing else. Heavy parts are imported
by the function that needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.embedded.home import Home
from noria.errors import InvalidInput, RegistryError, ServingError, Unavailable, shorten

if TYPE_CHECKING:
    import httpx

    from monitoring.exporting import Answered
    from noria.embedded.replaying import Progress, Replayed
    from noria.embedded.scraping import Target
    from noria.loop.values import RunStatus
    from noria.replay import Replaying
    from noria.served.summary import Summary
    from noria.spec import Served
    from serving.batch.job import Progress as BatchProgress
    from serving.batch.job import Wanted


def up(home: Path, model_paths: Sequence[Path], tell: Callable[[str], None]) -> None:
    """Serve, watch and retrain until SIGTERM; with no paths, the models known in ``home``.

    ``tell`` hears one sentence for each thing that happens.
    """
    from noria.embedded.supervisor import supervise

    supervise(Home(home.absolute()), model_paths, tell)


def observe(home: Path, on: bool) -> None:  # noqa: FBT001 - a switch is what it is
    """Say that ``up`` starts Prometheus and Alertmanager in a home, or that it does not.

    With ``NORIA_OBSERVABILITY_PACE=fast`` they look each second, for demonstrations.

    Raises:
        NotInstalled: They are not on this machine.
    """
    from noria.embedded.observability import choose
    from noria.embedded.observability.servers import find

    where = Home(home.absolute())
    if not on:
        choose(where, None)
        return
    for name in ("prometheus", "prometheus-alertmanager"):
        find(name)
    choose(where, "fast" if os.environ.get("NORIA_OBSERVABILITY_PACE") == "fast" else "usual")


def down(home: Path) -> None:
    """Stop what ``up`` started; done when nothing runs any more."""
    from noria.embedded.supervisor import stop

    stop(Home(home.absolute()))


def damaged(home: Path) -> Sequence[str]:
    """Return the files that were set aside because they could not be read, from the root."""
    return Home(home.absolute()).damaged()


def turning(home: Path) -> bool:
    """Whether ``up`` runs here, and every model's loop has turned in it."""
    from noria.embedded import survey

    return survey.turning(Home(home.absolute()))


def targets(home: Path) -> Sequence[Target]:
    """Return what Prometheus may scrape here now: the loop, the monitors, the model servers."""
    from noria.embedded import scraping

    return scraping.targets(Home(home.absolute()))


def train(home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
    """Run the training pipeline once; ``on_step`` hears each step's name."""
    from noria.embedded.survey import lost_registry
    from noria.loop.ports import CHAMPION
    from noria.loop.values import RunRequest
    from noria.registry import MlflowRegistry
    from noria.spec import load_model
    from pipelines.local import run_local

    where = Home(home.absolute()).create().keep_private()
    model = load_model(model_path)
    where.remember(model, model_path)
    registry = MlflowRegistry(where.tracking_uri, where.artifacts)
    lost = lost_registry(where, model.name)
    if lost:
        raise RegistryError(lost)
    now = datetime.now(UTC)
    name = model.metadata.name
    request = RunRequest(
        run_id=f"{name}-{now:%Y%m%dt%H%M%S}-by-hand",
        model=name,
        as_of=now,
        reason="asked for with `noria train`",
        champion=registry.alias(name, CHAMPION),
    )
    folder = where.runs / request.run_id
    return run_local(
        model_path,
        request,
        folder,
        where.tracking_uri,
        where.artifacts,
        on_step,
        str(where.served_rows(name)),
    )


def receive(home: Path, model: str, source: str) -> Path:
    """Copy a model that was trained elsewhere to where its project takes it; return where.

    ``source`` is a folder, or a URI that MLflow resolves.
    """
    from noria.embedded import receiving

    return receiving.receive(Home(home.absolute()), model, source)


def text_columns(home: Path, model: str) -> frozenset[str]:
    """Return the columns that a client sends as text: categories and keys."""
    from noria.replay import sent_datatypes

    resource, _ = Home(home.absolute()).model(model)
    datatypes = sent_datatypes(resource.spec)
    return frozenset(name for name, datatype in datatypes.items() if datatype == "BYTES")


def file_columns(home: Path, model: str) -> frozenset[str]:
    """Return the columns that a client sends as the bytes of a file: images."""
    resource, _ = Home(home.absolute()).model(model)
    inputs = resource.spec.family.inputs
    return frozenset(name for name, kind in inputs.items() if kind == "image")


def predict(home: Path, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send ``body`` to the served model: with ``inputs`` as V2, with ``instances`` as V1."""
    import httpx

    from noria.embedded.survey import served_at

    where = Home(home.absolute())
    where.known(model)
    base = served_at(where, model)
    if base is None:
        raise Unavailable(
            f"model {model!r} is not served in {where.root}",
            fix=f"run {where.command('up')}, see {where.command('status')}",
        )
    path = f"/v2/models/{model}/infer" if "inputs" in body else f"/v1/models/{model}:predict"
    fix = f"see {where.command('status')}"
    try:
        answer = httpx.post(base + path, json=dict(body), timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise Unavailable(f"{base}: no answer: {error}", fix=fix) from error
    return _content(answer, base + path, fix)


def predict_batch(
    home: Path,
    model: str,
    version: str | None,
    wanted: Wanted,
    show: Callable[[BatchProgress], None],
    *,
    told: bool,
) -> BatchProgress:
    """Answer the rows of files by a registered version (None: the champion), part by part.

    ``told``: the model's monitor hears of the answers.
    """
    from noria.embedded import batching

    where = Home(home.absolute())
    return batching.predict_batch(where, model, version, wanted, show, told=told)


def predict_registered(
    tracking_uri: str,
    model: str,
    version: str | None,
    wanted: Wanted,
    show: Callable[[BatchProgress], None],
) -> BatchProgress:
    """Answer the rows of files by a version of another registry; see ``predict_batch``."""
    from noria.embedded import batching

    return batching.predict_registered(tracking_uri, model, version, wanted, show)


def _content(answer: httpx.Response, url: str, fix: str) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):  # the proxy speaks, not a model server
        raise Unavailable(f"{url}: HTTP {answer.status_code}: {shorten(answer.text)}", fix=fix)
    said = content.get("error", content)
    if answer.is_client_error:
        raise InvalidInput(str(said))
    if answer.is_error:
        raise ServingError(f"{url}: HTTP {answer.status_code}: {said}")
    return content


def replay(
    home: Path, model_path: Path, wanted: Replaying, show: Callable[[Progress], None]
) -> Replayed:
    """Send a model's rows to it in time order, and each label when it became known.

    By the wall's clock: the model is up. ``show`` hears where it is, each simulated hour.
    """
    from noria.embedded.replaying import replay_rows

    return replay_rows(Home(home.absolute()), model_path, wanted, show)


def replay_events(
    home: Path,
    model_path: Path,
    wanted: Replaying,
    show: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> Replayed:
    """Run the loop over a model's rows by the clock of their events; nothing is up before.

    ``tell`` hears one sentence for each thing that happens.
    """
    from noria.embedded.replaying import replay_events

    return replay_events(Home(home.absolute()), model_path, wanted, show, tell)


def label(home: Path, model: str, since: datetime | None, rows: Path | None) -> tuple[int, int]:
    """Send the labels of the source's rows, or of a file's, to the model's monitor by key.

    Returns how many were new, and how many it knew.
    """
    from noria.embedded.labelling import label_rows

    return label_rows(Home(home.absolute()), model, since, rows)


def served(home: Path, model: str) -> tuple[Summary, Answered, Served | None]:
    """Return what is kept of a model's labelled rows, of how many, and by what settings."""
    from monitoring.exporting import answered
    from noria.served.summary import summary
    from noria.served.table import ServedTable

    where = Home(home.absolute())
    resource, _ = where.model(model)
    found = summary(ServedTable(where.served_rows(model)))
    return found, answered(where.monitor(model)), resource.spec.data.served


def export_served(home: Path, model: str, out: Path) -> int:
    """Write a model's labelled rows that are kept to one file; return how many."""
    from noria.served.summary import export
    from noria.served.table import ServedTable

    where = Home(home.absolute())
    where.known(model)
    return export(ServedTable(where.served_rows(model)), out).rows


def export(
    home: Path, model: str, out: Path, since: datetime | None, until: datetime | None
) -> Mapping[str, int]:
    """Write what the model's monitor keeps of [since, until) as Parquet files into ``out``.

    Returns how many rows ``exchanges``, ``labels`` and ``windows`` have. The monitor may be up.
    """
    from monitoring.config import MonitorConfig
    from monitoring.exporting import Span, export

    where = Home(home.absolute())
    resource, _ = where.model(model)
    span = Span(
        -inf if since is None else since.timestamp(), inf if until is None else until.timestamp()
    )
    return export(where.monitor(model), MonitorConfig.from_model(resource), out, span)

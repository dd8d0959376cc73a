"""The loop on one machine, without a cluster: the composition root and what may be asked of it.

Every function raises ``NoriaError`` and nothing else. Heavy parts are imported
by the function that needs them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.embedded.home import Home
from noria.errors import InvalidInput, ServingError, Unavailable, shorten

if TYPE_CHECKING:
    import httpx

    from noria.embedded.scraping import Target
    from noria.embedded.survey import ModelStatus
    from noria.loop.ledger import Head, LedgerEntry
    from noria.loop.values import RunStatus


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


def status(home: Path) -> Sequence[ModelStatus]:
    """Return every model in ``home``, running or not."""
    from noria.embedded.survey import statuses

    return statuses(Home(home.absolute()))


def turning(home: Path) -> bool:
    """Whether ``up`` runs here, and every model's loop has turned in it."""
    from noria.embedded import survey

    return survey.turning(Home(home.absolute()))


def targets(home: Path) -> Sequence[Target]:
    """Return what Prometheus may scrape here now: the loop, the monitors, the model servers."""
    from noria.embedded import scraping

    return scraping.targets(Home(home.absolute()))


def submit(home: Path, model: str, verb: str, reason: str, by: str) -> None:
    """Put a command into the model's durable inbox; the loop takes it at its next turn."""
    from noria.loop.sqlite_store import SqliteStore
    from noria.loop.values import Command, Verb

    where = Home(home.absolute())
    where.model(model)
    command = Command(uuid.uuid4().hex, Verb(verb), datetime.now(UTC), by, reason)
    SqliteStore(where.store).submit(model, command)


def entries(home: Path, model: str) -> Iterator[LedgerEntry]:
    """Return the model's ledger, oldest first."""
    from noria.loop.sqlite_store import SqliteStore

    where = Home(home.absolute())
    where.model(model)
    return SqliteStore(where.store).entries(model)


def head(home: Path, model: str) -> Head:
    """Return the end of the model's ledger as the loop's state remembers it."""
    from noria.loop.ledger import GENESIS
    from noria.loop.sqlite_store import SqliteStore

    where = Home(home.absolute())
    where.model(model)
    stored = SqliteStore(where.store).load(model)
    return GENESIS if stored is None else stored.state.head


def train(home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
    """Run the training pipeline once; ``on_step`` hears each step's name."""
    from noria.loop.ports import CHAMPION
    from noria.loop.values import RunRequest
    from noria.registry import MlflowRegistry
    from noria.spec import load_model
    from pipelines.local import run_local

    where = Home(home.absolute()).create()
    model = load_model(model_path)
    where.remember(model, model_path)
    registry = MlflowRegistry(where.tracking_uri, where.artifacts)
    registry.initialise()
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
    return run_local(model_path, request, folder, where.tracking_uri, where.artifacts, on_step)


def text_columns(home: Path, model: str) -> frozenset[str]:
    """Return the columns that a client sends as text: categories and keys."""
    from noria.replay import sent_datatypes

    resource, _ = Home(home.absolute()).model(model)
    datatypes = sent_datatypes(resource.spec)
    return frozenset(name for name, datatype in datatypes.items() if datatype == "BYTES")


def predict(home: Path, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send ``body`` to the served model: with ``inputs`` as V2, with ``instances`` as V1."""
    import httpx

    from noria.embedded.survey import served_at

    where = Home(home.absolute())
    where.model(model)
    base = served_at(where, model)
    if base is None:
        raise Unavailable(
            f"model {model!r} is not served in {where.root}",
            fix="run `noria up`, see `noria status`",
        )
    path = f"/v2/models/{model}/infer" if "inputs" in body else f"/v1/models/{model}:predict"
    try:
        answer = httpx.post(base + path, json=dict(body), timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise Unavailable(f"{base}: no answer: {error}", fix="see `noria status`") from error
    return _content(answer, base + path)


def _content(answer: httpx.Response, url: str) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):  # the proxy speaks, not a model server
        raise Unavailable(
            f"{url}: HTTP {answer.status_code}: {shorten(answer.text)}", fix="see `noria status`"
        )
    said = content.get("error", content)
    if answer.is_client_error:
        raise InvalidInput(str(said))
    if answer.is_error:
        raise ServingError(f"{url}: HTTP {answer.status_code}: {said}")
    return content


def replay(
    home: Path,
    model_path: Path,
    start: datetime | None,
    end: datetime | None,
    speed: float,
    on_progress: Callable[[datetime, int, int], None],
) -> None:
    """Send the rows in [start, end) in time order, and each label when it became known.

    ``speed`` is simulated seconds per second, 0 for as fast as it goes;
    ``on_progress`` hears the simulated time, rows sent, rows in all.
    """
    from noria.embedded.replaying import replay_rows

    replay_rows(Home(home.absolute()), model_path, (start, end), speed, on_progress)

"""kopf's part: it watches Models, keeps the finalizer, and calls. All else is elsewhere."""

from __future__ import annotations

import concurrent.futures
import copy
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import kopf

from noria.errors import NoriaError
from noria.kube.kinds import MODEL
from noria.operator.keepers import Keepers
from noria.operator.resource import FINALIZER, Resource

_PREFIX: Final = "noria.dev"
_RETRY_SECONDS: Final = 2.0
_THREADS: Final = 16
_FINISH_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 300
_EXIT_SECONDS: Final = 120.0
_AGAIN: Final = "failed temporarily"
_log = logging.getLogger(__name__)


def not_yet(record: logging.LogRecord) -> bool:
    """Filter kopf's log: that a handler is to be called again is an error to it, and normal here.

    What it waits for is logged by the handler, with the Model's name.
    """
    return _AGAIN not in record.getMessage()


class _NoMemory(kopf.DiffBaseStorage):
    """Keeps no copy of the last spec on the object: the loop sees changes by itself."""

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Return nothing."""
        return None

    def store(
        self,
        *,
        body: kopf.Body,
        patch: kopf.Patch,
        essence: kopf.BodyEssence,
    ) -> None:
        """Store nothing."""


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: no reads of the cluster as a whole, no peering, no Events."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.persistence.finalizer = FINALIZER
    chosen.persistence.diffbase_storage = _NoMemory()
    # Only the progress of a deletion is kept, on the object that goes.
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=_PREFIX, v1=False)
    chosen.watching.server_timeout = _WATCH_SECONDS
    # A turn that runs is waited for, at the end of the process and before a Model is taken down.
    chosen.background.instant_exit_timeout = _FINISH_SECONDS
    chosen.background.cancellation_polling = _RETRY_SECONDS
    chosen.process.ultimate_exiting_timeout = _EXIT_SECONDS
    chosen.execution.executor = concurrent.futures.ThreadPoolExecutor(
        _THREADS, thread_name_prefix="loop"
    )
    return chosen


def registry(keepers: Keepers, cycle: timedelta) -> kopf.OperatorRegistry:
    """Return the handlers: a turn of each Model's loop every cycle, and its end."""
    made = kopf.OperatorRegistry()
    where = (MODEL.group, MODEL.version, MODEL.plural)
    seconds = cycle.total_seconds()

    @kopf.on.login(registry=made)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_pod = kopf.login_with_service_account(**kwargs)
        return kopf.login_with_kubeconfig(**kwargs) or in_pod

    @kopf.timer(*where, id="turn", interval=seconds, backoff=seconds, registry=made)
    def turn(body: kopf.Body, **_: Any) -> None:
        keepers.turn(_resource(body))

    @kopf.on.delete(*where, id="retire", backoff=_RETRY_SECONDS, registry=made)
    def retire(body: kopf.Body, **_: Any) -> None:
        resource = _resource(body)
        where = f"{resource.namespace}/{resource.name}"
        try:
            done = keepers.retire(resource)
        except NoriaError as error:
            _log.warning("%s: can't be taken down yet: %s", where, error)
            raise kopf.TemporaryError(str(error), delay=_RETRY_SECONDS) from error
        if not done:
            _log.info("%s: deleted; its run, route and servers are being taken down", where)
            raise kopf.TemporaryError("it is being taken down", delay=_RETRY_SECONDS)
        _log.info("%s: its run, route and servers are gone; Kubernetes deletes the rest", where)

    @kopf.on.event(*where, id="gone", registry=made)
    def gone(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        if event["type"] == "DELETED":
            keepers.forget(str(body["metadata"]["uid"]))

    return made


def _resource(body: Iterable[Any]) -> Resource:
    # kopf replaces what is behind the view while we read it.
    return Resource(copy.deepcopy(dict(body)))

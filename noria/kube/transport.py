"""Requests to the API server: its address, TLS and tokens as the kubernetes client has them.

Only that client's configuration and connection pool are used. Its generated calls
add nothing to plain JSON, and its pool sends a PUT or a DELETE again after a lost
answer, so that a write which succeeded would look like one which lost a race.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from noria.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_POOL_SIZE: Final = 16
_SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_HOME_CONFIG: Final = "~/.kube/config"
_HINT: Final = "give --kubeconfig, set KUBECONFIG, or run in a pod that has a service account"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: the HTTP status, the body, and the text of its ``Warning`` header."""

    status: int
    body: bytes
    warning: str = ""


class Transport:
    """Sends requests on pooled connections. Safe to use from many threads."""

    def __init__(self, configuration: Configuration) -> None:
        from kubernetes.client.rest import RESTClientObject

        self._configuration = configuration
        self.host = str(configuration.host).rstrip("/")
        try:
            self._pool = RESTClientObject(configuration, maxsize=_POOL_SIZE).pool_manager
        except (OSError, ValueError) as error:
            raise InvalidInput(f"can't set up connections to {self.host}: {error}") from error

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: Any,
        content_type: str,
        timeout: tuple[float, float],
    ) -> Answer:
        """Send a request once, and return what came back, whatever its status.

        ``timeout`` is in seconds: to connect, and to wait for the next piece of the answer.

        Raises:
            InvalidInput: The body is no JSON, by a NaN or by a type that JSON hasn't.
            Unavailable: No whole answer came; whether the server acted can't be known.
        """
        import urllib3

        headers = {"Accept": "application/json", "User-Agent": "noria", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        data = None if body is None else _encoded(body)
        url = f"{self.host}{path}?{urlencode(query)}" if query else f"{self.host}{path}"
        try:
            response = self._pool.urlopen(
                method,
                url,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{self.host} does not answer: {error}") from error
        return Answer(response.status, response.data, response.headers.get("Warning", ""))

    def close(self) -> None:
        """Close idle connections. A later request opens new ones."""
        self._pool.clear()

    def _authorization(self) -> dict[str, str]:
        """Return the header with the token; a token that rotates is read again when it is due."""
        from kubernetes.config import ConfigException

        try:
            token = self._configuration.auth_settings().get("BearerToken")
        except (ConfigException, OSError) as error:
            raise Unavailable(f"the token for {self.host} can't be read: {error}") from error
        return {"Authorization": str(token["value"])} if token else {}


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the object can't be sent as JSON: {error}") from error


def connect(kubeconfig: Path | None, context: str | None) -> Transport:
    """Find the cluster: an explicit file, ``$KUBECONFIG``, the pod's own, ``~/.kube/config``.

    Raises:
        InvalidInput: There is none, or the file can't be used.
    """
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
    from yaml import YAMLError

    configuration = Configuration()
    named = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and _SERVICE_ACCOUNT_TOKEN.exists()
    source = named or ("the pod's service account" if in_pod else _HOME_CONFIG)
    try:
        if named or not in_pod:
            # persist_config would write refreshed tokens into a file that is not ours.
            load_kube_config(
                config_file=named or _HOME_CONFIG,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        else:
            load_incluster_config(client_configuration=configuration)
    except (ConfigException, YAMLError, OSError, KeyError, TypeError, ValueError) as error:
        # The library's messages for a bad file quote it; a file with keys must not reach a log.
        said = str(error) if isinstance(error, ConfigException | OSError) else type(error).__name__
        raise InvalidInput(f"no Kubernetes cluster by {source}: {said}", fix=_HINT) from error
    return Transport(configuration)

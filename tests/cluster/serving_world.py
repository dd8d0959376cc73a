"""What the tests of the KServe drivers share: options, what an installation has, kills."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from noria.errors import NoriaError
from noria.kube import KubeClient
from noria.kube.kinds import CLUSTER_STORAGE_CONTAINER, SERVICE_ACCOUNT, SERVING_RUNTIME
from noria.loop.ports import Traffic
from serving.traffic.kserve_objects import Artifact, KServeOptions
from serving.traffic.runtime import cluster_storage_container, serving_runtime

T = TypeVar("T")
IMAGE = "example.test/noria/serving:1"
PATIENCE = 30.0


def install(client: KubeClient, namespace: str) -> None:
    """Put in place what an installation of Noria has before any model is served."""
    container = cluster_storage_container(IMAGE, "http://mlflow.noria.svc:5000")
    client.apply(CLUSTER_STORAGE_CONTAINER, container, None)
    client.apply(SERVING_RUNTIME, serving_runtime(IMAGE, namespace=namespace), namespace)
    account = {"metadata": {"name": "noria-serving", "namespace": namespace}}
    client.apply(SERVICE_ACCOUNT, account, namespace)


def resolve(model: str, version: str) -> Artifact:
    return Artifact(f"models:/{model}/{version}", version.zfill(64))


def options(**given: Any) -> KServeOptions:
    return KServeOptions(
        **{"cpu": "10m", "memory": 16 << 20, "gateway": "kserve/kserve-ingress-gateway", **given}
    )


def until(look: Callable[[], T], wanted: Callable[[T], bool], what: str) -> T:
    """Look until it is as wanted."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < end, f"{what}: still {seen!r} after {PATIENCE} s"
        time.sleep(0.05)


@dataclass
class World:
    """A driver of the port, and what plays the cluster behind it."""

    make: Callable[[KubeClient], Traffic]
    client: KubeClient
    model: str
    namespace: str
    fail: Callable[[str], None]
    patience: float = PATIENCE
    versions: tuple[str, str] = ("7", "8")
    port: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.make(self.client)

    def make_ready(self, version: str) -> None:
        """The node does that by itself."""

    def break_down(self, version: str) -> None:
        self.fail(version)

    def reopen(self) -> Traffic:
        return self.make(self.client)


class Killed(BaseException):
    """The process is gone: nothing in it may catch this."""


class Mortal:
    """A client whose process is killed around its n-th write."""

    def __init__(self, client: KubeClient, at: int, *, done: bool) -> None:
        self._client = client
        self._left = at
        self._done = done

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in ("create", "replace", "apply", "delete", "patch_json", "patch_merge"):
            return method

        def write(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._done:
                raise Killed
            result = method(*arguments, **named)
            if self._left == 0:
                raise Killed
            return result

        return write


def roll_out(port: Traffic, model: str, old: str, new: str) -> None:
    """Do what the loop does for a candidate that passes: it looks, and asks for the difference."""
    port.deploy(model, new)
    until(lambda: port.ready(model).get(new), bool, f"readiness of {new}")
    for share in (10, 50, 100):
        if is_split(port, model, {new: 100}) or old not in port.ready(model):
            break
        split = {version: w for version, w in ((old, 100 - share), (new, share)) if w}
        insist(partial(port.set_weights, model, split), partial(is_split, port, model, split))
    insist(partial(port.retire, model, old), lambda: set(port.ready(model)) == {new})


def insist(act: Callable[[], None], done: Callable[[], bool]) -> None:
    """Ask again, as the outbox does, until it is so."""
    end = time.monotonic() + PATIENCE
    problem = "not so"
    while not done():
        assert time.monotonic() < end, problem
        try:
            act()
        except NoriaError as error:
            problem = str(error)
        time.sleep(0.1)


def is_split(port: Traffic, model: str, wanted: Mapping[str, int]) -> bool:
    return {version: w for version, w in port.weights(model).items() if w} == dict(wanted)


def connect(kubeconfig: Path) -> KubeClient:
    return KubeClient.connect(kubeconfig)

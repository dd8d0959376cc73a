"""The receiver of alerts in a cluster: what it is told is in the API server, by namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from noria.kube import KubeClient
from noria.kube.store import KubeStore
from noria.loop.state import State
from noria.loop.values import Signal

pytestmark = pytest.mark.cluster


@pytest.fixture
def store(cluster: Any, namespace: str) -> KubeStore:
    made = KubeStore(KubeClient.connect(cluster.kubeconfig), namespace)
    made.compare_and_swap("flights", State("flights"), 0, ())
    return made


@pytest.fixture
def webhook(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[str]:
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "noria.cli", "webhook"),
            *("--port", "0", "--ready-file", str(ready)),
        ],
        env={
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "NORIA_POD_NAMESPACE": namespace,
            "NORIA_NAMESPACES": "",
        },
    )
    deadline = time.monotonic() + 120
    while not ready.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    yield json.loads(ready.read_text())["url"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_an_alert_is_in_the_inbox_of_the_model_in_its_namespace(
    store: KubeStore, webhook: str, namespace: str
) -> None:
    def told(**labels: str) -> dict[str, Any]:
        alert = {
            "status": "firing",
            "labels": {"alertname": "NoriaDrift", "noria_signal": "drift", **labels},
            "startsAt": "2026-01-01T00:00:00Z",
            "fingerprint": "c8882255ec44409e",
        }
        body = {"version": "4", "alerts": [alert]}
        answer = httpx.post(f"{webhook}/alerts", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert told(model="flights", namespace=namespace)["signals"] == 1
    assert told(model="flights", namespace=namespace)["repeated"] == 1
    (signal_told,) = store.inbox("flights")
    assert isinstance(signal_told, Signal)
    assert told(model="flights")["repeated"] == 1  # none named: the receiver's own
    assert told(model="flights", namespace="elsewhere")["unknown"] == ["'elsewhere/flights'"]
    assert told(model="No Such Name", namespace=namespace)["unknown"]
    assert len(store.inbox("flights")) == 1
    assert httpx.get(f"{webhook}/healthz", timeout=30).status_code == 200

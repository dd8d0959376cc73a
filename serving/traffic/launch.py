"""What has to be known to start the server of one model version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec


class ServerLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """The package of a version and how it is served. Sizes are bytes, times seconds.

    ``feature_base`` is the folder of model.yaml, which Feast's paths are relative
    to. ``sticky`` belongs to the model: the launch of the version that was given
    weight last says it. ``environment`` is added to the server's.
    """

    package: str
    digest: str = ""
    sink: str = ""
    sample: float = 1.0
    redact: tuple[str, ...] = ()
    namespace: str = ""
    grpc: bool = False
    sticky: bool = False
    max_request_bytes: int = 16 << 20
    batch_rows: int = 256
    batch_delay: float = 0.002
    feature_base: str = "."
    drain_delay: float = 0.5
    drain_timeout: float = 30.0
    environment: Mapping[str, str] = {}

    def arguments(
        self, model: str, version: str, *, port: int, ready_file: Path, python: str = sys.executable
    ) -> list[str]:
        """Return the command line of the server; ``-P``: nothing in our folder shadows a module."""
        options = {
            "--package": self.package,
            "--digest": self.digest,
            "--name": model,
            "--version": version,
            "--port": str(port),
            "--grpc-port": "0" if self.grpc else "-1",
            "--sink": self.sink,
            "--sample": repr(self.sample),
            "--namespace": self.namespace,
            "--ready-file": str(ready_file),
            "--max-request-bytes": str(self.max_request_bytes),
            "--batch-rows": str(self.batch_rows),
            "--batch-delay-ms": repr(self.batch_delay * 1000),
            "--feature-base": self.feature_base,
            "--drain-delay": repr(self.drain_delay),
            "--drain-timeout": repr(self.drain_timeout),
        }
        return [
            python,
            "-P",
            "-m",
            "serving",
            *(f"{name}={value}" for name, value in options.items()),
            *(f"--redact={column}" for column in self.redact),
        ]

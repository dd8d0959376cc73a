"""kubectl with a kubeconfig, as the tests call it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.errors import ClusterError

# kubectl may print whole objects when it fails.
_SAID: Final = 4000


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One identity's kubectl; ``folder`` keeps its cache and the kubeconfigs that it makes."""

    program: Path
    kubeconfig: Path
    folder: Path

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it and return what it printed.

        Raises:
            ClusterError: it failed; with its own words.
        """
        # A cache of its own: the user's may know another API server at the same port.
        cache = {"KUBECACHEDIR": str(self.folder / "kubectl-cache")}
        done = subprocess.run(
            [str(self.program), "--kubeconfig", str(self.kubeconfig), *arguments],
            env=os.environ | cache,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip()[:_SAID]
            raise ClusterError(f"kubectl {' '.join(arguments)}: {said}")
        return done.stdout

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a kubeconfig with a fresh one-hour token of an existing service account.

        Raises:
            ClusterError: there is no such account.
        """
        token = self(
            "create", "token", service_account, f"--namespace={namespace}", "--duration=1h"
        )
        config = json.loads(
            self("config", "view", "--raw", "--minify", "--flatten", "--output=json")
        )
        config["users"][0]["user"] = {"token": token.strip()}
        config["contexts"][0]["context"]["namespace"] = namespace
        name = f"{namespace}.{service_account}.{secrets.token_hex(4)}.kubeconfig"
        path = self.folder / name
        path.touch(mode=0o600)
        # JSON is YAML: no other writer is needed.
        path.write_text(json.dumps(config))
        return path

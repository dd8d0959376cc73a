"""The protocol's gRPC messages, from the kserve SDK but without importing the SDK.

``import kserve`` brings pandas, the Kubernetes client and FastAPI: seconds and
hundreds of megabytes. The generated message module needs protobuf only, so it is
loaded from its file, under its own name: whoever imports the SDK later in the same
process gets the same classes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from noria.errors import NotInstalled

_MODULE: Final = "kserve.protocol.grpc.grpc_predict_v2_pb2"


def load_messages() -> ModuleType:
    """Return the SDK's ``grpc_predict_v2_pb2``.

    Raises:
        NotInstalled: The kserve SDK is not installed.
    """
    known = sys.modules.get(_MODULE)
    if known is not None:
        return known
    package = importlib.util.find_spec("kserve")
    folders = package.submodule_search_locations if package is not None else None
    if not folders:
        raise NotInstalled("gRPC needs the kserve SDK", fix="install noria[serving]")
    path = Path(folders[0], "protocol", "grpc", "grpc_predict_v2_pb2.py")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None or not path.exists():
        raise NotInstalled(f"{path}: not found", fix="install kserve 0.21 or newer")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return module

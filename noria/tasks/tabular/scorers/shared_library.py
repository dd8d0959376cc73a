"""Finding and calling the shared library of an installed package without importing the package.

The Python packages of LightGBM and XGBoost import pandas, scikit-learn and
scipy; a model server needs none of them. Their C interfaces are stable and
documented, and are what their Python packages call, too.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from noria.errors import NotInstalled


def open_library(package: str, stem: str) -> ctypes.CDLL:
    """Load ``lib/<stem>.so`` (or its name elsewhere) of an installed package.

    Raises:
        NotInstalled: The package is not installed, or its library can't be loaded.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        extra = "noria[xgboost-cpu]" if package == "xgboost" else "noria[serving]"
        raise NotInstalled(f"{package} is not installed", fix=f"install {extra}")
    folder = Path(next(iter(found.submodule_search_locations))) / "lib"
    for suffix in (".so", ".dylib", ".dll"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:
                raise NotInstalled(
                    f"{path} can't be loaded: {error}", fix="install the OpenMP runtime (libgomp1)"
                ) from error
    raise NotInstalled(f"{folder} holds no {stem}", fix=f"install {package} again")

"""Models that are in somebody's MLflow, by URI."""

from __future__ import annotations

from pathlib import Path

from noria.registry.client import load, translated


def download(uri: str, folder: Path) -> Path:
    """Download what an MLflow URI names, by the environment's own MLFLOW_ variables.

    Args:
        uri: ``models:/NAME/VERSION``, ``runs:/ID/model`` or an artifact store's.
        folder: Where to.

    Raises:
        RegistryError, Unavailable: MLflow does not give it.
    """
    mlflow = load()
    with translated(f"download {uri}"):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))

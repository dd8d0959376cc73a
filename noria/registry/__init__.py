"""The model registry, on MLflow. Nothing else of Noria imports ``mlflow``.

Importing this package is cheap: MLflow (seconds, hundreds of megabytes) is only
imported when a version is registered, or when the tracking server is not a local
SQLite file.
"""

from noria.registry.candidate import Candidate
from noria.registry.client import imports
from noria.registry.registry import MlflowRegistry

__all__ = ["Candidate", "MlflowRegistry", "imports"]

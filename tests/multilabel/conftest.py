"""The template's messages, and the spec of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from noria.spec import ModelSpec, parse_model
from noria.tasks.families import template

LABELS = ("refund", "urgent", "broken")


def spec_of(
    *, options: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **data: Any
) -> ModelSpec:
    """Return the spec of messages in a CSV file, without times."""
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "tickets"},
            "spec": {
                "task": {
                    "family": "multi-label",
                    "options": {"labels": list(LABELS), **(options or {})},
                },
                "train": {"algorithm": "linear", **(train or {})},
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "features": [
                        {"name": "channel", "type": "categorical"},
                        {"name": "product", "type": "categorical"},
                        {"name": "words", "type": "numeric"},
                        {"name": "days_owned", "type": "numeric"},
                    ],
                    "validation": {"minRows": 1},
                    **data,
                },
            },
        }
    ).spec


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the template's rows, a third of them."""
    folder = tmp_path_factory.mktemp("messages")
    made: dict[str, Any] = {}
    exec(template("multi-label")["data.py"], made)  # noqa: S102 - the template's own module
    made["prepare"](folder, 1 / 3)
    return pd.read_csv(folder / "data" / "rows.csv")


@pytest.fixture
def written(tmp_path: Path, messages: pd.DataFrame) -> Path:
    """Return a folder with the messages in ``rows.csv``."""
    messages.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path

"""A small model to try the loop with."""

from __future__ import annotations

from typing import Any

from noria.spec import Model, parse_model


def sample_model(**sections: Any) -> Model:
    """Return a small model. A section given replaces keys of the same section here."""
    spec: dict[str, Any] = {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"csv": {"paths": ["flights.csv"]}},
            "features": [{"name": "distance", "type": "numeric"}],
            "target": "late",
        },
        "gates": {
            "minRows": 500,
            "bounds": [{"metric": "auc", "min": 0.55}],
            "champion": [{"metric": "auc", "maxDrop": 0.0}],
        },
        "serving": {
            "canary": {
                "steps": [10, 50],
                "minSamples": 500,
                "stepTimeout": "24h",
                "analysis": [
                    {"metric": "error-rate", "max": 0.01},
                    {"metric": "auc", "maxDrop": 0.05},
                ],
            }
        },
        "retraining": {
            "signals": ["drift", "performance"],
            # Any row is enough: what limits the runs of this model is the calendar.
            "newData": {"growth": 1e-9},
            "thinning": 1.0,
            "change": {"rows": 1},
            "cooldown": "7d",
            "runsPerDay": 1,
            "budget": {"runs": 6, "per": "365d"},
            "giveUpAfter": 3,
        },
    }
    for name, section in sections.items():
        spec[name] = {**spec.get(name, {}), **section}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": spec,
        }
    )

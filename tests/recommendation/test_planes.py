"""Real interactions: which airport each aircraft flies to next that it has not been to before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import nycflights
from noria.spec import ModelSpec
from noria.tasks.candidate import make_candidate
from noria.tasks.recommendation.family import LEARNER
from tests.recommendation.conftest import spec_of


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return spec_of(
        {"k": 5, "window": "30d"},
        entityKey=["tailnum"],
        target="dest",
        eventTime="scheduled",
    )


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Departures out of New York in 2013 of aircraft whose number is known."""
    found = nycflights.departures_of_aircraft()
    assert len(found) == 334_264
    return found.sort_values(["scheduled", "tailnum"], kind="stable", ignore_index=True)

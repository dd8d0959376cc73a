"""The ``Model`` resource: the one file that describes a model, read, checked and documented.

``load_model`` and ``parse_model`` are the doors; everything they return is frozen.
"""

from __future__ import annotations

from noria.errors import Problem, SpecError
from noria.measures.catalog import METRICS, SERVING_METRICS, Metric, OwnMetric
from noria.spec.data import (
    CsvSource,
    Data,
    FeastSource,
    Feature,
    ParquetSource,
    Range,
    Source,
    Split,
    Validation,
)
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.gates import Bound, ChampionGate, Gates
from noria.spec.load import load_model, parse_model
from noria.spec.model import API_VERSION, GROUP, KIND, VERSION, Metadata, Model, ModelSpec
from noria.spec.monitoring import (
    Detector,
    FalseAlarmBudget,
    Monitoring,
    Performance,
    PerformanceDrop,
    Quality,
    Window,
)
from noria.spec.retraining import MinGrowth, NewData, Retraining, RunBudget, TrainOn
from noria.spec.runtime import MetricNames, Runtime
from noria.spec.section import Section
from noria.spec.served import Served
from noria.spec.serving import (
    Batching,
    Canary,
    Check,
    PayloadLog,
    Resources,
    Serving,
    Shadow,
)
from noria.spec.spaces import SearchRange
from noria.spec.task import Task, TaskSection
from noria.spec.train import (
    Compute,
    CrossValidation,
    Ensemble,
    Gpu,
    Search,
    Train,
)
from noria.spec.units import (
    cpu_count,
    format_bytes,
    format_duration,
    parse_bytes,
    parse_duration,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "METRICS",
    "SERVING_METRICS",
    "VERSION",
    "Algorithm",
    "Batching",
    "Bound",
    "Canary",
    "ChampionGate",
    "Check",
    "Compute",
    "CrossValidation",
    "CsvSource",
    "Data",
    "Detector",
    "Ensemble",
    "FalseAlarmBudget",
    "Family",
    "FeastSource",
    "Feature",
    "Gates",
    "Gpu",
    "Metadata",
    "Metric",
    "MetricNames",
    "MinGrowth",
    "Model",
    "ModelSpec",
    "Monitoring",
    "Needs",
    "NewData",
    "OwnMetric",
    "ParquetSource",
    "PayloadLog",
    "Performance",
    "PerformanceDrop",
    "Problem",
    "Quality",
    "Range",
    "Resources",
    "Retraining",
    "RunBudget",
    "Runtime",
    "Search",
    "SearchRange",
    "Section",
    "Served",
    "Serving",
    "Shadow",
    "Source",
    "SpecError",
    "Split",
    "Task",
    "TaskSection",
    "Train",
    "TrainOn",
    "Validation",
    "Window",
    "cpu_count",
    "format_bytes",
    "format_duration",
    "load_model",
    "parse_bytes",
    "parse_duration",
    "parse_model",
]

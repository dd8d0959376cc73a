"""The ``Model`` resource as a whole."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from noria.measures.catalog import OF_LABELS, Metric
from noria.spec.data import Data
from noria.spec.defaults import completed
from noria.spec.families import described
from noria.spec.family import Family
from noria.spec.gates import Gates
from noria.spec.monitoring import Monitoring
from noria.spec.retraining import Retraining
from noria.spec.rules import broken_rules
from noria.spec.section import Label, LabelOrEmpty, Section
from noria.spec.serving import Serving
from noria.spec.task import Task
from noria.spec.train import Train

GROUP: Final = "noria.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "noria.dev/v1alpha1"
KIND: Final = "Model"


class Metadata(Section):
    """The name of the model, as Kubernetes has it."""

    name: Label = Field(description="The model's name, a DNS label.", examples=["flights"])
    namespace: LabelOrEmpty = Field(
        default="", description="Kubernetes namespace. Empty: the current one."
    )
    labels: dict[str, str] = Field(default={}, description="Labels, to find it by.")
    annotations: dict[str, str] = Field(default={}, description="Notes that programs leave.")


class ModelSpec(Section):
    """What the model is, and how it is kept good."""

    task: Task = Field(description="The task family and its options.")
    data: Data = Field(description="Where rows come from and what the columns mean.")
    train: Train = Field(default_factory=Train, description="How a candidate is fitted.")
    gates: Gates = Field(default_factory=Gates, description="What a candidate must show first.")
    serving: Serving = Field(default_factory=Serving, description="How versions are served.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="What is watched.")
    retraining: Retraining = Field(
        default_factory=Retraining, description="When it is trained again."
    )

    @model_validator(mode="after")
    def _complete_and_check(self) -> Self:
        sections = completed({name: getattr(self, name) for name in type(self).model_fields})
        for name, section in sections.items():
            # The model is frozen for everybody else; it is not built yet here.
            object.__setattr__(self, name, section)
        problems = broken_rules(sections)
        if problems:
            # As one error with all problems in its context: the loader takes them out again.
            raise PydanticCustomError(
                "noria_rules",
                "{text}",
                {"text": "\n".join(map(str, problems)), "problems": problems},
            )
        return self

    @property
    def family(self) -> Family:
        """The description of the task family, as its options make it."""
        return described(self.task)

    @property
    def is_classification(self) -> bool:
        """The model predicts a class."""
        return self.family.target == "class"

    @property
    def is_of_texts(self) -> bool:
        """What is asked and answered are texts, whatever the rows that it is trained on are."""
        return self.serving.answers_texts

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task family, its default first."""
        return tuple(self.metric(name) for name in self.family.metrics)

    def metric(self, name: str) -> Metric:
        """Return a metric that the spec names: Noria's, or the family's own.

        Raises:
            InvalidInput: There is none of that name.
        """
        return self.family.named(name)

    @property
    def watched_metrics(self) -> tuple[Metric, ...]:
        """What the answers are measured by while it serves, the default first.

        Of ``metrics`` those that labels of rows are enough for, as they come back later; of a model
        that answers texts, those of labels alone.
        """
        if self.is_of_texts:
            return tuple(self.metric(name) for name in OF_LABELS)
        return tuple(metric for metric in self.metrics if metric.is_watched)


class Model(Section):
    """A machine-learning model, and how it is kept good."""

    api_version: Literal["noria.dev/v1alpha1"] = Field(description="Version of this format.")
    kind: Literal["Model"] = Field(description="Kind of resource.")
    metadata: Metadata = Field(description="The model's name.")
    spec: ModelSpec = Field(description="What the model is, and how it is kept good.")

    @property
    def name(self) -> str:
        """The model's name."""
        return self.metadata.name

"""``spec.task``: what kind of model this is.

The spec knows every family of the design. Which of them can run is a question to
the installed task families, not to this module.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import Field

from noria.spec.section import Items, ScalarValue, Section
from noria.spec.units import PositiveDuration


class TabularClassificationOptions(Section):
    """Options of ``tabular-classification``."""

    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="Weights of the classes in the loss. none keeps probabilities calibrated; "
        "balanced weighs each class by the inverse of its share.",
    )
    calibration: Literal["none", "isotonic", "sigmoid"] = Field(
        default="none",
        description="Calibration of the probabilities on held-out folds. none because "
        "the log loss that the learners minimise calibrates them already; "
        "isotonic needs a thousand rows or more, sigmoid fewer.",
    )
    positive_class: ScalarValue | None = Field(
        default=None,
        description="The label whose probability is the prediction of a binary model. "
        "null is the greater label in sorted order, so that 1, true and 'yes' win.",
    )


class TabularRegressionOptions(Section):
    """Options of ``tabular-regression``: none yet."""


class ForecastingOptions(Section):
    """Options of ``forecasting``."""

    horizon: int = Field(
        default=24,
        ge=1,
        le=10_000,
        description="Steps to forecast. 24 is a day of hours.",
    )
    frequency: PositiveDuration = Field(
        default=timedelta(hours=1), description="Time between two rows of a series, a duration."
    )
    season: int = Field(
        default=24,
        ge=1,
        le=10_000,
        description="Steps in one season. 24 is a day of hours; 1 is none.",
    )
    series_key: Items[str] = Field(
        default=(), description="Columns that name a series. None: all rows are one series."
    )


class ClusteringOptions(Section):
    """Options of ``clustering``."""

    clusters: int | None = Field(
        default=None,
        ge=2,
        le=10_000,
        description="Number of clusters. null chooses it by the silhouette.",
    )


class AnomalyDetectionOptions(Section):
    """Options of ``anomaly-detection``."""

    contamination: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Share of rows that are anomalies, 0 to 0.5. 0.01 flags one in a hundred.",
    )


class ImageClassificationOptions(Section):
    """Options of ``image-classification``."""

    backbone: str = Field(
        default="resnet18",
        min_length=1,
        description="Pre-trained network. resnet18 trains on one small GPU.",
    )
    image_size: int = Field(
        default=224,
        ge=16,
        le=4096,
        description="Side of the square input, pixels. 224 is what the backbones learnt on.",
    )
    epochs: int = Field(
        default=5, ge=1, le=10_000, description="Passes over the rows. 5 suits fine-tuning."
    )


class TextClassificationOptions(Section):
    """Options of ``text-classification``."""

    base_model: str = Field(
        default="distilbert-base-uncased",
        min_length=1,
        description="Pre-trained encoder. DistilBERT is nearly as good as BERT at half its cost.",
    )
    max_tokens: int = Field(
        default=256,
        ge=8,
        le=131_072,
        description="Tokens read of each text. 256 holds a few paragraphs.",
    )
    epochs: int = Field(
        default=3, ge=1, le=10_000, description="Passes over the rows. 3 suits fine-tuning."
    )


class TokenClassificationOptions(TextClassificationOptions):
    """Options of ``token-classification``."""

    scheme: Literal["bio", "bioes"] = Field(
        default="bio", description="How spans are tagged. bio is what most corpora use."
    )


class LlmFinetuningOptions(Section):
    """Options of ``llm-finetuning``."""

    base_model: str = Field(
        default="Qwen/Qwen2.5-0.5B-Instruct",
        min_length=1,
        description="Pre-trained language model. The default fits one small GPU.",
    )
    rank: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Rank of the LoRA matrices. 16 is enough for most domains.",
    )
    max_tokens: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens of one training example."
    )
    epochs: int = Field(
        default=1, ge=1, le=1000, description="Passes over the rows. More than a few memorise."
    )


class RagOptions(Section):
    """Options of ``rag``."""

    embedding_model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description="Model that embeds chunks and questions. The default runs on a CPU.",
    )
    chunk_tokens: int = Field(
        default=256, ge=16, le=131_072, description="Tokens of one chunk of a document."
    )
    overlap_tokens: int = Field(
        default=32,
        ge=0,
        le=65_536,
        description="Tokens that neighbouring chunks share, so that no sentence is cut off.",
    )
    top_k: int = Field(
        default=5, ge=1, le=1000, description="Chunks given to the generator for one question."
    )
    retrieval: Literal["dense", "sparse", "hybrid"] = Field(
        default="hybrid",
        description="How chunks are found. hybrid finds both rare words and paraphrases.",
    )


class AgentOptions(Section):
    """Options of ``agent``."""

    model: str = Field(
        default="Qwen/Qwen2.5-7B-Instruct",
        min_length=1,
        description="Language model that chooses the steps.",
    )
    max_steps: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Steps after which a task counts as failed, so that none runs for ever.",
    )
    tools: Items[str] = Field(default=(), description="Names of the tools that it may call.")


_FAMILY: Final = "The task family: what is predicted, from what."
_OPTIONS: Final = "Options of this family. Each has a default."


class TaskSection(Section):
    """What all task families share."""

    @classmethod
    def family_name(cls) -> str:
        """Return the value of ``family`` that stands for this class."""
        return str(get_args(cls.model_fields["family"].annotation)[0])


class TabularClassification(TaskSection):
    """A class from a row of columns."""

    family: Literal["tabular-classification"] = Field(description=_FAMILY)
    options: TabularClassificationOptions = Field(
        default_factory=TabularClassificationOptions, description=_OPTIONS
    )


class TabularRegression(TaskSection):
    """A number from a row of columns."""

    family: Literal["tabular-regression"] = Field(description=_FAMILY)
    options: TabularRegressionOptions = Field(
        default_factory=TabularRegressionOptions, description=_OPTIONS
    )


class Forecasting(TaskSection):
    """The next values of series."""

    family: Literal["forecasting"] = Field(description=_FAMILY)
    options: ForecastingOptions = Field(default_factory=ForecastingOptions, description=_OPTIONS)


class Clustering(TaskSection):
    """Groups of alike rows."""

    family: Literal["clustering"] = Field(description=_FAMILY)
    options: ClusteringOptions = Field(default_factory=ClusteringOptions, description=_OPTIONS)


class AnomalyDetection(TaskSection):
    """Rows unlike the others."""

    family: Literal["anomaly-detection"] = Field(description=_FAMILY)
    options: AnomalyDetectionOptions = Field(
        default_factory=AnomalyDetectionOptions, description=_OPTIONS
    )


class ImageClassification(TaskSection):
    """A class from an image."""

    family: Literal["image-classification"] = Field(description=_FAMILY)
    options: ImageClassificationOptions = Field(
        default_factory=ImageClassificationOptions, description=_OPTIONS
    )


class TextClassification(TaskSection):
    """A class from a text."""

    family: Literal["text-classification"] = Field(description=_FAMILY)
    options: TextClassificationOptions = Field(
        default_factory=TextClassificationOptions, description=_OPTIONS
    )


class TokenClassification(TaskSection):
    """A tag for each token of a text."""

    family: Literal["token-classification"] = Field(description=_FAMILY)
    options: TokenClassificationOptions = Field(
        default_factory=TokenClassificationOptions, description=_OPTIONS
    )


class LlmFinetuning(TaskSection):
    """A language model taught a domain."""

    family: Literal["llm-finetuning"] = Field(description=_FAMILY)
    options: LlmFinetuningOptions = Field(
        default_factory=LlmFinetuningOptions, description=_OPTIONS
    )


class Rag(TaskSection):
    """Answers from a collection of documents."""

    family: Literal["rag"] = Field(description=_FAMILY)
    options: RagOptions = Field(default_factory=RagOptions, description=_OPTIONS)


class Agent(TaskSection):
    """Tasks done with tools."""

    family: Literal["agent"] = Field(description=_FAMILY)
    options: AgentOptions = Field(default_factory=AgentOptions, description=_OPTIONS)


Task: TypeAlias = Annotated[
    TabularClassification
    | TabularRegression
    | Forecasting
    | Clustering
    | AnomalyDetection
    | ImageClassification
    | TextClassification
    | TokenClassification
    | LlmFinetuning
    | Rag
    | Agent,
    Field(discriminator="family"),
]
"""One task family with its options; ``family`` says which."""

TASKS: Final[tuple[type[TaskSection], ...]] = (
    TabularClassification,
    TabularRegression,
    Forecasting,
    Clustering,
    AnomalyDetection,
    ImageClassification,
    TextClassification,
    TokenClassification,
    LlmFinetuning,
    Rag,
    Agent,
)
"""The classes behind ``Task``, in the order in which the families are documented."""

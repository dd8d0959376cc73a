"""What ``image-classification`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import ScalarValue, Section
from noria.spec.spaces import SearchRange
from noria.spec.train import Train
from noria.spec.words import choose, did_you_mean
from noria.tasks.images import DESCRIPTORS, IMAGE, OF_PICTURES, SMALL

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec


class FolderSource(Section):
    """Pictures in a folder for each class, whose name is the label."""

    path: str = Field(
        min_length=1,
        description="The folder of the classes' folders, relative to this file.",
        examples=["pictures"],
    )


class ImageClassificationOptions(Section):
    """Options of ``image-classification``."""

    backbone: str = Field(
        default=SMALL,
        min_length=1,
        max_length=120,
        description="The network: small, which is trained from scratch; or one of timm or "
        "torchvision by its name, such as timm/efficientnet_lite0 or torchvision/resnet18.",
        examples=["timm/efficientnet_lite0"],
    )
    weights: str | None = Field(
        default=None,
        min_length=1,
        description="Weights that the backbone starts from: a file of safetensors, relative to "
        "this file, or hub, which has timm fetch its own. null: from scratch.",
        examples=["weights/efficientnet_lite0.safetensors"],
    )
    size: int = Field(
        default=64,
        ge=8,
        le=1024,
        description="Width and height at which the network reads a picture, pixels. Larger ones "
        "show more and cost their square.",
        examples=[224],
    )
    channels: Literal["rgb", "grey"] = Field(
        default="rgb", description="What the network reads of a picture's colours."
    )
    augment: Literal["none", "light", "standard"] = Field(
        default="none",
        description="How pictures are changed when they are learnt from. light: shifted by up to "
        "a twelfth and turned by up to 5 degrees. standard: more of both, scaled, mirrored left "
        "to right, and made brighter or darker; not for digits and letters, whose mirror image "
        "is another one or none.",
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="Weights of the classes in the loss. none keeps probabilities calibrated; "
        "balanced weighs each class by the inverse of its share.",
    )
    validation_share: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Share of the training rows by which the best epoch is chosen, 0 to 0.5: the "
        "newest ones, or without an eventTime some of each class.",
    )
    column: str = Field(
        default=IMAGE,
        min_length=1,
        description="Column of a table that has the pictures: paths, or the bytes of files.",
    )
    root: str = Field(
        default=".",
        min_length=1,
        description="Folder that the paths of a table are in, relative to this file.",
    )
    positive_class: ScalarValue | None = Field(
        default=None,
        description="The label whose probability is the prediction of a binary model. "
        "null is the greater label in sorted order.",
    )


def options_of(spec: ModelSpec) -> ImageClassificationOptions:
    """Return a model's options."""
    return cast("ImageClassificationOptions", spec.task.options)


def pictures_and_a_target(task: Any, data: Data) -> Iterator[Problem]:
    """A picture is what is read, and a class what is learnt."""
    for key, given in (("features", data.features), ("timeFeatures", data.time_features)):
        if given:
            yield Problem(
                f"spec.data.{key}",
                f"names columns, and {task.family} reads pictures alone",
                "remove it",
            )
    if data.target is None:
        yield Problem(
            "spec.data.target",
            f"is missing, and {task.family} learns a class",
            "name the column of the class; of folders it is any name, such as label",
        )
    if data.served is not None:
        yield Problem(
            "spec.data.served",
            "keeps rows that were served, and pixels never leave the server",
            "remove it, and add pictures with their labels to the source",
        )


def folders_have_no_columns(data: Data) -> Iterator[Problem]:
    """Folders tell a picture's class and path, and nothing else."""
    if getattr(data.source, "folder", None) is None:
        return
    named = {"eventTime": data.event_time, "labelTime": data.label_time}
    named["split.groupKey"] = data.split.group_key
    named |= {f"entityKey[{place}]": name for place, name in enumerate(data.entity_key)}
    for key, name in named.items():
        if name is not None and (not key.startswith("entityKey") or name != "path"):
            yield Problem(
                f"spec.data.{key}",
                f"names {name}, and a folder tells path and class alone",
                "write a table with paths (source: csv), or remove it",
            )


def hyperparameters_exist(task: Any, train: Train) -> Iterator[Problem]:
    """An algorithm of pictures has the hyperparameters that are set or searched."""
    known = KNOWN.get(train.algorithm, ())
    for path, names in (
        ("spec.train.hyperparameters", train.hyperparameters),
        ("spec.train.search.space", train.search.space),
    ):
        for name in names:
            if name not in known:
                yield Problem(
                    f"{path}.{name}",
                    f"is unknown to {train.algorithm} of {task.family}",
                    did_you_mean(name, known) or choose(known),
                )


KNOWN: Final = {
    "network": (
        "epochs",
        "batch",
        "accumulate",
        "learning_rate",
        "weight_decay",
        "warmup",
        "clip",
        "patience",
    ),
    "logistic": ("C",),
}
"""The hyperparameters of each algorithm."""

IMAGES: Final = Family(
    name="image-classification",
    about="A class from a picture.",
    options=ImageClassificationOptions,
    algorithms=(
        Algorithm(
            name="network",
            library="accelerate",
            distributes=True,
            space={
                "learning_rate": SearchRange(low=3e-4, high=1e-2, log=True),
                "weight_decay": SearchRange(low=1e-3, high=0.2, log=True),
            },
        ),
        Algorithm(name="logistic", space={"C": SearchRange(low=1e-4, high=10, log=True)}),
    ),
    metrics=(
        "accuracy",
        "log-loss",
        "auc",
        "average-precision",
        "brier",
        "calibration-gap",
        "f1",
    ),
    sources=("parquet", "csv"),
    data={"folder": FolderSource},
    target="class",
    inputs={IMAGE: "image"},
    detectors=(
        # Not the entropy: the model that is served has another than the fit that was judged. What a
        # champion's own answers are like is learnt for its prediction.
        Detector(name="pictures", kind="tabular", watch="features", columns=OF_PICTURES),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    descriptors=DESCRIPTORS,
    rules=(pictures_and_a_target, folders_have_no_columns, hyperparameters_exist),
    needs=Needs(
        libraries=("pandas", "pyarrow.parquet", "sklearn.linear_model", "PIL", "torch"),
        install="noria[training,images]",
        gpu="optional",
    ),
    learner="noria.tasks.images.family:LEARNER",
    template="noria.tasks.images.template:TEMPLATE",
)

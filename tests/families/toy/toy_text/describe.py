"""What the family says about itself."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from noria.spec import Algorithm, Family, OwnMetric, Problem, SearchRange, Section


class LinesSource(Section):
    """Texts in one file, a line each: how pleasant, how lively, and the text, with tabs between."""

    file: str = Field(min_length=1, description="The file, relative to this one.")


class ToyTextOptions(Section):
    """Options of ``toy-text``."""

    lower_case: bool = Field(default=True, description="Take words in capitals for the same.")


def capitals_are_told_apart(task: Any, train: Any) -> Iterator[Problem]:
    """A text model that tells capitals apart needs its words smoothed."""
    if not task.options.lower_case and train.hyperparameters.get("smoothing") == 0:
        yield Problem(
            "spec.train.hyperparameters.smoothing",
            "0 with lowerCase: false leaves most words unknown",
            "write 1",
        )


def near(truth: Any, prediction: Any) -> Any:
    """Return of each text the share of its targets that are at most a half off, (n,)."""
    return (abs(prediction - truth) <= 0.5).mean(axis=1)


NEAR = OwnMetric("within-half", True, low=0, high=1, about="share within a half", per_sample=near)

TOY = Family(
    name="toy-text",
    about="How pleasant and how lively a text is.",
    options=ToyTextOptions,
    algorithms=(
        Algorithm(name="word-votes", space={"smoothing": SearchRange(low=0.1, high=10, log=True)}),
    ),
    metrics=("mae", "r2", "within-half"),
    own_metrics=(NEAR,),
    data={"lines": LinesSource},
    target="number",
    rules=(capitals_are_told_apart,),
    learner="toy_text.learner:LEARNER",
    template="toy_text.template:TEMPLATE",
)

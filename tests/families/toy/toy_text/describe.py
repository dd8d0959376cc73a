"""What the family says about itself."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from noria.spec import Algorithm, Family, Problem, SearchRange, Section


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


TOY = Family(
    name="toy-text",
    about="How pleasant and how lively a text is.",
    options=ToyTextOptions,
    algorithms=(
        Algorithm(name="word-votes", space={"smoothing": SearchRange(low=0.1, high=10, log=True)}),
    ),
    metrics=("mae", "r2"),
    data={"lines": LinesSource},
    target="number",
    rules=(capitals_are_told_apart,),
    learner="toy_text.learner:LEARNER",
    template="toy_text.template:TEMPLATE",
)

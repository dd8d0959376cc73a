"""What the two families say about themselves."""

from pydantic import Field

from noria.spec import Algorithm, Family, SearchRange, Section


class LinesSource(Section):
    """Texts in one file, oldest first: what is so, a tab, and the text."""

    file: str = Field(min_length=1, description="The file, relative to this one.")


# A word counts from so many texts on.
VOTES = Algorithm(name="votes", space={"least": SearchRange(low=1, high=4)})
SEARCH = Family(
    name="toy-search",
    about="Which of twenty items a query of words wants.",
    options=Section,
    algorithms=(VOTES,),
    metrics=("ndcg-at-10", "reciprocal-rank", "hit-rate-at-3"),
    data={"lines": LinesSource},
    detectors=(),
    learner="sample_families.learner:SEARCH",
    template="sample_families.template:SEARCH",
)
NAMES = Family(
    name="toy-names",
    about="The names of people and places in a text.",
    options=Section,
    algorithms=(VOTES,),
    metrics=("span-f1", "span-precision", "span-recall"),
    data={"lines": LinesSource},
    detectors=(),
    learner="sample_families.learner:NAMES",
    template="sample_families.template:NAMES",
)

"""``spec.data.served``: labelled rows that were served, as rows to train on."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from noria.spec.section import Column, Items, Section
from noria.spec.units import PositiveDuration


class Served(Section):
    """Rows that were served and got their label through the monitor, as rows to train on."""

    use: Literal["with-source", "alone"] = Field(
        default="with-source",
        description="with-source: beside the rows of the source; where both have a row, the "
        "source's counts. alone: in place of the source, as soon as there are validation.minRows "
        "of them; until then with it, so that there is a first version.",
    )
    sample: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the requests whose rows are kept, over 0 to 1, chosen by a hash of "
        "the request's id. 1: labels are seldom so many that one can be spared.",
    )
    retention: PositiveDuration = Field(
        default=timedelta(days=365),
        description="How old a row may become, by its event, before its day is deleted. A year "
        "holds every season once.",
    )
    redact: Items[Column] = Field(
        default=(),
        max_length=100,
        description="Columns of entityKey whose values are never kept. What the model learns from "
        "can't be among them.",
        examples=[["customer_id"]],
    )

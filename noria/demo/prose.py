"""What the page says in sentences: how to read it, what was measured, what was not."""

from __future__ import annotations

from typing import Final

from noria.demo.figures import SETTINGS
from noria.report.figures import Prose

_HOW_TO_READ: Final = (
    (
        "Prequential",
        (
            "Every flight was scored before its outcome was known, then used to keep score. "
            "Nothing on this page is a score on rows that a model was fitted to."
        ),
    ),
    (
        "The same rows",
        (
            "The four predictors answered exactly the same flights, so the lines may be compared "
            "week by week. A single week is a small sample and wobbles; the wobble is mostly "
            "shared."
        ),
    ),
    (
        "The loop",
        (
            "The answer that the client got: from whichever version the traffic split chose, "
            "canaries and mistakes included."
        ),
    ),
    (
        "Frozen, monthly, no-change",
        (
            "Frozen is the January model, never touched. Monthly is trained again at the start of "
            "each month on everything known by then, without gates. No-change says that the last "
            "known outcome comes again."
        ),
    ),
    (
        "Marks under the lines",
        (
            "A diamond is a drift noticed. A triangle up is a new version promoted to all "
            "traffic, a cross is a candidate that a gate refused, a triangle down is a canary "
            "taken back."
        ),
    ),
    (
        "Gain in AUC",
        (
            "New model minus champion on the same held-out rows at the time of the decision, with "
            "its interval. It is what the gate saw, not what the following months brought."
        ),
    ),
)

_MEASURED: Final = (
    (
        "AUC by ranks with ties counted half; log-loss in nats, probabilities clipped at "
        "1e-7; accuracy at a threshold of 0.5. No-change's log-loss uses the share of late "
        "flights that followed the same last outcome so far."
    ),
    (
        "A label counts from the moment its flight landed. Flights that were cancelled or "
        "diverted have no outcome and are not scored."
    ),
    "The aims were fixed before the run and are printed as they came out.",
    SETTINGS,
)

_NOT_MEASURED: Final = (
    (
        "Latency and throughput: see the benchmarks. The year is replayed far faster than it "
        "happened."
    ),
    "Other data, other seeds: this is one run, and the lines have no intervals.",
    "The cost of a retrain against its worth: the loop has a budget of runs, not a price.",
)

PROSE: Final = Prose(_HOW_TO_READ, _MEASURED, _NOT_MEASURED)

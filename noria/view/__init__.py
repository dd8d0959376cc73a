"""What a person is shown of a model, on one machine and on a cluster alike.

Pure functions from the loop's values to ``ModelView``, and from it to sentences. Each sentence
is made here and nowhere else; the page has a translation of each.
"""

from noria.view.facts import (
    BREAKER_OPEN,
    NO_DRIFT,
    STOPPED,
    UNATTENDED,
    WANTED,
    doing_text,
    facts,
    split_text,
    traffic_text,
)
from noria.view.model import Attendance, ModelView, ordered, view_of, wanted_weights
from noria.view.problem import down_text, stuck, stuck_text
from noria.view.stage import (
    PAUSED,
    PHASES,
    STEP,
    Phase,
    Stage,
    Step,
    phase_of,
    stage_of,
    stage_text,
)
from noria.view.verdict import LastVerdict, last_verdict, verdict_text, why_text

__all__ = [
    "BREAKER_OPEN",
    "NO_DRIFT",
    "PAUSED",
    "PHASES",
    "STEP",
    "STOPPED",
    "UNATTENDED",
    "WANTED",
    "Attendance",
    "LastVerdict",
    "ModelView",
    "Phase",
    "Stage",
    "Step",
    "doing_text",
    "down_text",
    "facts",
    "last_verdict",
    "ordered",
    "phase_of",
    "split_text",
    "stage_of",
    "stage_text",
    "stuck",
    "stuck_text",
    "traffic_text",
    "verdict_text",
    "view_of",
    "wanted_weights",
    "why_text",
]

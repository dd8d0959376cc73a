"""What an alert means to the loop: a signal that may start a run, or a notice that starts none.

Pure, and the same for every copy of an alert in any order: the id is made from what
does not change over an episode, so the inbox keeps one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from monitoring.webhook.payload import Alert, Delivery
from noria.loop.values import Notice, Signal, SignalKind

MODEL_LABEL: Final = "model"
NAMESPACE_LABEL: Final = "namespace"
SIGNAL_LABEL: Final = "noria_signal"

_KINDS: Final = (SignalKind.DRIFT, SignalKind.PERFORMANCE, SignalKind.QUALITY)
_DATASOURCE: Final = ("DatasourceNoData", "DatasourceError")
_REASON: Final = "grafana_state_reason"
_MOST_CHARS: Final = 200


def message_of(alert: Alert, source: str, now: datetime) -> Signal | Notice:
    """Return what goes into the inbox.

    An alert says when it began; that is the signal's time, but never later than now: a
    sender whose clock is ahead must not make a signal that outlives the run it starts.
    """
    at = min(alert.starts_at, now)
    reason = _why_not(alert)
    if not reason:
        said = _text(alert.annotations.get("summary", ""))
        return Signal(
            f"alert-{alert.key}",
            SignalKind(alert.labels[SIGNAL_LABEL]),
            source,
            at,
            f"alert {_text(alert.name)}{f': {said}' if said else ''}",
            alert.labels.get("version", "")[:_MOST_CHARS] or None,
        )
    return Notice(
        # The end of an episode is another message than its beginning.
        f"alert-{alert.key}-{alert.status}",
        source,
        at,
        f"alert {_text(alert.name)}",
        reason,
        _text(alert.annotations.get("summary", "")),
    )


def cut_off(delivery: Delivery, alerts: Sequence[Alert], now: datetime) -> Notice:
    """Return what says that a sender left alerts out beside these of one model."""
    newest = max(alert.starts_at for alert in alerts)
    told = f"{delivery.group}|{delivery.truncated}|{newest.isoformat()}"
    return Notice(
        f"truncated-{hashlib.sha256(told.encode()).hexdigest()[:32]}",
        delivery.source,
        now,
        f"{delivery.truncated} alerts that were cut off",
        "nobody knows what they said: set max_alerts of the receiver to 0",
    )


def _why_not(alert: Alert) -> str:
    """Say why an alert starts nothing; empty when it is a signal."""
    kind = alert.labels.get(SIGNAL_LABEL)
    state = alert.annotations.get(_REASON, "")
    if alert.name in _DATASOURCE or (alert.status == "firing" and state):
        rule = alert.labels.get("rulename", alert.name)
        return f"rule {_text(rule)} could not be evaluated, and no data is not a change of it"
    if alert.status == "resolved":
        return "it is over; what it said while it fired stands"
    if kind is None:
        return f"it has no label {SIGNAL_LABEL}, so it is for a person"
    if kind not in _KINDS:
        return f"{SIGNAL_LABEL} {_text(kind)!r} is none of {', '.join(_KINDS)}"
    return ""


def _text(text: str) -> str:
    """Return one line of what somebody else wrote, short and without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}…"

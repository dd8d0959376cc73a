"""The structural schema of a ``Model``'s status: fields for programs, sentences for kubectl.

``noria.view.resource`` writes and reads what says what the model is doing.
"""

from __future__ import annotations

from typing import Any

_Schema = dict[str, Any]


def status_schema() -> _Schema:
    """Return the schema of ``status``."""
    return _fields(
        "What the loop did and sees. Only the operator writes it.",
        observedGeneration=_number("The generation of the spec that this status is of."),
        stage=_text(
            "What the loop is doing: no-version, training, deploying, canary, promoting, "
            "aborting, serving, or down when a version with traffic does not answer."
        ),
        step=_fields(
            "The canary step; absent outside of one.",
            number=_number("Which, from 1."),
            count=_number("Of how many."),
            percent=_number("The candidate's share of the traffic."),
        ),
        paused=_flag("Whether a person holds the rollout."),
        champion=_text("The version that serves."),
        candidate=_text("The version that is rolled out."),
        weights=_split("The split of the traffic in force; empty while it can't be seen."),
        wanted=_split("The split of the traffic that the loop asks for."),
        verdict=_fields(
            "How the newest candidate did in its last step, or how it ended.",
            version=_text("The candidate."),
            result=_text(
                "pass, fail, inconclusive or error of a step; promoted, aborted or refused."
            ),
            detail=_text("Why."),
            percent=_number("The candidate's share in the step that was decided."),
        ),
        run=_text("The training run in flight."),
        holds=_list(
            "What the run, the rollout and each waiting signal lack.", _text("What one lacks.")
        ),
        retrainsLeft=_number("Runs left in the budget."),
        breakerOpen=_flag("Whether the loop-breaker keeps signals from starting runs."),
        url=_text("Where clients send requests."),
        printed=_fields(
            "Sentences for the columns of kubectl; programs read the other fields.",
            stage=_text("What the loop is doing."),
            traffic=_text("How the traffic is split."),
            verdict=_text("How the newest candidate did."),
        ),
        conditions=_map("Conditions, as Kubernetes has them.", _condition(), "type"),
        explanation=_list(
            "What the loop did last and why, oldest first.", _text("An entry of the ledger.")
        ),
        revision=_text("The revision of the loop's stored state."),
        ledgerHead=_text("Sequence and hash of the ledger's last entry."),
    )


def _condition() -> _Schema:
    return {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": _text("Its name."),
            "status": {**_text("Whether it holds."), "enum": ["True", "False", "Unknown"]},
            "reason": _text("One word why."),
            "message": _text("A sentence why."),
            "lastTransitionTime": {**_text("When it last changed."), "format": "date-time"},
            "observedGeneration": _number("The generation of the spec that it is of."),
        },
    }


def _text(about: str) -> _Schema:
    return {"type": "string", "description": about}


def _number(about: str) -> _Schema:
    return {"type": "integer", "format": "int64", "description": about}


def _flag(about: str) -> _Schema:
    return {"type": "boolean", "description": about}


def _fields(about: str, **properties: _Schema) -> _Schema:
    return {"type": "object", "description": about, "properties": properties}


def _list(about: str, items: _Schema) -> _Schema:
    return {"type": "array", "description": about, "items": items}


def _map(about: str, items: _Schema, key: str) -> _Schema:
    """Return a list whose items have a key of their own."""
    return {
        **_list(about, items),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
    }


def _split(about: str) -> _Schema:
    share = _fields("A version's share.", version=_text("The version."), percent=_number("Of it."))
    return _map(about, {**share, "required": ["version", "percent"]}, "version")

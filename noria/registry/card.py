"""The model card: one Markdown page that says what a version is and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from noria.loop.values import GateResult, Verdict
from noria.measures.measurement import Measurement
from noria.registry.candidate import Candidate
from noria.served.used import ServedRows
from noria.tasks.package import Feature, Manifest
from noria.tasks.protocol import Choice, Evaluation


def model_card(candidate: Candidate, manifest: Manifest, digest: str) -> str:
    """Return the card of a candidate, as Markdown."""
    sections = [
        _what(candidate, manifest, digest),
        _data(candidate, manifest),
        _notes(candidate.evaluation),
        _metrics(candidate.evaluation),
        _comparison(candidate.evaluation, candidate.champion),
        _gates(candidate.gates),
        _limits(candidate),
        _reproduce(candidate),
    ]
    return "\n\n".join(section.rstrip() for section in sections if section) + "\n"


def _what(candidate: Candidate, manifest: Manifest, digest: str) -> str:
    outputs = ", ".join(f"`{item.name}`" for item in manifest.outputs)
    target = f", target `{manifest.target}`" if manifest.target else ""
    return "\n".join(
        [
            f"# Model card: {candidate.model}",
            "",
            f"- **Task**: {manifest.family}{target}",
            f"- **Algorithm**: {manifest.algorithm}",
            *_parameters(manifest),
            f"- **Answers**: {outputs}",
            f"- **Trained because**: {candidate.reason or 'asked for'}",
            f"- **Run**: `{candidate.run_id}`",
            f"- **Package digest**: `sha256:{digest}`",
            f"- **Code**: {candidate.code_version}",
        ]
    )


def _parameters(manifest: Manifest) -> list[str]:
    """Say what it was trained with, members of an average too."""
    if not manifest.parameters:
        return []
    said = msgspec.json.encode(manifest.parameters).decode()
    return [f"- **Trained with**: `{said}`"]


def _data(candidate: Candidate, manifest: Manifest) -> str:
    looked_up = set(manifest.lookup.features) if manifest.lookup else set()
    rows = [
        (
            f"`{feature.name}`",
            _KINDS.get(feature.kind, feature.kind).format(feature.size),
            "looked up" if feature.name in looked_up else _ORIGIN[feature.origin],
            _categories(feature, manifest),
        )
        for feature in manifest.features
    ]
    return "\n".join(
        [
            "## Data",
            "",
            (
                f"The packaged model was fitted on {candidate.rows:,} rows, known at "
                f"{candidate.as_of.isoformat()}; data fingerprint `sha256:{candidate.fingerprint}`."
            ),
            "",
            *_served(candidate.served),
            *_table(("feature", "kind", "comes from", "categories"), rows),
        ]
    )


def _categories(feature: Feature, manifest: Manifest) -> str:
    """Say how many are in the table, and how many are learnt where that is more."""
    if not feature.categories:
        return "-"
    learnt = manifest.options.get("categoriesLearnt", {}).get(feature.name)
    watched = len(feature.categories)
    return str(watched) if learnt is None else f"{watched} watched of {learnt:,} learnt"


def _served(served: ServedRows | None) -> list[str]:
    """Say which of the rows were served, and got their labels through the monitor."""
    if served is None:
        return []
    if served.rows:
        found = (
            f"Of the rows that were read {served.rows:,} were served and labelled between "
            f"{served.first} and {served.last}, digest `sha256:{served.digest}`"
        )
        found += "." if served.source else "; the source was not read."
    else:
        found = "None of the rows that were read was served: all are the source's."
    if served.set_aside:
        found += f" Damaged, so that their rows are missing: {', '.join(served.set_aside)}."
    return [found, ""]


_KINDS: Final[Mapping[str, str]] = {
    "vector": "vector of {}",
    "text": "text, read as {} numbers",
    "timestamp": "moment, read as {} numbers",
}
_ORIGIN: Final[Mapping[str, str]] = {
    "input": "the client",
    "lookup": "looked up",
    "time": "the event time",
    "descriptor": "computed from the inputs",
}


def _notes(evaluation: Evaluation) -> str:
    """Say what the family says of the fit that was judged."""
    if not evaluation.notes:
        return ""
    return "\n".join(["## What was found", "", *(f"- {note}" for note in evaluation.notes)])


def _metrics(evaluation: Evaluation) -> str:
    rows = [
        (
            name,
            _number(item.value),
            _interval(item),
            f"{item.samples:,}",
            _number(evaluation.baseline[name].value) if name in evaluation.baseline else "-",
            item.problem or item.method,
        )
        for name, item in evaluation.metrics.items()
    ]
    head = ("metric", "value", "interval", "rows", "baseline", "note")
    note = (
        f"On {evaluation.rows:,} rows, predicted in {evaluation.choice.blocks} blocks by "
        "the recipe fitted on what was known before each. When `train.refit` is on, the packaged "
        "model is that recipe, fitted on all rows."
    )
    found = ["## Metrics on held-out rows", "", note, "", *_table(head, rows)]
    if evaluation.row_seconds is not None:
        took = f"{evaluation.row_seconds * 1e6:,.0f} µs"
        found += ["", f"One row alone took {took} to predict, the median of some held-out rows."]
    return "\n".join(found + _recipe(evaluation.choice))


def _recipe(choice: Choice) -> list[str]:
    """Say how much each training row counts, how long it learns, and what else was tried."""
    if not choice.recipe:
        return []
    rows = [
        (
            item.recipe,
            item.metric,
            _number(item.difference),
            _number(item.low),
            f"{item.won} of {item.blocks}",
        )
        for item in choice.tried
    ]
    head = ("tried instead", "metric", "better than the champion's by", "at least", "blocks won")
    return ["", f"Training rows: {choice.recipe}.", *(["", *_table(head, rows)] if rows else [])]


def _comparison(evaluation: Evaluation, champion: str | None) -> str:
    if champion is None:
        return "## Against the champion\n\nThere was no champion to compare with."
    rows = [
        (
            item.metric,
            _number(item.candidate),
            _number(item.champion),
            _number(item.difference),
            f"{_number(item.low)} to {_number(item.high)}",
            f"{item.samples:,}",
            item.problem or item.method,
        )
        for item in evaluation.comparisons
    ]
    head = ("metric", "candidate", "champion", "better by", "bounds", "rows", "note")
    title = f"## Against the champion, version {champion}, on the same rows"
    return "\n".join([title, "", *_table(head, rows)])


def _gates(gates: Sequence[GateResult]) -> str:
    rows = [
        (
            gate.name,
            gate.verdict.value,
            _number(gate.value),
            _number(gate.bound),
            f"{gate.samples:,}",
            gate.detail,
        )
        for gate in gates
    ]
    head = ("gate", "verdict", "value", "bound", "rows", "detail")
    return "\n".join(["## Gates", "", *_table(head, rows)])


def _limits(candidate: Candidate) -> str:
    lines = [
        "## Limits",
        "",
        (
            "- The figures hold for rows like the held-out ones; they say nothing about a world "
            "that has moved since. The monitor watches for that."
        ),
        "- Inputs outside the ranges seen in training are answered, but were not measured.",
    ]
    lines += [f"- Caution: {caution}." for caution in candidate.cautions]
    weak = [gate.name for gate in candidate.gates if gate.verdict is not Verdict.PASS]
    if weak:
        lines.append(f"- These gates did not pass: {', '.join(weak)}.")
    return "\n".join(lines)


def _reproduce(candidate: Candidate) -> str:
    params = "\n".join(f"- `{key}`: {value}" for key, value in candidate.params.items())
    return "\n".join(
        [
            "## How to reproduce",
            "",
            (
                "Train from the same rows with the `model.json` beside this card, as of "
                f"{candidate.as_of.isoformat()}, with {candidate.code_version}. Hyperparameters:"
            ),
            "",
            params or "All at their defaults.",
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    found = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    if not found:
        return ["None."]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *found]


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("\n", " ") or "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(item: Measurement) -> str:
    if item.low is None or item.high is None:
        return "-"
    return f"{item.low:.4g} to {item.high:.4g} ({item.confidence:.0%})"

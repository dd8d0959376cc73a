"""The page's tiles and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from noria.demo.figures import PREDICTORS, SHARE_AIM, Figures, Gain, Retrain, Scores
from noria.demo.report.markup import Html, join, tag, text
from noria.demo.report.plot import Frame, Scale, mark, outcome_mark, svg
from noria.demo.report.words import (
    NAMES,
    SHORT,
    aim_value,
    aim_verdict,
    count,
    minute,
    number,
    signed,
    took,
)

_OPEN_ROWS: Final = 12
_BAR: Final = 1.25  # The bar ends at a share of 125 %.


def tiles(figures: Figures) -> Html:
    """The headline numbers."""
    auc, loss, right = figures.auc, figures.log_loss, figures.accuracy
    return tag(
        "div",
        _tile("AUC", number(auc.loop), _versus(auc.loop, auc.frozen, better=1), _rest(auc)),
        _tile("Log-loss", number(loss.loop), _versus(loss.loop, loss.frozen, better=-1),
              _rest(loss)),
        _tile("Accuracy", number(right.loop), _versus(right.loop, right.frozen, better=1),
              _rest(right)),
        _tile("Retrains", str(figures.retrains.loop), Html(""),
              text(f"the monthly schedule: {figures.retrains.monthly}")),
        _tile("Drifts noticed", str(len(figures.drifts)), Html(""),
              text(_detectors(figures))),
        _tile("Rows answered", count(figures.rows), Html(""),
              text(f"replayed in {took(figures.seconds)}")),
        class_="tiles",
    )  # fmt: skip


def gain_bar(figures: Figures) -> Html:
    """Where the loop landed between never retraining and retraining every month, in AUC."""
    share = figures.aims[0].value
    if share is None:
        return tag(
            "p",
            text("The monthly retrain gained nothing over the frozen model in this run, so the"
                 " loop's share of its gain is not defined."),
            class_="quiet",
        )  # fmt: skip
    place = min(max(share, 0.0), _BAR) / _BAR * 100
    return tag(
        "div",
        tag("div", tag("span", text(f"loop {number(figures.auc.loop)}"), class_="at",
                       style=f"left:{place:.2f}%"), class_="above"),
        tag(
            "div",
            tag("div", class_="fill", style=f"width:{place:.2f}%"),
            tag("div", class_="stop", style=f"left:{1 / _BAR:.2%}"),
            tag("div", class_="stop aim", style=f"left:{SHARE_AIM / _BAR:.2%}"),
            tag("div", class_="here", style=f"left:{place:.2f}%"),
            class_="track",
        ),
        tag(
            "div",
            tag("span", text(f"frozen {number(figures.auc.frozen)}"), style="left:0"),
            tag("span", text(f"monthly {number(figures.auc.monthly)}"), class_="at",
                style=f"left:{1 / _BAR:.2%}"),
            class_="ends",
        ),
        tag("p", text("AUC over the year. The dotted line is the aim:"
                      f" {100 * SHARE_AIM:.0f} % of the monthly retrain's gain."),
            class_="quiet small"),
        class_="gain",
    )  # fmt: skip


def aims_table(figures: Figures) -> Html:
    """Each aim, set before the run, beside what came out."""
    rows = [
        (
            text(aim.name),
            text(aim.target.replace("-", "−")),
            tag("strong", text(aim_value(aim))),
            tag("span", text(aim_verdict(aim)), class_=f"badge {_badge(aim.met)}"),
        )
        for aim in figures.aims
    ]
    return _table(("Aim", "Target", "Result", ""), rows, numeric=(2,), css="aims")


def year_table(figures: Figures) -> Html:
    """The four predictors over all rows."""
    runs = {"loop": figures.retrains.loop, "monthly": figures.retrains.monthly, "frozen": 0}
    rows = [
        (
            tag("span", _swatch(name), text(NAMES[name]), class_="key"),
            text(number(figures.auc.of(name), 4)),
            text(number(figures.log_loss.of(name), 4)),
            text(number(figures.accuracy.of(name), 4)),
            text(runs.get(name, "–")),
        )
        for name in PREDICTORS
    ]
    return _table(("Predictor", "AUC", "Log-loss", "Accuracy", "Retrains"), rows)


def month_table(figures: Figures) -> Html:
    """AUC by month for the four, and the loop's lead over the frozen model."""
    differences = [
        None if month.auc.loop is None or month.auc.frozen is None
        else month.auc.loop - month.auc.frozen
        for month in figures.months
    ]  # fmt: skip
    largest = max((abs(value) for value in differences if value is not None), default=1.0) or 1.0
    rows = []
    for month, difference in zip(figures.months, differences, strict=True):
        best = max((v for v in _values(month.auc) if v is not None), default=None)
        rows.append(
            (
                text(month.name),
                text(count(month.rows)),
                *(_best(value, best) for value in _values(month.auc)),
                _lead(difference, largest),
                text(number(month.log_loss.loop)),
                text(number(month.accuracy.loop)),
            )
        )
    head = (
        "Month", "Rows", *(f"AUC {SHORT[name]}" for name in PREDICTORS), "Loop − frozen",
        "Log-loss loop", "Accuracy loop",
    )  # fmt: skip
    return _table(head, rows)


def drift_table(figures: Figures) -> Html:
    """When each drift was noticed, and in what."""
    rows = [
        (
            text(minute(drift.at)),
            text(drift.detector),
            join(*(tag("span", text(name), class_="chip") for name in drift.features)) or text("–"),
            tag("code", text(drift.signal)),
        )
        for drift in figures.drifts
    ]
    if not rows:
        return tag("p", text("No drift was noticed in this run."), class_="quiet")
    table = _table(("Noticed", "Detector", "Top features", "Signal"), rows, numeric=())
    return _folded(table, len(rows), "drifts")


def retrain_table(figures: Figures) -> Html:
    """What started each run, what its candidate gained on held-out rows, and its fate."""
    if not figures.retrain_log:
        return tag("p", text("The loop retrained nothing in this run."), class_="quiet")
    gains = [retrain.gain for retrain in figures.retrain_log if retrain.gain is not None]
    ends = [
        value for gain in gains for value in (gain.auc, gain.low, gain.high) if value is not None
    ]
    reach = max((abs(value) for value in ends), default=0.01) * 1.1 or 0.01
    rows = [
        (
            text(minute(retrain.at)),
            text("–" if retrain.version is None else f"v{retrain.version}"),
            text("–" if retrain.gain is None else _gain_words(retrain.gain)),
            _whisker(retrain, reach),
            _outcome(retrain),
            tag("div", text(retrain.reason), class_="reason"),
            tag("code", text(retrain.run_id)),
        )
        for retrain in figures.retrain_log
    ]
    head = ("Started", "Version", "Gain in AUC", "", "Outcome", "Because of", "Run")
    return _folded(_table(head, rows, numeric=(2,)), len(rows), "runs")


def _detectors(figures: Figures) -> str:
    names = {drift.detector for drift in figures.drifts}
    return f"by {len(names)} detector{'' if len(names) == 1 else 's'}"


def _tile(name: str, value: str, change: Html, rest: Html) -> Html:
    return tag(
        "div",
        tag("div", text(name), class_="what"),
        tag("div", text(value), change, class_="value"),
        tag("div", rest, class_="rest"),
        class_="tile",
    )


def _versus(value: float | None, frozen: float | None, *, better: int) -> Html:
    if value is None or frozen is None:
        return Html("")
    difference = value - frozen
    css = "good" if difference * better > 0 else "bad" if difference * better < 0 else ""
    return tag("span", text(signed(difference)), class_=f"change {css}")


def _rest(scores: Scores) -> Html:
    return join(
        *(
            tag("span", tag("i", class_=f"pip {name}"),
                text(f"{SHORT[name]} {number(scores.of(name))}"))
            for name in PREDICTORS[1:]
        )
    )  # fmt: skip


def _badge(met: bool | None) -> str:  # noqa: FBT001
    return "quiet" if met is None else "good" if met else "bad"


def _swatch(name: str) -> Html:
    return tag(
        "svg",
        tag("line", class_=f"line {name}", x1=1, x2=25, y1=6, y2=6),
        class_="swatch", viewBox="0 0 26 12", aria_hidden="true",
    )  # fmt: skip


def legend() -> Html:
    """The key of the weekly plots: lines and marks."""
    lines = [
        tag("span", _swatch(name), text(NAMES[name]), class_="key")
        for name in PREDICTORS
    ]  # fmt: skip
    marks = [
        tag("span", _sign(shape, css), text(said), class_="key")
        for shape, css, said in (
            ("diamond", "drift", "drift noticed"),
            ("up", "promoted", "promoted"),
            ("cross", "refused", "refused by a gate"),
            ("down", "aborted", "canary aborted"),
        )
    ]
    return tag("div", *lines, tag("span", class_="gap"), *marks, class_="legend")


def _sign(shape: str, css: str) -> Html:
    drawn = mark(shape, 6.0, 6.0, css, 4.5)
    return tag("svg", drawn, class_="sign", viewBox="0 0 12 12", aria_hidden="true")


def _values(scores: Scores) -> list[float | None]:
    return [scores.of(name) for name in PREDICTORS]


def _best(value: float | None, best: float | None) -> Html:
    written = text(number(value))
    return tag("strong", written) if value is not None and value == best else written


def _lead(difference: float | None, largest: float) -> Html:
    if difference is None:
        return text("–")
    width = abs(difference) / largest * 50
    side = f"left:50%;width:{width:.1f}%" if difference >= 0 else f"right:50%;width:{width:.1f}%"
    css = "good" if difference >= 0 else "bad"
    bar = tag("span", tag("i", class_=css, style=side), class_="lead", aria_hidden="true")
    return tag("span", text(signed(difference)), bar, class_="leads")


def _gain_words(gain: Gain) -> str:
    if gain.low is None or gain.high is None:
        return signed(gain.auc)
    return f"{signed(gain.auc)} [{signed(gain.low)}, {signed(gain.high)}]"


def _whisker(retrain: Retrain, reach: float) -> Html:
    if retrain.gain is None:
        return Html("")
    frame = Frame(140, 22, left=4, right=4, top=0, bottom=0)
    scale = Scale(-reach, reach, frame.x0, frame.x1)
    gain = retrain.gain
    parts = [tag("line", class_="zero", x1=scale(0), x2=scale(0), y1=2, y2=20)]
    if gain.low is not None and gain.high is not None:
        low, high = scale(gain.low), scale(gain.high)
        parts.append(tag("line", class_="whisker", x1=low, x2=high, y1=11, y2=11))
        parts += [tag("line", class_="whisker", x1=x, x2=x, y1=7, y2=15) for x in (low, high)]
    parts.append(mark("dot", scale(gain.auc), 11.0, outcome_mark(retrain.outcome)[1], 5.0))
    return svg(frame, f"gain {_gain_words(gain)}", "forest", *parts)


def _outcome(retrain: Retrain) -> Html:
    shape, css = outcome_mark(retrain.outcome)
    when = "" if retrain.decided is None else f" {minute(retrain.decided)}"
    return tag("span", _sign(shape, css), tag("b", text(retrain.outcome)), text(when), class_="key")


def _folded(table: Html, rows: int, what: str) -> Html:
    if rows <= _OPEN_ROWS:
        return table
    return tag("details", tag("summary", text(f"All {rows} {what}")), table)


def _table(
    head: Sequence[str],
    rows: Iterable[Sequence[Html]],
    *,
    numeric: Sequence[int] | None = None,
    css: str = "",
) -> Html:
    """Build a table that scrolls in itself; by default all but the first column align right."""
    right = range(1, len(head)) if numeric is None else numeric
    align = ["num" if index in right else None for index in range(len(head))]
    heads = [
        tag("th", text(name), scope="col", class_=css)
        for name, css in zip(head, align, strict=True)
    ]
    body = [
        tag("tr", *(tag("td", cell, class_=css) for cell, css in zip(row, align, strict=True)))
        for row in rows
    ]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_=css or None)
    return tag("div", table, class_="scroll", tabindex=0)

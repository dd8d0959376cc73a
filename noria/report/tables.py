"""The page's tiles and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from noria.report.figures import Gain, Metric, Report, Retrain, Stretch
from noria.report.markup import Html, join, tag, text
from noria.report.plot import Frame, event, outcome_mark, svg
from noria.report.svg import Scale
from noria.report.words import (
    aim_value,
    aim_verdict,
    count,
    minute,
    number,
    signed,
    took,
)

_OPEN_ROWS: Final = 12
_TILES: Final = 3
_BAR: Final = 1.25  # The bar ends at a share of 125 %.


def tiles(report: Report) -> Html:
    """The headline numbers."""
    monthly = next((one.retrains for one in report.predictors if one.key == "monthly"), None)
    return tag(
        "div",
        *(
            _tile(metric.title, number(report.value("loop", metric.key)), _versus(report, metric),
                  _rest(report, metric))
            for metric in report.metrics[:_TILES]
        ),
        _tile("Retrains", str(report.predictors[0].retrains), Html(""),
              text("" if monthly is None else f"the monthly schedule: {monthly}")),
        _tile("Drifts noticed", str(len(report.drifts)), Html(""), text(_detectors(report))),
        _tile("Rows answered", count(report.rows), Html(""),
              text(f"replayed in {took(report.seconds)}")),
        class_="tiles",
    )  # fmt: skip


def gain_bar(report: Report) -> Html:
    """Where the loop landed between never retraining and retraining every month."""
    if report.share is None:
        return tag("p", text(report.no_share), class_="quiet")
    place = min(max(report.share, 0.0), _BAR) / _BAR * 100
    aim, said = [], f"{report.metrics[0].title} over all rows."
    if report.share_aim is not None:
        aim = [tag("div", class_="stop aim", style=f"left:{report.share_aim / _BAR:.2%}")]
        said += (
            f" The dotted line is the aim: {100 * report.share_aim:.0f} % of the monthly"
            " retrain's gain."
        )
    return tag(
        "div",
        tag("div", tag("span", text(f"loop {number(report.value('loop'))}"), class_="at",
                       style=f"left:{place:.2f}%"), class_="above"),
        tag(
            "div",
            tag("div", class_="fill", style=f"width:{place:.2f}%"),
            tag("div", class_="stop", style=f"left:{1 / _BAR:.2%}"),
            *aim,
            tag("div", class_="here", style=f"left:{place:.2f}%"),
            class_="track",
        ),
        tag(
            "div",
            tag("span", text(f"frozen {number(report.value('frozen'))}"), style="left:0"),
            tag("span", text(f"monthly {number(report.value('monthly'))}"), class_="at",
                style=f"left:{1 / _BAR:.2%}"),
            class_="ends",
        ),
        tag("p", text(said), class_="quiet small"),
        class_="gain",
    )  # fmt: skip


def aims_table(report: Report) -> Html:
    """Each aim, set before the run, beside what came out."""
    rows = [
        (
            text(aim.name),
            text(aim.target.replace("-", "−")),
            tag("strong", text(aim_value(aim))),
            tag("span", text(aim_verdict(aim)), class_=f"badge {_badge(aim.met)}"),
        )
        for aim in report.aims
    ]
    return _table(("Aim", "Target", "Result", ""), rows, numeric=(2,), css="aims")


def predictor_table(report: Report) -> Html:
    """The predictors over all rows, with what each cost."""
    costs = any(one.seconds is not None for one in report.predictors)
    rows = [
        (
            tag("span", _swatch(one.key), text(one.name), class_="key"),
            *(text(number(report.value(one.key, m.key), 4)) for m in report.metrics),
            text("–" if one.retrains is None else one.retrains),
            *([text("–" if one.seconds is None else f"{one.seconds:.0f} s")] if costs else []),
        )
        for one in report.predictors
    ]
    head = ["Predictor", *(metric.title for metric in report.metrics), "Retrains"]
    return _table([*head, "Fits took"] if costs else head, rows)


def month_table(report: Report) -> Html:
    """The first metric by month for each, and the loop's lead over the frozen model."""
    first, others = report.metrics[0], report.metrics[1:]
    leads = [_lead_of(month, first) for month in report.months]
    largest = max((abs(value) for value in leads if value is not None), default=1.0) or 1.0
    best_of = max if first.greater_is_better else min
    rows = []
    for month, lead in zip(report.months, leads, strict=True):
        values = [month.values[first.key][one.key] for one in report.predictors]
        best = best_of((v for v in values if v is not None), default=None)
        rows.append(
            (
                text(month.name),
                text(count(month.rows)),
                *(_best(value, best) for value in values),
                _lead(lead, largest),
                *(text(number(month.values[metric.key]["loop"])) for metric in others),
            )
        )
    head = (
        report.period.capitalize(), "Rows",
        *(f"{first.title} {one.short}" for one in report.predictors),
        "Loop against frozen", *(f"{metric.title} loop" for metric in others),
    )  # fmt: skip
    return _table(head, rows)


def _lead_of(month: Stretch, metric: Metric) -> float | None:
    loop, frozen = (month.values[metric.key][name] for name in ("loop", "frozen"))
    if loop is None or frozen is None:
        return None
    return loop - frozen if metric.greater_is_better else frozen - loop


def drift_table(report: Report) -> Html:
    """When each drift was noticed, and in what."""
    rows = [
        (
            text(minute(drift.at)),
            text(drift.detector),
            join(*(tag("span", text(name), class_="chip") for name in drift.features)) or text("–"),
            tag("code", text(drift.signal)),
        )
        for drift in report.drifts
    ]
    if not rows:
        return tag("p", text("No drift was noticed in this run."), class_="quiet")
    table = _table(("Noticed", "Detector", "Top features", "Signal"), rows, numeric=())
    return _folded(table, len(rows), "drifts")


def retrain_table(report: Report) -> Html:
    """What started each run, what its candidate gained on held-out rows, and its fate."""
    if not report.retrains:
        return tag("p", text("The loop retrained nothing in this run."), class_="quiet")
    gains = [retrain.gain for retrain in report.retrains if retrain.gain is not None]
    ends = [
        value for gain in gains for value in (gain.value, gain.low, gain.high) if value is not None
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
        for retrain in report.retrains
    ]
    head = ("Started", "Version", "Gain", "", "Outcome", "Because of", "Run")
    return _folded(_table(head, rows, numeric=(2,)), len(rows), "runs")


def _detectors(report: Report) -> str:
    names = {drift.detector for drift in report.drifts}
    return f"by {len(names)} detector{'' if len(names) == 1 else 's'}"


def _tile(name: str, value: str, change: Html, rest: Html) -> Html:
    return tag(
        "div",
        tag("div", text(name), class_="what"),
        tag("div", text(value), change, class_="value"),
        tag("div", rest, class_="rest"),
        class_="tile",
    )


def _versus(report: Report, metric: Metric) -> Html:
    value, frozen = (report.value(name, metric.key) for name in ("loop", "frozen"))
    if value is None or frozen is None:
        return Html("")
    difference = value - frozen
    better = difference if metric.greater_is_better else -difference
    css = "good" if better > 0 else "bad" if better < 0 else ""
    return tag("span", text(signed(difference)), class_=f"change {css}")


def _rest(report: Report, metric: Metric) -> Html:
    return join(
        *(
            tag("span", tag("i", class_=f"pip {one.key}"),
                text(f"{one.short} {number(report.value(one.key, metric.key))}"))
            for one in report.predictors[1:]
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


def legend(report: Report) -> Html:
    """The key of the weekly plots: lines and marks."""
    lines = [
        tag("span", _swatch(one.key), text(one.name), class_="key") for one in report.predictors
    ]
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
    drawn = event(shape, 6.0, 6.0, css, 4.5)
    return tag("svg", drawn, class_="sign", viewBox="0 0 12 12", aria_hidden="true")


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
        return signed(gain.value)
    return f"{signed(gain.value)} [{signed(gain.low)}, {signed(gain.high)}]"


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
    parts.append(event("dot", scale(gain.value), 11.0, outcome_mark(retrain.outcome)[1], 5.0))
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

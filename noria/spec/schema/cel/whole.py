"""Rules between sections: what fits the task family, and what needs another section."""

from __future__ import annotations

from collections.abc import Iterator

from noria.spec.data import SOURCE_KINDS
from noria.spec.metrics import SERVING_METRICS
from noria.spec.rules.data import FAMILY_SOURCES, NEEDS_TARGET, READS_COLUMNS
from noria.spec.rules.monitoring import CLASSIFIERS
from noria.spec.rules.train import STACKS
from noria.spec.schema.cel.rule import FAMILY, Rule, all_fit, by_family, fits, listed, table, text
from noria.spec.train import FAMILY_ALGORITHMS


def spec() -> Iterator[Rule]:
    """What the task family can read, train and measure, and what spans sections."""
    sources = f"{table(FAMILY_SOURCES)}[{FAMILY}]"
    given = " : ".join(f"has(self.data.source.{k}) ? {text(k)}" for k in SOURCE_KINDS) + " : ''"
    yield Rule(
        f"({given}) == '' || ({given}) in {sources}",
        "this task family can't read this source",
        f"{FAMILY} + ' can\\'t read ' + ({given}) + '; ' + {by_family(FAMILY_SOURCES)}",
    )
    yield Rule(
        f"!({FAMILY} in {listed(sorted(READS_COLUMNS))}) || "
        "self.data.?features.orValue([]).size() + self.data.?timeFeatures.orValue([]).size() > 0",
        "features is empty, and this task family reads columns",
        f"'is empty, and ' + {FAMILY} + ' reads columns; list the columns, such as "
        "{name: distance, type: numeric}'",
        ".data.features",
    )
    yield Rule(
        f"!({FAMILY} in {listed(sorted(NEEDS_TARGET))}) || has(self.data.target)",
        "target is missing, and this task family learns from a target",
        f"'is missing, and ' + {FAMILY} + ' learns from a target; name the column to predict'",
        ".data.target",
    )
    yield Rule(
        f"{FAMILY} != 'forecasting' || has(self.data.eventTime)",
        "is missing, and forecasting is about time; name the column",
        field=".data.eventTime",
    )
    yield from _train_of_the_family()
    yield all_fit("gates.bounds")
    yield all_fit("gates.champion")
    yield all_fit("serving.canary.analysis", SERVING_METRICS)
    yield all_fit("monitoring.performance.metrics", item="m")
    yield fits(
        "has(self.monitoring) && has(self.monitoring.performance) && "
        "has(self.monitoring.performance.drop) && has(self.monitoring.performance.drop.metric)",
        "self.monitoring.performance.drop.metric",
    )
    yield from _the_loop()


def _train_of_the_family() -> Iterator[Rule]:
    known = f"{table(FAMILY_ALGORITHMS)}[{FAMILY}]"
    can_not = f"' can\\'t do ' + {FAMILY} + '; ' + {by_family(FAMILY_ALGORITHMS)}"
    yield Rule(
        f"!has(self.train) || !has(self.train.algorithm) || self.train.algorithm in {known}",
        "the algorithm is not one of this task family",
        f"self.train.algorithm + {can_not}",
    )
    stacks = "self.?train.?ensemble.?kind.orValue('none') == 'stacking'"
    yield Rule(
        f"!({stacks}) || {FAMILY} in {listed(sorted(STACKS))}",
        "this task family can't stack; write none",
        f"{FAMILY} + ' can\\'t stack; write none'",
    )
    members = f"self.?train.?ensemble.?members.orValue([]).filter(m, !(m in {known}))"
    yield Rule(
        f"!({stacks}) || {members}.size() == 0",
        "a member is not one of this task family",
        f"{members}[0] + {can_not}",
    )
    yield fits(
        "has(self.train) && has(self.train.search) && has(self.train.search.metric)",
        "self.train.search.metric",
    )
    folds = "self.?train.?crossValidation.?kind.orValue('')"
    split = "self.data.?split.?kind.orValue('')"
    yield Rule(
        f"{folds} != 'temporal' || {split} == 'temporal' || has(self.data.eventTime)",
        "temporal needs an eventTime; give spec.data.eventTime, or choose stratified",
    )
    yield Rule(
        f"{folds} != 'group' || {split} == 'group' || "
        "(has(self.data.split) && has(self.data.split.groupKey))",
        "group needs a groupKey; give spec.data.split.kind group and its groupKey",
    )


def _the_loop() -> Iterator[Rule]:
    signals = "self.?retraining.?signals.orValue([])"
    yield Rule(
        f"!('drift' in {signals}) || !has(self.monitoring) || !has(self.monitoring.detectors) || "
        "self.monitoring.detectors.size() > 0",
        "drift never comes: spec.monitoring.detectors is empty; give monitoring.detectors, or "
        "remove drift",
    )
    yield Rule(
        "self.?retraining.?trainOn.?kind.orValue('all') != 'window' || has(self.data.eventTime)",
        "window needs an eventTime; give spec.data.eventTime, or choose all",
    )
    detectors = "self.?monitoring.?detectors.orValue([])"
    log = "self.?serving.?payloadLog"
    yield Rule(
        f"{log}.?sample.orValue(1.0) > 0.0 || {detectors}.size() == 0",
        "0 logs nothing, and detectors watch the log; write a share over 0, or "
        "monitoring.detectors: []",
        f"'0 logs nothing, and ' + string({detectors}.size()) + ' detectors watch the log; write "
        "a share over 0, or monitoring.detectors: []'",
    )
    unsure = f"{detectors}.exists(d, d.kind == 'model-uncertainty')"
    yield Rule(
        f"!{unsure} || {FAMILY} in {listed(sorted(CLASSIFIERS))}",
        "model-uncertainty is of a classifier; watch the prediction with ks",
        f"'model-uncertainty is of a classifier, and this is ' + {FAMILY} + '; watch the "
        "prediction with ks'",
    )
    watched = (
        "(has(self.serving) && has(self.serving.payloadLog) && has(self.serving.payloadLog.redact)"
        " && has(self.monitoring) && has(self.monitoring.detectors) ? "
        "self.serving.payloadLog.redact.filter(c, "
        "self.monitoring.detectors.exists(d, has(d.columns) && c in d.columns)) : [])"
    )
    calendar = (
        "(has(self.data.timeFeatures) && has(self.monitoring) && has(self.monitoring.detectors) ? "
        "self.data.timeFeatures.filter(c, "
        "self.monitoring.detectors.exists(d, has(d.columns) && c in d.columns)) : [])"
    )
    drifts = " is derived from the event time, and a calendar always drifts; remove it"
    yield Rule(
        f"{calendar}.size() == 0", f"a watched column{drifts}", f"{calendar}[0] + {text(drifts)}"
    )
    data = "self.data.?features.orValue([])"
    unsent = (
        "(has(self.serving) && has(self.serving.payloadLog) && has(self.serving.payloadLog.redact)"
        f" && {data}.size() > 0 ? self.serving.payloadLog.redact.filter(c, "
        f"!{data}.exists(f, f.name == c) && c != self.data.?eventTime.orValue('') && "
        "!(c in self.data.?entityKey.orValue([])) && !(c in self.data.?joinKeys.orValue([]))) : [])"
    )
    yield Rule(
        f"{unsent}.size() == 0",
        "a redacted column is in no request",
        f"{unsent}[0] + ' is in no request'",
    )
    about = " is redacted by serving.payloadLog.redact; remove it from one of them"
    yield Rule(
        f"{watched}.size() == 0", f"a watched column{about}", f"{watched}[0] + {text(about)}"
    )

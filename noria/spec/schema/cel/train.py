"""Rules of ``spec.train`` and ``spec.gates``."""

from __future__ import annotations

from collections.abc import Iterator

from noria.spec.metrics import METRICS
from noria.spec.schema.cel.rule import Rule, listed, milliseconds, once
from noria.spec.train import DISTRIBUTED


def search() -> Iterator[Rule]:
    """A search has a space; a grid has choices."""
    yield Rule(
        "self.?kind.orValue('none') == 'none' || self.?space.orValue({}).size() > 0",
        "is empty, and a search needs a space",
        "'is empty, and kind is ' + self.kind + '; name what to search, such as "
        "learning_rate: {low: 0.01, high: 0.3}'",
        ".space",
    )
    yield Rule(
        "self.?kind.orValue('none') != 'grid' || "
        "!has(self.space) || self.space.all(name, !has(self.space[name].low))",
        "has no choices, and a grid tries all; give choices: [...]",
    )


def space() -> Iterator[Rule]:
    """A range has two ends, the right way round."""
    # CEL doesn't see choices, whose items have no type.
    yield Rule(
        "has(self.low) == has(self.high)",
        "is missing; give low and high, or choices",
        "(has(self.low) ? 'high' : 'low') + ' is missing; give low and high, or choices'",
    )
    yield Rule(
        "!has(self.low) || !has(self.high) || self.low < self.high",
        "high is not over low; write low under high",
        "string(self.high) + ' is not over low, ' + string(self.low) + '; write low under high'",
    )
    yield Rule(
        "!self.?log.orValue(false) || !has(self.low) || self.low > 0.0",
        "low has no logarithm; write a low over 0, or log: false",
        "string(self.low) + ' has no logarithm; write a low over 0, or log: false'",
    )


def train() -> Iterator[Rule]:
    """The search ends before its step; nodes are for what distributes."""
    yield Rule(
        "!has(self.search) || !has(self.compute) || self.search.?kind.orValue('none') == 'none' || "
        "!has(self.search.timeout) || !has(self.compute.timeout) || "
        f"{milliseconds('self.search.timeout')} <= {milliseconds('self.compute.timeout')}",
        "search.timeout is longer than compute.timeout, which stops the step; raise "
        "compute.timeout",
        "self.search.timeout + ' is longer than compute.timeout, ' + self.compute.timeout + "
        "', which stops the step; raise compute.timeout'",
    )
    nodes = "self.?compute.?nodes.orValue(1)"
    yield Rule(
        f"{nodes} == 1 || !has(self.algorithm) || self.algorithm in {listed(sorted(DISTRIBUTED))}",
        "the algorithm trains on one node; write 1, and raise cpu and memory instead",
        f"string({nodes}) + ' nodes, and ' + self.algorithm + ' trains on one; write 1, and "
        "raise cpu and memory instead'",
    )


def ensemble() -> Iterator[Rule]:
    """Stacking has two members or more, each once."""
    members = "self.?members.orValue([])"
    kind = "self.?kind.orValue('none')"
    yield Rule(
        f"{kind} != 'none' || {members}.size() == 0",
        "is not used by kind none; choose kind stacking, or remove it",
        field=".members",
    )
    yield Rule(
        f"{kind} != 'stacking' || {members}.size() > 1",
        "stacking needs 2; name two algorithms or more, such as [lightgbm, linear]",
        f"'has ' + string({members}.size()) + ' algorithms, and stacking needs 2; name two "
        "algorithms or more, such as [lightgbm, linear]'",
        ".members",
    )
    yield once("self.members")


def gpu() -> Iterator[Rule]:
    """A GPU's name goes with a count."""
    yield Rule(
        "self.?product.orValue('') == '' || self.?count.orValue(0) > 0",
        "a product without a count; write how many, or remove product",
        "'0 of ' + self.product + '; write how many, or remove product'",
    )


def bound() -> Iterator[Rule]:
    """A bound has limits that the metric can reach."""
    yield Rule(
        "has(self.min) || has(self.max)",
        "has no limit; give min, max or both",
        "self.metric + ' has no limit; give min, max or both'",
    )
    yield Rule(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min is over max; swap them",
        "string(self.min) + ' is over max, ' + string(self.max) + '; swap them'",
    )
    shares = listed(name for name, metric in METRICS.items() if metric.unit == "share")
    for key in ("min", "max"):
        yield Rule(
            f"!has(self.{key}) || !(self.metric in {shares}) || self.{key} <= 1.0",
            f"{key} is over 1, the most that this metric can be; write at most 1",
            f"string(self.{key}) + ' is over 1, the most that ' + self.metric + ' can be; write "
            f"at most 1' + (self.{key} <= 100.0 ? ', such as ' + string(self.{key} / 100.0) : '')",
        )


def champion() -> Iterator[Rule]:
    """A drop is less than the metric's whole range."""
    wide = [n for n, m in METRICS.items() if m.low == 0 and m.high == 1]
    drop = "self.?maxDrop.orValue(0.0)"
    yield Rule(
        f"!(self.metric in {listed(wide)}) || ({drop} < 1.0 && {drop} > -1.0)",
        "maxDrop is the whole range of the metric; write less than 1, such as 0.02",
        f"string({drop}) + ' is the whole range of ' + self.metric + '; write less than 1, such "
        "as 0.02'",
    )


def gates() -> Iterator[Rule]:
    """There is a gate."""
    yield Rule(
        "!has(self.bounds) || !has(self.champion) || self.bounds.size() + self.champion.size() > 0",
        "asks nothing of a candidate, so any would take traffic; give bounds or champion",
    )

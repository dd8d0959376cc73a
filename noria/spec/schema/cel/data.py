"""Rules of ``spec.data``."""

from __future__ import annotations

from collections.abc import Iterator

from noria.spec.data import SOURCE_KINDS
from noria.spec.schema.cel.rule import Rule, milliseconds, once, text


def sources() -> Iterator[Rule]:
    """Exactly one source."""
    given = f"[{', '.join(f'has(self.{kind})' for kind in SOURCE_KINDS)}].filter(g, g)"
    names = " + ".join(f"(has(self.{kind}) ? [{text(kind)}] : [])" for kind in SOURCE_KINDS)
    yield Rule(
        f"{given}.size() == 1",
        "exactly one source must be given",
        f"{given}.size() == 0 ? 'names no source; give one of {', '.join(SOURCE_KINDS)}' : "
        f"'names ' + string({given}.size()) + ' sources: ' + ({names}).join(', ') + '; keep one'",
    )


def data() -> Iterator[Rule]:
    """Columns that are named twice, or that say what is not known when predicting."""
    some = "self.timeFeatures.size() > 0"
    names = (
        "(self.timeFeatures.size() < 4 ? self.timeFeatures.join(', ') : "
        "self.timeFeatures[0] + ', ' + self.timeFeatures[1] + ', ' + self.timeFeatures[2] + "
        "' and ' + string(self.timeFeatures.size() - 3) + ' more')"
    )
    fix = " can't be derived without an eventTime; give eventTime, or remove timeFeatures"
    yield Rule(
        f"!has(self.timeFeatures) || !({some}) || has(self.eventTime)",
        "timeFeatures need an eventTime; give eventTime, or remove timeFeatures",
        f"{names} + {text(fix)}",
    )
    yield Rule(
        "!has(self.labelTime) || has(self.eventTime)",
        "labelTime needs an eventTime; give eventTime, or remove labelTime",
        "self.labelTime + ' is given without an eventTime; give eventTime, or remove labelTime'",
    )
    yield Rule(
        "!has(self.labelTime) || !has(self.eventTime) || self.labelTime != self.eventTime",
        "labelTime is also the eventTime",
        "self.labelTime + ' is also the eventTime; name the column of when the label became "
        "known, or remove labelTime'",
    )
    for key in ("eventTime", "labelTime"):
        yield Rule(
            f"!has(self.{key}) || !has(self.target) || self.{key} != self.target",
            f"{key} is the target; name another column",
            f"self.{key} + ' is the target; name another column'",
        )
    yield from _features()
    yield from _keys()
    yield Rule(
        "!has(self.split) || self.split.?kind.orValue('') != 'temporal' || has(self.eventTime)",
        "temporal needs an eventTime; give spec.data.eventTime, or choose stratified",
    )


def _features() -> Iterator[Rule]:
    features = "self.?features.orValue([])"
    for column, about in (
        ("target", "the target; remove it from the features"),
        (
            "labelTime",
            "the labelTime, which is not known when predicting; remove it from the features",
        ),
        ("eventTime", "the eventTime; use timeFeatures instead"),
    ):
        yield Rule(
            f"!has(self.{column}) || {features}.all(f, f.name != self.{column})",
            f"a feature is {about}",
            f"self.{column} + ' is {about}'",
        )
    for keys, about in (
        (
            "entityKey",
            (
                "in entityKey, which identifies a row and says nothing about the next; "
                "remove it from one of them"
            ),
        ),
        ("timeFeatures", "also one of timeFeatures; rename the column"),
    ):
        wrong = f"self.?{keys}.orValue([]).filter(k, {features}.exists(f, f.name == k))"
        yield Rule(f"{wrong}.size() == 0", f"a feature is {about}", f"{wrong}[0] + ' is {about}'")
    looked_up = f"{features}.filter(f, f.?from.orValue('') == 'feast')"
    yield Rule(
        f"{looked_up}.size() == 0 || has(self.source.feast)",
        "a feature is looked up, but the source is not feast; give source.feast, or remove from",
    )
    for lacks, message, fix in (
        (
            "self.?joinKeys.orValue([]).size() == 0",
            "must be looked up",
            "name the columns of the Feast entity",
        ),
        (
            "!has(self.eventTime)",
            "must be joined point in time",
            "name the column of the prediction's moment",
        ),
    ):
        what = "is empty" if "joinKeys" in lacks else "is missing"
        yield Rule(
            f"{looked_up}.size() == 0 || !has(self.source.feast) || !({lacks})",
            f"{what}, and a feature {message}; {fix}",
        )


def _keys() -> Iterator[Rule]:
    for key in ("timeFeatures", "entityKey", "joinKeys"):
        yield once(f"self.{key}")
    features = "self.?features.orValue([])"
    itself = (
        "self.?joinKeys.orValue([]).filter(k, "
        f"{features}.exists(f, f.name == k && f.?from.orValue('') == 'feast'))"
    )
    yield Rule(
        f"{itself}.size() == 0",
        "a join key is itself looked up; let the client send it: remove its from: feast",
        f"{itself}[0] + ' is itself looked up; let the client send it: remove its from: feast'",
    )
    for key, column, fix in (
        ("joinKeys", "target", "join by another column"),
        ("entityKey", "target", "identify a row by what its request holds"),
        ("entityKey", "labelTime", "identify a row by what its request holds"),
    ):
        about = f" is the {column}, which is not known when predicting; {fix}"
        yield Rule(
            f"!has(self.{column}) || !(self.{column} in self.?{key}.orValue([]))",
            f"one of {key}{about}",
            f"self.{column} + {text(about)}",
        )


def split() -> Iterator[Rule]:
    """What each kind of split needs and leaves unused."""
    kind = "self.?kind.orValue('')"
    yield Rule(
        f"{kind} != 'group' || has(self.groupKey)",
        "is missing, and kind is group; name the column whose values stay together",
        field=".groupKey",
    )
    yield Rule(
        f"!has(self.groupKey) || {kind} in ['', 'group']",
        "groupKey is used by kind group only",
        "self.groupKey + ' is not used by kind ' + self.kind + '; choose kind group, or remove "
        "groupKey'",
    )
    yield Rule(
        f"!has(self.gap) || {milliseconds('self.gap')} == 0 || {kind} in ['', 'temporal']",
        "gap is used by kind temporal only",
        "self.gap + ' is not used by kind ' + self.kind + '; choose kind temporal, or remove gap'",
    )


def limits_of_range() -> Iterator[Rule]:
    """A range has limits, the right way round."""
    yield Rule("has(self.min) || has(self.max)", "has no limit; give min, max or both")
    yield Rule(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min is over max; swap them",
        "'min ' + string(self.min) + ' is over max ' + string(self.max) + '; swap them'",
    )

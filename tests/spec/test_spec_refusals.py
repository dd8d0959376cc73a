"""Every mistake is refused with its path, its value and its fix; the messages are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from noria.errors import SpecError
from noria.spec import parse_model

NAN = float("nan")
GONE = "(this key is taken away)"

# What goes wrong, the changes to a sound resource, and all that is said.
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "an unknown section",
        {"trian": {}},
        ["spec.trian: is an unknown key, with the value {}; did you mean train?"],
    ),
    (
        "an unknown key far from any other",
        {"train.zzz": 1},
        [
            "spec.train.zzz: is an unknown key, with the value 1; choose one of algorithm, hyperparameters, search, crossValidation, ensemble, seed, refit, compute"
        ],
    ),
    (
        "a snake_case key",
        {"data.entity_key": ["a"]},
        ["spec.data.entity_key: is an unknown key, with the value ['a']; did you mean entityKey?"],
    ),
    (
        "a misspelt key in a list",
        {"data.features.0.tpye": "numeric"},
        [
            "spec.data.features[0].tpye: is an unknown key, with the value 'numeric'; did you mean type?"
        ],
    ),
    (
        "an option of another family",
        {"task.options": {"chunkTokens": 5}},
        [
            "spec.task.options.chunkTokens: is an unknown key, with the value 5; choose one of classWeights, calibration, positiveClass"
        ],
    ),
    (
        "a detector key of another section",
        {"monitoring.detectors.0.column": []},
        [
            "spec.monitoring.detectors[0].column: is an unknown key, with the value []; did you mean columns?"
        ],
    ),
    (
        "a number as text",
        {"serving.replicas": "2"},
        ["spec.serving.replicas: '2' is text; write a whole number"],
    ),
    (
        "a truth as text",
        {"train.refit": "yes"},
        ["spec.train.refit: 'yes' is text; write true or false"],
    ),
    (
        "a truth as number",
        {"train.seed": True},
        ["spec.train.seed: true is true or false; write a whole number"],
    ),
    (
        "a fraction for a whole number",
        {"serving.canary.minSamples": 1.5},
        ["spec.serving.canary.minSamples: 1.5 is a number; write a whole number"],
    ),
    (
        "a text for a list",
        {"data.entityKey": "flight_id"},
        ["spec.data.entityKey: 'flight_id' is text; write a list: [a, b]"],
    ),
    (
        "a list for a section",
        {"serving.canary": [10, 50]},
        ["spec.serving.canary: [10, 50] is a list; write a mapping: {key: value}"],
    ),
    (
        "a number for a column",
        {"data.target": 7},
        ["spec.data.target: 7 is a whole number; write text, in quotes"],
    ),
    (
        "an empty section",
        {"serving": None},
        ["spec.serving: is empty; write a mapping: {key: value}, or remove the key"],
    ),
    (
        "an empty list key",
        {"data.features": None},
        ["spec.data.features: is empty; write a list: [a, b], or remove the key"],
    ),
    (
        "a list as hyperparameter",
        {"train.hyperparameters": {"x": [1]}},
        [
            "spec.train.hyperparameters.x: [1] is not a single value; write a number, a text, true or false"
        ],
    ),
    (
        "not a number",
        {"gates.bounds.0.min": NAN},
        ["spec.gates.bounds[0].min: nan is not a finite number; write a finite number"],
    ),
    (
        "a column with a blank end",
        {"data.target": "late "},
        [
            "spec.data.target: 'late ' is not a column name; write the column's name without spaces around it or control characters"
        ],
    ),
    (
        "a misspelt algorithm",
        {"train.algorithm": "ligthgbm"},
        ["spec.train.algorithm: 'ligthgbm' is not allowed; did you mean lightgbm?"],
    ),
    (
        "an unknown algorithm",
        {"train.algorithm": "svm"},
        [
            "spec.train.algorithm: 'svm' is not allowed; choose one of linear, hist-gradient-boosting, lightgbm, xgboost, seasonal-naive, exponential-smoothing, kmeans, hdbscan, isolation-forest, fine-tune, lora, retrieval, tool-calling"
        ],
    ),
    (
        "an unknown family",
        {"task.family": "regresion"},
        [
            "spec.task.family: 'regresion' is not a task family; choose one of tabular-classification, tabular-regression, forecasting, clustering, anomaly-detection, image-classification, text-classification, token-classification, llm-finetuning, rag, agent"
        ],
    ),
    (
        "no family",
        {"task": {}},
        [
            "spec.task.family: is missing; choose one of tabular-classification, tabular-regression, forecasting, clustering, anomaly-detection, image-classification, text-classification, token-classification, llm-finetuning, rag, agent"
        ],
    ),
    (
        "a misspelt family",
        {"task.family": "tabular-clasification"},
        [
            "spec.task.family: 'tabular-clasification' is not a task family; did you mean tabular-classification?"
        ],
    ),
    (
        "an unknown protocol",
        {"serving.protocols": ["http"]},
        ["spec.serving.protocols[0]: 'http' is not allowed; choose one of rest, grpc"],
    ),
    (
        "an unknown time feature",
        {"data.timeFeatures": ["week"]},
        [
            "spec.data.timeFeatures[0]: 'week' is not allowed; choose one of minute-of-day, hour-of-day, day-of-week, day-of-year, month"
        ],
    ),
    (
        "an unknown signal",
        {"retraining.on": ["drfit"]},
        ["spec.retraining.on[0]: 'drfit' is not allowed; did you mean drift?"],
    ),
    ("no data", {"data": GONE}, ["spec.data: is missing; add it, with source"]),
    (
        "no source",
        {"data.source": GONE},
        [
            "spec.data.source: is missing; add it, such as source: {parquet: {paths: [data/*.parquet]}}"
        ],
    ),
    (
        "a feature without a type",
        {"data.features.0.type": GONE},
        [
            "spec.data.features[0].type: is missing; choose one of numeric, categorical, boolean, text"
        ],
    ),
    (
        "a feast source without a service",
        {"data.source.feast.service": GONE},
        ["spec.data.source.feast.service: is missing; add it, such as service: flight_delay"],
    ),
    (
        "a growth that is not given",
        {"retraining.newData": {}},
        ["spec.retraining.newData.growth: is missing; add it, such as growth: 0.5"],
    ),
    (
        "a duration without a unit",
        {"retraining.cooldown": 7},
        [
            "spec.retraining.cooldown: 7 has no unit; write a whole number and a unit: 250ms, 30s, 10m, 24h or 7d"
        ],
    ),
    (
        "a duration with an unknown unit",
        {"serving.canary.stepTimeout": "1w"},
        [
            "spec.serving.canary.stepTimeout: '1w' is not a duration; write a whole number and a unit: 250ms, 30s, 10m, 24h or 7d"
        ],
    ),
    (
        "a duration with a sign",
        {"data.split.gap": "-1h"},
        [
            "spec.data.split.gap: '-1h' is not a duration; write a whole number and a unit: 250ms, 30s, 10m, 24h or 7d"
        ],
    ),
    (
        "a compound duration",
        {"train.compute.timeout": "1h30m"},
        [
            "spec.train.compute.timeout: '1h30m' is not a duration; write a whole number and a unit: 250ms, 30s, 10m, 24h or 7d"
        ],
    ),
    (
        "no time at all",
        {"train.compute.timeout": "0s"},
        ["spec.train.compute.timeout: 0s is no time at all; write a duration over zero"],
    ),
    (
        "a duration of a thousand years",
        {"retraining.budget.per": "365000d"},
        ["spec.retraining.budget.per: '365000d' is longer than 100 years; write at most 36500d"],
    ),
    (
        "a size with a wrong unit",
        {"train.compute.memory": "4GB"},
        [
            "spec.train.compute.memory: '4GB' is not a size in bytes; write bytes with a unit: 512Ki, 16Mi or 4Gi"
        ],
    ),
    (
        "a size of nothing",
        {"serving.maxRequestBytes": "0Mi"},
        ["spec.serving.maxRequestBytes: 0 bytes is nothing; write a size over zero"],
    ),
    (
        "a CPU as a number",
        {"train.compute.cpu": 2},
        ['spec.train.compute.cpu: 2 is a number; write CPUs as text: "2", "0.5" or "500m"'],
    ),
    (
        "a CPU with a wrong unit",
        {"serving.resources.cpu": "2 cores"},
        [
            'spec.serving.resources.cpu: \'2 cores\' is not a CPU quantity; write CPUs as text: "2", "0.5" or "500m"'
        ],
    ),
    (
        "no CPU at all",
        {"train.compute.cpu": "0m"},
        [
            'spec.train.compute.cpu: \'0m\' is no CPU at all; write CPUs as text: "2", "0.5" or "500m"'
        ],
    ),
    (
        "a latency without a unit",
        {"serving.canary.analysis.1.max": 250},
        [
            "spec.serving.canary.analysis[1].max: 250 has no unit, and latency-p99 is a time; write a duration, such as 250ms"
        ],
    ),
    (
        "an error rate with a unit",
        {"serving.canary.analysis.0.max": "10ms"},
        [
            "spec.serving.canary.analysis[0].max: '10ms' is not a number, and error-rate has no unit; write a number"
        ],
    ),
    (
        "a share over one",
        {"data.validation.maxMissing": 20},
        ["spec.data.validation.maxMissing: 20 is too large; write at most 1"],
    ),
    (
        "a test fraction of one",
        {"data.split.testFraction": 1.0},
        ["spec.data.split.testFraction: 1.0 is too large; write less than 1"],
    ),
    (
        "a window of few rows",
        {"monitoring.window.rows": 99},
        ["spec.monitoring.window.rows: 99 is too small; write at least 100"],
    ),
    (
        "a confidence of a half",
        {"gates.champion.0.confidence": 0.5},
        ["spec.gates.champion[0].confidence: 0.5 is too small; write more than 0.5"],
    ),
    (
        "a certain confidence",
        {"monitoring.performance.drop.confidence": 1.0},
        ["spec.monitoring.performance.drop.confidence: 1.0 is too large; write less than 1"],
    ),
    (
        "a canary step of 100",
        {"serving.canary.steps": [10, 100]},
        ["spec.serving.canary.steps[1]: 100 is too large; write at most 99"],
    ),
    (
        "a canary step of nothing",
        {"serving.canary.steps": [0, 10]},
        ["spec.serving.canary.steps[0]: 0 is too small; write at least 1"],
    ),
    (
        "no canary steps",
        {"serving.canary.steps": []},
        ["spec.serving.canary.steps: [] is too short; give at least 1"],
    ),
    (
        "one fold",
        {"train.crossValidation.folds": 1},
        ["spec.train.crossValidation.folds: 1 is too small; write at least 2"],
    ),
    (
        "falling steps",
        {"serving.canary.steps": [10, 50, 20]},
        ["spec.serving.canary.steps[2]: 20 comes after 50; steps must rise"],
    ),
    (
        "equal steps",
        {"serving.canary.steps": [10, 10]},
        ["spec.serving.canary.steps[1]: 10 comes after 10; steps must rise"],
    ),
    (
        "a sticky shadow",
        {"serving.shadow.percent": 10, "serving.canary.sticky": True},
        [
            "spec.serving.shadow.percent: 10 together with canary.sticky; a mirrored request has no client to stay with; write 0, or sticky: false"
        ],
    ),
    (
        "a check without a limit",
        {"serving.canary.analysis": [{"metric": "auc"}]},
        ["spec.serving.canary.analysis[0]: auc has no limit; give max, min or maxDrop"],
    ),
    (
        "a check of a wrong metric",
        {"serving.canary.analysis": [{"metric": "rmse", "max": 3}]},
        [
            "spec.serving.canary.analysis[0].metric: rmse is not a metric of tabular-classification; choose one of error-rate, latency-p50, latency-p99, auc, average-precision, log-loss, brier, accuracy, f1"
        ],
    ),
    (
        "a check of a misspelt metric",
        {"serving.canary.analysis": [{"metric": "latency_p99", "max": 0.1}]},
        [
            "spec.serving.canary.analysis[0].metric: 'latency_p99' is not a metric; did you mean latency-p99?"
        ],
    ),
    (
        "a check twice",
        {
            "serving.canary.analysis": [
                {"metric": "auc", "min": 0.5},
                {"metric": "auc", "maxDrop": 0.1},
            ]
        },
        ["spec.serving.canary.analysis[1].metric: auc is there twice; put its limits in one check"],
    ),
    (
        "a negative drop",
        {"serving.canary.analysis": [{"metric": "auc", "maxDrop": -0.1}]},
        [
            "spec.serving.canary.analysis[0].maxDrop: -0.1 asks the candidate to gain; write 0 or more; a gain is asked for in spec.gates.champion"
        ],
    ),
    (
        "an error rate in percent",
        {"serving.canary.analysis": [{"metric": "error-rate", "max": 5}]},
        [
            "spec.serving.canary.analysis[0].max: 5 is over 1, the most that error-rate can be; write at most 1, such as 0.05"
        ],
    ),
    (
        "a latency under the batching delay",
        {"serving.batching.maxDelay": "300ms"},
        [
            "spec.serving.canary.analysis[1].max: 250ms is not over batching.maxDelay, 300ms; raise it, or lower maxDelay"
        ],
    ),
    (
        "a redacted column that is not sent",
        {"serving.payloadLog.redact": ["carier"]},
        ["spec.serving.payloadLog.redact[0]: carier is in no request; did you mean carrier?"],
    ),
    (
        "a log of nothing",
        {"serving.payloadLog.sample": 0.0},
        [
            "spec.serving.payloadLog.sample: 0 logs nothing, and 2 detectors watch the log; write a share over 0, or monitoring.detectors: []"
        ],
    ),
    (
        "a protocol twice",
        {"serving.protocols": ["rest", "rest"]},
        ["spec.serving.protocols[1]: rest is there twice; keep one of them"],
    ),
    (
        "two sources",
        {"data.source.csv": {"paths": ["a.csv"]}},
        ["spec.data.source: names 2 sources: feast, csv; keep one"],
    ),
    (
        "an empty source",
        {"data.source": {}},
        [
            "spec.data.source: names no source; give one of feast, parquet, csv, images, text, documents",
            "spec.data.features[3].from: temp is looked up, but the source is not feast; give source.feast, or remove from",
        ],
    ),
    (
        "images for columns",
        {
            "data.source": {"images": {"folder": "i"}},
            "data.features": [{"name": "a", "type": "numeric"}],
        },
        [
            "spec.data.source.images: tabular-classification can't read images; choose one of feast, parquet, csv"
        ],
    ),
    (
        "no features",
        {"data.features": [], "data.timeFeatures": [], "data.validation": {}},
        [
            "spec.data.features: is empty, and tabular-classification reads columns; list the columns, such as {name: distance, type: numeric}"
        ],
    ),
    (
        "no target",
        {"data.target": GONE},
        [
            "spec.data.target: is missing, and tabular-classification learns from a target; name the column to predict"
        ],
    ),
    (
        "the target as a feature",
        {"data.features.0.name": "late"},
        ["spec.data.features[0]: late is the target; remove it from the features"],
    ),
    (
        "the label time as a feature",
        {"data.features.0.name": "landed"},
        [
            "spec.data.features[0]: landed is the labelTime, which is not known when predicting; remove it from the features"
        ],
    ),
    (
        "the event time as a feature",
        {"data.features.0.name": "scheduled"},
        ["spec.data.features[0]: scheduled is the eventTime; use timeFeatures instead"],
    ),
    (
        "the entity key as a feature",
        {"data.features.0.name": "flight_id"},
        [
            "spec.data.features[0]: flight_id is in entityKey, which identifies a row and says nothing about the next; remove it from one of them"
        ],
    ),
    (
        "a feature twice",
        {"data.features.1.name": "carrier", "data.validation": {}},
        ["spec.data.features[1]: carrier is already features[0]; keep one of them"],
    ),
    (
        "a feature named as a time feature",
        {"data.features.0.name": "day-of-week"},
        ["spec.data.features[0]: day-of-week is also one of timeFeatures; rename the column"],
    ),
    (
        "a lookup without feast",
        {"data.source": {"csv": {"paths": ["a.csv"]}}},
        [
            "spec.data.features[3].from: temp is looked up, but the source is not feast; give source.feast, or remove from"
        ],
    ),
    (
        "a lookup without keys",
        {"data.joinKeys": []},
        [
            "spec.data.joinKeys: is empty, and temp must be looked up; name the columns of the Feast entity"
        ],
    ),
    (
        "a lookup without a time",
        {
            "data.eventTime": None,
            "data.labelTime": None,
            "data.timeFeatures": [],
            "data.split": {},
            "train.crossValidation": {},
        },
        [
            "spec.data.eventTime: is missing, and temp must be joined point in time; name the column of the prediction's moment"
        ],
    ),
    (
        "a join key that is looked up",
        {"data.joinKeys": ["temp"]},
        [
            "spec.data.joinKeys[0]: temp is itself looked up; let the client send it: remove its from: feast"
        ],
    ),
    (
        "time features without a time",
        {
            "data.eventTime": None,
            "data.labelTime": None,
            "data.features": [{"name": "a", "type": "numeric"}],
            "data.split": {},
            "train.crossValidation": {},
        },
        [
            "spec.data.timeFeatures: minute-of-day, day-of-week can't be derived without an eventTime; give eventTime, or remove timeFeatures"
        ],
    ),
    (
        "a label time without an event time",
        {
            "data.eventTime": None,
            "data.timeFeatures": [],
            "data.features": [{"name": "a", "type": "numeric"}],
            "data.split": {},
            "train.crossValidation": {},
        },
        [
            "spec.data.labelTime: landed is given without an eventTime; give eventTime, or remove labelTime"
        ],
    ),
    (
        "one column for both times",
        {"data.labelTime": "scheduled"},
        [
            "spec.data.labelTime: scheduled is also the eventTime; name the column of when the label became known, or remove labelTime"
        ],
    ),
    (
        "the target as the event time",
        {"data.eventTime": "late"},
        ["spec.data.eventTime: late is the target; name another column"],
    ),
    (
        "the target as the entity key",
        {"data.entityKey": ["late"]},
        [
            "spec.data.entityKey[0]: late is the target, which is not known when predicting; identify a row by what its request holds"
        ],
    ),
    (
        "an entity key twice",
        {"data.entityKey": ["flight_id", "flight_id"]},
        ["spec.data.entityKey[1]: flight_id is there twice; keep one of them"],
    ),
    (
        "a temporal split without a time",
        {
            "data.eventTime": None,
            "data.labelTime": None,
            "data.timeFeatures": [],
            "data.features": [{"name": "a", "type": "numeric"}],
        },
        [
            "spec.data.split.kind: temporal needs an eventTime; give spec.data.eventTime, or choose stratified"
        ],
    ),
    (
        "a group split without a key",
        {"data.split": {"kind": "group"}},
        [
            "spec.data.split.groupKey: is missing, and kind is group; name the column whose values stay together"
        ],
    ),
    (
        "a key without a group split",
        {"data.split.groupKey": "carrier"},
        [
            "spec.data.split.groupKey: carrier is not used by kind temporal; choose kind group, or remove groupKey"
        ],
    ),
    (
        "a gap in a shuffled split",
        {"data.split": {"kind": "stratified", "gap": "1d"}},
        [
            "spec.data.split.gap: 1d is not used by kind stratified; choose kind temporal, or remove gap"
        ],
    ),
    (
        "a range of names",
        {"data.validation.ranges": {"carrier": {"min": 1}}},
        [
            "spec.data.validation.ranges.carrier: carrier is categorical, not numeric; remove the range"
        ],
    ),
    (
        "a range that is empty",
        {"data.validation.ranges": {"distance": {"min": 10, "max": 1}}},
        ["spec.data.validation.ranges.distance: min 10 is over max 1; swap them"],
    ),
    (
        "a range without limits",
        {"data.validation.ranges": {"distance": {}}},
        ["spec.data.validation.ranges.distance: has no limit; give min, max or both"],
    ),
    (
        "an algorithm of another family",
        {"train.algorithm": "kmeans"},
        [
            "spec.train.algorithm: kmeans can't do tabular-classification; choose one of lightgbm, linear, hist-gradient-boosting, xgboost"
        ],
    ),
    (
        "stacking without members",
        {"train.ensemble": {"kind": "stacking"}},
        [
            "spec.train.ensemble.members: has 0 algorithms, and stacking needs 2; name two algorithms or more, such as [lightgbm, linear]"
        ],
    ),
    (
        "members without stacking",
        {"train.ensemble.members": ["linear", "xgboost"]},
        [
            "spec.train.ensemble.members: is not used by kind none; choose kind stacking, or remove it"
        ],
    ),
    (
        "a member twice",
        {"train.ensemble": {"kind": "stacking", "members": ["linear", "linear"]}},
        ["spec.train.ensemble.members[1]: linear is there twice; keep one of them"],
    ),
    (
        "a search without a space",
        {"train.search": {"kind": "random"}},
        [
            "spec.train.search.space: is empty, and kind is random; name what to search, such as learning_rate: {low: 0.01, high: 0.3}"
        ],
    ),
    (
        "a fixed value that is searched",
        {"train.search.kind": "random", "train.hyperparameters": {"num_leaves": 3}},
        ["spec.train.search.space.num_leaves: is fixed in hyperparameters too; keep one of them"],
    ),
    (
        "a grid without choices",
        {"train.search.kind": "grid"},
        [
            "spec.train.search.space.learning_rate: has no choices, and a grid tries all; give choices: [...]"
        ],
    ),
    (
        "a range and choices",
        {"train.search.space": {"a": {"low": 1, "choices": [1]}}},
        ["spec.train.search.space.a: has choices and a range; keep choices, or low and high"],
    ),
    (
        "half a range",
        {"train.search.space": {"a": {"low": 1}}},
        ["spec.train.search.space.a.high: is missing; give low and high, or choices"],
    ),
    (
        "a range upside down",
        {"train.search.space": {"a": {"low": 2, "high": 1}}},
        ["spec.train.search.space.a.high: 1 is not over low, 2; write low under high"],
    ),
    (
        "a logarithm of zero",
        {"train.search.space": {"a": {"low": 0, "high": 1, "log": True}}},
        ["spec.train.search.space.a.low: 0 has no logarithm; write a low over 0, or log: false"],
    ),
    (
        "a search metric of another family",
        {"train.search.metric": "r2"},
        [
            "spec.train.search.metric: r2 is not a metric of tabular-classification; choose one of auc, average-precision, log-loss, brier, accuracy, f1"
        ],
    ),
    (
        "a search longer than its step",
        {"train.search.kind": "random", "train.search.timeout": "2h"},
        [
            "spec.train.search.timeout: 2h is longer than compute.timeout, 1h, which stops the step; raise compute.timeout"
        ],
    ),
    (
        "group folds without a key",
        {"train.crossValidation.kind": "group"},
        [
            "spec.train.crossValidation.kind: group needs a groupKey; give spec.data.split.kind group and its groupKey"
        ],
    ),
    (
        "two nodes for trees",
        {"train.compute.nodes": 2},
        [
            "spec.train.compute.nodes: 2 nodes, and lightgbm trains on one; write 1, and raise cpu and memory instead"
        ],
    ),
    (
        "a GPU product without a count",
        {"train.compute.gpu": {"product": "NVIDIA-L4"}},
        ["spec.train.compute.gpu.count: 0 of NVIDIA-L4; write how many, or remove product"],
    ),
    (
        "no gate",
        {"gates": {"bounds": [], "champion": []}},
        [
            "spec.gates: asks nothing of a candidate, so any would take traffic; give bounds or champion"
        ],
    ),
    (
        "a bound in percent",
        {"gates.bounds.0.min": 55},
        [
            "spec.gates.bounds[0].min: 55 is over 1, the most that auc can be; write at most 1, such as 0.55"
        ],
    ),
    (
        "a bound upside down",
        {"gates.bounds.0": {"metric": "auc", "min": 0.9, "max": 0.8}},
        ["spec.gates.bounds[0].min: 0.9 is over max, 0.8; swap them"],
    ),
    (
        "a bound without a limit",
        {"gates.bounds.0": {"metric": "auc"}},
        ["spec.gates.bounds[0]: auc has no limit; give min, max or both"],
    ),
    (
        "a gate of a metric of another family",
        {"gates.champion.0.metric": "mae"},
        [
            "spec.gates.champion[0].metric: mae is not a metric of tabular-classification; choose one of auc, average-precision, log-loss, brier, accuracy, f1"
        ],
    ),
    (
        "a drop in percent",
        {"gates.champion.0.maxDrop": 2},
        [
            "spec.gates.champion[0].maxDrop: 2 is the whole range of auc; write less than 1, such as 0.02"
        ],
    ),
    (
        "a detector that its backend lacks",
        {"monitoring.detectors.0": {"name": "a", "kind": "lsdd"}},
        [
            "spec.monitoring.detectors[0].kind: backend native has no lsdd; choose one of ks, chi-square, fisher, mmd, tabular, or write backend: alibi"
        ],
    ),
    (
        "fisher with alibi",
        {
            "monitoring.detectors.0": {
                "name": "a",
                "kind": "fisher",
                "backend": "alibi",
                "columns": ["weekend"],
            }
        },
        [
            "spec.monitoring.detectors[0].kind: backend alibi has no fisher; choose one of ks, chi-square, tabular, mmd, lsdd, classifier, model-uncertainty, online-mmd, online-cvm, or write backend: native"
        ],
    ),
    (
        "two detectors with one name",
        {"monitoring.detectors.1.name": "features"},
        [
            "spec.monitoring.detectors[1].name: features is already detectors[0]; give each its own name"
        ],
    ),
    (
        "a detector name with blanks",
        {"monitoring.detectors.1.name": "My detector"},
        [
            "spec.monitoring.detectors[1].name: 'My detector' is not a DNS label; use lower-case letters, digits and '-', at most 63 characters, with a letter or digit at both ends"
        ],
    ),
    (
        "a statistic of names on numbers",
        {"monitoring.detectors.0": {"name": "a", "kind": "chi-square", "columns": ["distance"]}},
        [
            "spec.monitoring.detectors[0].columns[0]: distance is numeric, and chi-square needs categorical or boolean; remove it, or choose kind ks"
        ],
    ),
    (
        "a statistic of numbers on names",
        {"monitoring.detectors.0": {"name": "a", "kind": "ks", "columns": ["carrier"]}},
        [
            "spec.monitoring.detectors[0].columns[0]: carrier is categorical, and ks needs numeric; remove it, or choose kind chi-square"
        ],
    ),
    (
        "a misspelt column",
        {"monitoring.detectors.0": {"name": "a", "kind": "ks", "columns": ["distanse"]}},
        ["spec.monitoring.detectors[0].columns[0]: distanse is no feature; did you mean distance?"],
    ),
    (
        "columns of the prediction",
        {"monitoring.detectors.1.columns": ["distance"]},
        [
            "spec.monitoring.detectors[1].columns: is not used by a detector on the prediction; remove it, or write on: features"
        ],
    ),
    (
        "a tabular detector on the prediction",
        {"monitoring.detectors.1.kind": "tabular"},
        [
            "spec.monitoring.detectors[1].kind: tabular can't watch the prediction, which is a number; choose one of ks, mmd, lsdd, classifier, model-uncertainty, online-mmd, online-cvm"
        ],
    ),
    (
        "a statistic that no column fits",
        {
            "data.features": [{"name": "a", "type": "numeric"}],
            "monitoring.detectors.0": {"name": "a", "kind": "chi-square"},
        },
        [
            "spec.monitoring.detectors[0].kind: chi-square needs categorical or boolean columns, and there is none; choose another kind"
        ],
    ),
    (
        "a redacted column that is watched",
        {
            "serving.payloadLog.redact": ["distance"],
            "monitoring.detectors.0": {"name": "a", "kind": "ks", "columns": ["distance"]},
        },
        [
            "spec.monitoring.detectors[0].columns[0]: distance is redacted by serving.payloadLog.redact; remove it from one of them"
        ],
    ),
    (
        "a reference under the window",
        {"monitoring.window.rows": 20000},
        [
            "spec.monitoring.referenceRows: 10000 is under window.rows, 20000; write as many at least"
        ],
    ),
    (
        "a performance metric of another family",
        {"monitoring.performance.metrics": ["rmse", "auc"]},
        [
            "spec.monitoring.performance.metrics[0]: rmse is not a metric of tabular-classification; choose one of auc, average-precision, log-loss, brier, accuracy, f1"
        ],
    ),
    (
        "a drop of what is not measured",
        {"monitoring.performance.drop.metric": "f1"},
        [
            "spec.monitoring.performance.drop.metric: f1 is not among performance.metrics; add f1 to metrics, or watch another"
        ],
    ),
    (
        "a schedule that is missing",
        {"retraining.on": ["schedule"]},
        [
            "spec.retraining.on[0]: schedule never comes: spec.retraining.schedule is missing; give retraining.schedule, or remove schedule"
        ],
    ),
    (
        "a schedule that nobody asks for",
        {"retraining.schedule": "30d"},
        [
            "spec.retraining.schedule: 30d, but on does not name schedule; add schedule to on, or remove it here"
        ],
    ),
    (
        "new data without growth",
        {"retraining.on": ["new-data"], "retraining.newData": None},
        [
            "spec.retraining.on[0]: new-data never comes: spec.retraining.newData is missing; give retraining.newData, or remove new-data"
        ],
    ),
    (
        "drift without detectors",
        {"monitoring.detectors": []},
        [
            "spec.retraining.on[0]: drift never comes: spec.monitoring.detectors is empty; give monitoring.detectors, or remove drift"
        ],
    ),
    (
        "performance without a drop",
        {"monitoring.performance.drop": None},
        [
            "spec.retraining.on[1]: performance never comes: spec.monitoring.performance.drop is null; give monitoring.performance.drop, or remove performance"
        ],
    ),
    (
        "no runs per day",
        {"retraining.runsPerDay": 0},
        [
            "spec.retraining.runsPerDay: 0 runs, but on names drift, performance; write 1 or more, or on: [] to never retrain"
        ],
    ),
    (
        "no runs at all",
        {"retraining.budget.runs": 0},
        [
            "spec.retraining.budget.runs: 0 runs, but on names drift, performance; write 1 or more, or on: [] to never retrain"
        ],
    ),
    (
        "a schedule within the cooldown",
        {"retraining.on": ["schedule"], "retraining.schedule": "1d"},
        [
            "spec.retraining.schedule: 1d is shorter than cooldown, 7d; write a longer schedule, or a shorter cooldown"
        ],
    ),
    (
        "a cooldown longer than the budget",
        {"retraining.budget": {"runs": 2, "per": "1d"}},
        [
            "spec.retraining.budget.per: 2 runs in 1d never happen with a cooldown of 7d; write a longer per, or a shorter cooldown"
        ],
    ),
    (
        "a signal twice",
        {"retraining.on": ["drift", "drift"]},
        ["spec.retraining.on[1]: drift is there twice; keep one of them"],
    ),
    (
        "a window without a length",
        {"retraining.trainOn": {"kind": "window"}},
        ["spec.retraining.trainOn.window: is missing, and kind is window; write one, such as 90d"],
    ),
    (
        "a length without a window",
        {"retraining.trainOn.window": "90d"},
        [
            "spec.retraining.trainOn.window: 90d is not used by kind all; choose kind window, or remove it"
        ],
    ),
]


@pytest.mark.parametrize(("changes", "said"), [pytest.param(c, s, id=n) for n, c, s in CASES])
def test_a_mistake_is_refused_with_path_value_and_fix(
    whole: dict[str, Any],
    edit: Callable[..., dict[str, Any]],
    changes: dict[str, Any],
    said: list[str],
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(whole, changes, gone=GONE))
    assert [str(problem) for problem in refused.value.problems] == said


def test_all_problems_are_told_at_once(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    bad = edit(
        whole,
        {
            "serving.canary.steps": [10, 50, 20],
            "train.algorithm": "svm",
            "retraining.cooldown": 7,
            "data.labelTime": "scheduled",
        },
    )
    with pytest.raises(SpecError) as refused:
        parse_model(bad)
    assert [problem.path for problem in refused.value.problems] == [
        "spec.train.algorithm",
        "spec.retraining.cooldown",
        "spec.data.labelTime",
        "spec.serving.canary.steps[2]",
    ]


def test_a_rule_that_needs_an_unreadable_section_says_nothing_false(
    smallest: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(smallest, {"train.seed": "x"}))
    assert [problem.path for problem in refused.value.problems] == ["spec.train.seed"]


def test_a_refusal_does_not_repeat_a_huge_value(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(whole, {"serving.replicas": "9" * 100_000}))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["{braces}", "%s", "{0}", "\\n"])
def test_a_value_with_format_signs_is_told_as_it_is(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]], value: str
) -> None:
    with pytest.raises(SpecError, match="is not a duration"):
        parse_model(edit(whole, {"retraining.cooldown": value}))

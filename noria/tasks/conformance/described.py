"""What is asked of a family's description: its options, schema, rules, template and needs."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import yaml

from noria.errors import SpecError
from noria.spec import families, parse_model
from noria.spec.schema import crd, json_schema
from noria.spec.task import task_classes
from noria.tasks.conformance.subject import Subject, Unmet, expect
from noria.tasks.families import lacking, load
from noria.tasks.loaders import GROUP as LOADERS
from noria.tasks.loaders import loader

HEAVY: Final = (
    "numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch", "tensorflow", "jax", "transformers",
    "lightgbm", "xgboost", "mlflow", "kserve", "kfp", "matplotlib",
)  # fmt: skip
"""What describing a family must not import: `noria validate` and the operator do it."""

_DESCRIBING: Final = """
import sys
from importlib import import_module
import noria.spec
module, _, attribute = {path!r}.partition(":")
getattr(import_module(module), attribute)
print(*sorted(set({heavy!r}) & set(sys.modules)))
"""
_RULE_FAILS: Final = "the rule "


def light(subject: Subject) -> None:
    """Describing the family imports no machine-learning library."""
    code = _DESCRIBING.format(path=subject.path, heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expect(ran.returncode == 0, ran.stderr.strip()[-300:])
    expect(not ran.stdout.split(), f"it imports {', '.join(ran.stdout.split())}")


def installed(subject: Subject) -> None:
    """An entry point of the group noria.families brings the family, under its name."""
    found, name = families.installed(), subject.family.name
    said = next((str(broken) for broken in found.broken if broken.name == name), "")
    expect(not said, said)
    expect(
        name in found.names,
        f'add [project.entry-points."{families.GROUP}"] with {name} = "{subject.path}", '
        "and install it",
    )
    expect(found.find(name) is subject.family, f"another family is installed as {name}")


def options(subject: Subject) -> None:
    """Every option has a description and a default, and is read again as it was written."""
    options = subject.family.options
    for name, field in options.model_fields.items():
        expect(not field.is_required(), f"{name} has no default")
        expect((field.description or "").strip(), f"{name} has no description")
    made = options()
    written = yaml.safe_load(yaml.safe_dump(made.model_dump(mode="json", by_alias=True)))
    expect(options.model_validate(written, by_alias=True, by_name=False) == made, written)


def schema(subject: Subject) -> None:
    """The JSON Schema and the CRD have the family and all of its keys."""
    name, family = subject.family.name, subject.family
    expect(name in {task.family_name() for task in task_classes()}, f"no {name} in spec.task")
    definitions = json_schema()["$defs"]
    (version,) = crd()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    task = spec["task"]["properties"]
    expect(name in task["family"]["enum"], f"the CRD has no family {name}")
    for field_name, field in family.options.model_fields.items():
        key = field.alias or field_name
        expect(key in task["options"]["properties"], f"the CRD has no option {key}")
    for key in family.source_kinds:
        expect(key in definitions["Source"]["properties"], f"the schema has no source {key}")
        sources = spec["data"]["properties"]["source"]["properties"]
        expect(key in sources, f"the CRD has no source {key}")


def metrics(subject: Subject) -> None:
    """The metrics are known, and the default one comes first."""
    family = subject.family
    expect(family.metrics, "there is none")
    unknown = [name for name in family.metrics if family.metric(name) is None]
    said = "is not in noria.measures.catalog, and own_metrics does not bring it"
    expect(not unknown, f"{', '.join(unknown)} {said}")


def spaces(subject: Subject) -> None:
    """The default algorithm or the template has a search space; ranges have two ends or choices."""
    family = subject.family
    space = family.algorithms[0].space or subject.searched
    expect(space, f"{family.default_algorithm} has no space")
    for algorithm in family.algorithms:
        for name, values in algorithm.space.items():
            where = f"{algorithm.name}.{name}"
            if values.choices is not None:
                expect(len(values.choices) > 1, f"{where} has fewer than two choices")
            else:
                low, high = values.low, values.high
                sound = low is not None and high is not None and low < high
                expect(sound, f"{where} goes from {low} to {high}")


def paths(subject: Subject) -> None:
    """The learner and the template are where the description says, and packages have a loader."""
    family = subject.family
    load(family, family.learner)
    expect(callable(loader(family.name)), f"what {LOADERS} names for it can't be called")
    texts = load(family, family.template)
    expect(isinstance(texts, Mapping), f"{family.template} is no mapping")
    expect("model.yaml" in texts, f"{family.template} has no model.yaml")


def functions(subject: Subject) -> None:
    """The learner has every function that the steps of a pipeline call."""
    missing = lacking(load(subject.family, subject.family.learner))
    expect(
        not missing,
        f"it has no {', '.join(missing)}; noria.tasks.protocol.TaskFamily says what each does",
    )


def template(subject: Subject) -> None:
    """The template's model.yaml is valid, of this family, and the same when written and read."""
    found = subject.model
    expect(found.spec.task.family == subject.family.name, found.spec.task.family)
    written = found.model_dump(mode="json", by_alias=True)
    expect(parse_model(yaml.safe_dump(written)) == found, "what is written is read as another one")


def rules(subject: Subject) -> None:
    """Whatever key is left out, rules list problems and do not raise."""
    for section in subject.resource["spec"]:
        for key in subject.resource["spec"][section]:
            less = copy.deepcopy(subject.resource)
            del less["spec"][section][key]
            try:
                parse_model(less)
            except SpecError as error:
                failed = [p.message for p in error.problems if p.message.startswith(_RULE_FAILS)]
                expect(not failed, f"without spec.{section}.{key}: {'; '.join(failed)}")


def asks(subject: Subject) -> None:
    """A model without the target or the features that the template has is refused."""
    for keys in (("target",), ("features", "timeFeatures")):
        less = copy.deepcopy(subject.resource)
        given = [key for key in keys if less["spec"]["data"].pop(key, None)]
        if not given:
            continue
        try:
            parse_model(less)
        except SpecError:
            continue
        raise Unmet(
            f"without spec.data.{given[0]} it is valid; give the family a rule, such as "
            "noria.tasks.tabular.describe.columns_and_a_target"
        )


def needs(subject: Subject) -> None:
    """The libraries that it needs are installed, or it says how to install them."""
    family = subject.family
    missing = family.missing((family.default_algorithm,))
    install = family.needs.install or "it"
    expect(not missing, f"{', '.join(missing)} is missing; install {install}")

"""What Noria asks of a task family, as checks that a third party can run over its own.

``noria family check MODULE`` prints them. Each check has a name and a sentence; it raises ``Unmet``
with what it found, or whatever the family's code raises, and the next one runs. Training is
checked on the project that the family's template makes.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any, Final, Literal, TypeAlias

import yaml

from noria.errors import InvalidInput, NoriaError, SpecError
from noria.measures.catalog import METRICS
from noria.spec import Model, parse_model
from noria.spec.families import GROUP, installed
from noria.spec.family import Family
from noria.spec.schema import crd, json_schema
from noria.spec.task import task_classes
from noria.tasks.families import family as learner_of
from noria.tasks.families import load
from noria.tasks.loaders import GROUP as LOADERS
from noria.tasks.loaders import loader
from noria.tasks.package import load_predictor, package_digest, read_manifest

Outcome: TypeAlias = Literal["ok", "failed", "not run"]

HEAVY: Final = (
    "numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch", "tensorflow", "jax", "transformers",
    "lightgbm", "xgboost", "mlflow", "kserve", "kfp", "matplotlib",
)  # fmt: skip
"""What describing a family must not import: `noria validate` and the operator do it."""

_NAME: Final = "checked"
_DESCRIBING: Final = """
import sys
from importlib import import_module
import noria.spec
module, _, attribute = {path!r}.partition(":")
getattr(import_module(module), attribute)
print(*sorted(set({heavy!r}) & set(sys.modules)))
"""
_RULE_FAILS: Final = "the rule "


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended; ``detail`` is what it found, empty when all is well."""

    name: str
    sentence: str
    outcome: Outcome
    detail: str = ""


class Unmet(NoriaError):
    """What a check expects is not so."""


def _expect(holds: object, said: str) -> None:
    if not holds:
        raise Unmet(said)


class _Subject:
    """The family that is checked, and what the checks made with it so far."""

    def __init__(self, path: str, family: Family, folder: Path) -> None:
        self.path = path
        self.family = family
        self.folder = folder

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The ``model.yaml`` of the template, as plain values."""
        text = Template(load(self.family, self.family.template)["model.yaml"])
        found: dict[str, Any] = yaml.safe_load(text.safe_substitute(name=_NAME))
        return found

    @property
    def searched(self) -> Mapping[str, Any]:
        """What the template searches: of hyperparameters that only the project knows."""
        if "model.yaml" not in load(self.family, self.family.template):
            return {}
        return self.model.spec.train.search.space

    @cached_property
    def model(self) -> Model:
        return parse_model(self.resource)

    @cached_property
    def project(self) -> Path:
        """A folder with the template's files and the rows that its ``data.py`` makes."""
        folder = self.folder / "project"
        folder.mkdir()
        for name, text in load(self.family, self.family.template).items():
            (folder / name).write_text(Template(text).safe_substitute(name=_NAME), "utf-8")
        if (folder / "data.py").is_file():
            command = [sys.executable, "data.py"]
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            _expect(ran.returncode == 0, f"data.py failed: {ran.stderr.strip()[-300:]}")
        return folder

    @cached_property
    def trained(self) -> _Trained:
        return _train(self)


@dataclass(frozen=True, slots=True)
class _Trained:
    learner: Any
    prepared: Any
    frame: Any
    test: Any
    places: Any
    held_out: Any
    fit: Callable[[], Any]
    package: Path


def check_family(path: str) -> Iterator[Result]:
    """Yield the result of every check, in order, as it ends.

    Args:
        path: ``module:attribute`` of a ``Family``, or the name of an installed one.

    Raises:
        InvalidInput: There is no family at ``path``.
    """
    family = _family_at(path)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noria-family-")))
        subject = _Subject(path if ":" in path else _entry_point(path), family, folder)
        missing: tuple[str, ...] = ()
        for check in _CHECKS:
            name = check.__name__.removeprefix("_").replace("_", "-")
            sentence = " ".join((check.__doc__ or "").split())
            if missing and check in _TRAINING:
                detail = f"{', '.join(missing)} is not installed"
                yield Result(name, sentence, "not run", detail)
                continue
            try:
                check(subject)
            except Unmet as error:
                yield Result(name, sentence, "failed", str(error))
            except Exception as error:  # noqa: BLE001 - the code under test may raise anything
                yield Result(name, sentence, "failed", f"{type(error).__name__}: {error}")
            else:
                yield Result(name, sentence, "ok")
            if check is _needs:
                missing = family.missing((family.default_algorithm,))


def _family_at(path: str) -> Family:
    if ":" not in path:
        return installed().find(path)
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"{path}: {error}", fix="give module:attribute of a noria.spec.family.Family"
        ) from error
    if not isinstance(found, Family):
        raise InvalidInput(
            f"{path}: is a {type(found).__name__}", fix="name a noria.spec.family.Family"
        )
    return found


def _entry_point(name: str) -> str:
    from importlib.metadata import entry_points

    return next(point.value for point in entry_points(group=GROUP, name=name))


def _light(subject: _Subject) -> None:
    """Describing the family imports no machine-learning library."""
    code = _DESCRIBING.format(path=subject.path, heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    _expect(ran.returncode == 0, ran.stderr.strip()[-300:])
    _expect(not ran.stdout.split(), f"it imports {', '.join(ran.stdout.split())}")


def _installed(subject: _Subject) -> None:
    """An entry point of the group noria.families brings the family, under its name."""
    found, name = installed(), subject.family.name
    said = next((str(broken) for broken in found.broken if broken.name == name), "")
    _expect(not said, said)
    _expect(
        name in found.names,
        f'add [project.entry-points."{GROUP}"] with {name} = "{subject.path}", and install it',
    )
    _expect(found.find(name) is subject.family, f"another family is installed as {name}")


def _options(subject: _Subject) -> None:
    """Every option has a description and a default, and is read again as it was written."""
    options = subject.family.options
    for name, field in options.model_fields.items():
        _expect(not field.is_required(), f"{name} has no default")
        _expect((field.description or "").strip(), f"{name} has no description")
    made = options()
    written = yaml.safe_load(yaml.safe_dump(made.model_dump(mode="json", by_alias=True)))
    _expect(options.model_validate(written, by_alias=True, by_name=False) == made, written)


def _schema(subject: _Subject) -> None:
    """The JSON Schema and the CRD have the family and all of its keys."""
    name, family = subject.family.name, subject.family
    _expect(name in {task.family_name() for task in task_classes()}, f"no {name} in spec.task")
    definitions = json_schema()["$defs"]
    (version,) = crd()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    task = spec["task"]["properties"]
    _expect(name in task["family"]["enum"], f"the CRD has no family {name}")
    for field_name, field in family.options.model_fields.items():
        key = field.alias or field_name
        _expect(key in task["options"]["properties"], f"the CRD has no option {key}")
    for key in family.source_kinds:
        _expect(key in definitions["Source"]["properties"], f"the schema has no source {key}")
        sources = spec["data"]["properties"]["source"]["properties"]
        _expect(key in sources, f"the CRD has no source {key}")


def _metrics(subject: _Subject) -> None:
    """The metrics are known, and the default one comes first."""
    family = subject.family
    _expect(family.metrics, "there is none")
    unknown = [name for name in family.metrics if name not in METRICS]
    _expect(not unknown, f"{', '.join(unknown)} is not in noria.measures.catalog")


def _spaces(subject: _Subject) -> None:
    """The default algorithm or the template has a search space; ranges have two ends or choices."""
    family = subject.family
    space = family.algorithms[0].space or subject.searched
    _expect(space, f"{family.default_algorithm} has no space")
    for algorithm in family.algorithms:
        for name, values in algorithm.space.items():
            where = f"{algorithm.name}.{name}"
            if values.choices is not None:
                _expect(len(values.choices) > 1, f"{where} has fewer than two choices")
            else:
                low, high = values.low, values.high
                sound = low is not None and high is not None and low < high
                _expect(sound, f"{where} goes from {low} to {high}")


def _paths(subject: _Subject) -> None:
    """The learner and the template are where the description says, and packages have a loader."""
    family = subject.family
    load(family, family.learner)
    _expect(callable(loader(family.name)), f"what {LOADERS} names for it can't be called")
    texts = load(family, family.template)
    _expect(isinstance(texts, Mapping), f"{family.template} is no mapping")
    _expect("model.yaml" in texts, f"{family.template} has no model.yaml")


def _template(subject: _Subject) -> None:
    """The template's model.yaml is valid, of this family, and the same when written and read."""
    found = subject.model
    _expect(found.spec.task.family == subject.family.name, found.spec.task.family)
    written = found.model_dump(mode="json", by_alias=True)
    _expect(parse_model(yaml.safe_dump(written)) == found, "what is written is read as another one")


def _rules(subject: _Subject) -> None:
    """Whatever key is left out, rules list problems and do not raise."""
    for section in subject.resource["spec"]:
        for key in subject.resource["spec"][section]:
            less = copy.deepcopy(subject.resource)
            del less["spec"][section][key]
            try:
                parse_model(less)
            except SpecError as error:
                failed = [p.message for p in error.problems if p.message.startswith(_RULE_FAILS)]
                _expect(not failed, f"without spec.{section}.{key}: {'; '.join(failed)}")


def _needs(subject: _Subject) -> None:
    """The libraries that it needs are installed, or it says how to install them."""
    family = subject.family
    missing = family.missing((family.default_algorithm,))
    install = family.needs.install or "it"
    _expect(not missing, f"{', '.join(missing)} is missing; install {install}")


def _trains(subject: _Subject) -> None:
    """The learner trains on the rows of its template, and saves a package of its family."""
    manifest = read_manifest(subject.trained.package)
    _expect(manifest.family == subject.family.name, f"the manifest says {manifest.family}")
    _expect(manifest.algorithm, "the manifest names no algorithm")
    _expect(manifest.inputs, "the manifest names no input")
    _expect(manifest.outputs, "the manifest names no output")


def _loads(subject: _Subject) -> None:
    """The package, moved to another folder, loads and predicts what the model predicted."""
    trained, spec = subject.trained, subject.model.spec
    moved = subject.folder / "moved"
    shutil.copytree(trained.package, moved)
    manifest = load_predictor(moved, digest=package_digest(trained.package)).manifest
    _expect(manifest == read_manifest(moved), "the predictor has another manifest")
    again = trained.learner.predict(spec, moved, trained.prepared, trained.places)
    expected = trained.held_out.model
    _expect(list(again) == list(expected), f"columns {list(again)}, not {list(expected)}")
    for column in expected:
        same = again[column].reset_index(drop=True).equals(expected[column].reset_index(drop=True))
        _expect(same, f"{column} differs")


def _repeats(subject: _Subject) -> None:
    """The same rows, parameters and seed give a package of the same digest."""
    trained = subject.trained
    again = subject.folder / "again"
    trained.learner.save(subject.model.spec, trained.fit(), again, model=_NAME)
    first, second = package_digest(trained.package), package_digest(again)
    _expect(first == second, f"{first[:12]} and {second[:12]}")


def _judges(subject: _Subject) -> None:
    """Evaluating the package measures the default metric on the rows held out."""
    trained, metric = subject.trained, subject.family.default_metric
    found = trained.learner.evaluate(
        subject.model.spec, trained.package, trained.test, trained.held_out, None, None
    )
    _expect(metric in found.metrics, f"it measures {', '.join(found.metrics)}")
    measured = found.metrics[metric]
    _expect(measured.value is not None, f"{metric}: {measured.problem}")
    _expect(found.rows == len(trained.test), f"{found.rows} rows of {len(trained.test)}")


def _refuses(subject: _Subject) -> None:
    """A project without data is refused with one of Noria's errors."""
    empty = subject.folder / "empty"
    empty.mkdir()
    try:
        learner_of(subject.family.name).ingest(subject.model.spec, empty, None)
    except NoriaError:
        return
    raise Unmet("it reads rows from an empty folder")


def _train(subject: _Subject) -> _Trained:
    from noria.tasks.candidate import places_of
    from noria.tasks.held_out import BLOCK, HeldOut
    from noria.tasks.protocol import Choice

    spec, base = subject.model.spec, subject.project
    learner = learner_of(subject.family.name)
    rows = learner.ingest(spec, base, None)
    learner.validate(spec, rows)
    frame = learner.features(spec, base, rows).reset_index(drop=True)
    parts = learner.split(spec, frame, None)
    params = learner.tune(spec, parts.train, subject.folder / "search").params
    prepared, places = learner.prepare(spec, frame), places_of(parts.test)

    def fit() -> Any:
        return learner.fit(spec, prepared, places_of(parts.train), params, None)

    fitted, package = fit(), subject.folder / "package"
    learner.save(spec, fitted, package, model=_NAME)
    said = learner.predict(spec, fitted, prepared, places)
    held_out = HeldOut(said.assign(**{BLOCK: 0}), Choice())
    return _Trained(learner, prepared, frame, parts.test, places, held_out, fit, package)


_TRAINING: Final = (_trains, _loads, _repeats, _judges, _refuses)
_CHECKS: Final[tuple[Callable[[_Subject], None], ...]] = (
    _light,
    _installed,
    _options,
    _schema,
    _metrics,
    _spaces,
    _paths,
    _template,
    _rules,
    _needs,
    *_TRAINING,
)

"""Models in the formats of their libraries, with or without MLflow's description beside them.

A model that a command wrote is loaded without any code of the project: by its library, from
bytes that were checked, and without pickle. ``MLmodel`` names the file; without one the file's
name tells the library.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from noria.errors import InvalidInput, NoriaError, NotInstalled, OwnCodeError, shorten
from noria.tasks.package import MANIFEST_NAME, Manifest, parse_manifest, sha256

if TYPE_CHECKING:
    import pandas as pd

Answer = Callable[["pd.DataFrame"], Any]

_MLMODEL: Final = "MLmodel"
_FIX: Final = "write one model: see docs/custom.md for the formats"


@dataclass(frozen=True, slots=True, eq=False)
class FlavorModel:
    """A model that its library has loaded."""

    name: str
    ask: Answer

    def answer(self, features: pd.DataFrame) -> Any:
        """Return what it says of n rows.

        Raises:
            OwnCodeError: The library refuses the rows.
        """
        try:
            return self.ask(features)
        except Exception as error:
            raise OwnCodeError(
                f"{self.name}: predict failed: {type(error).__name__}: {error}",
                fix="train on the columns as they come in NORIA_DATA, and save what reads them",
            ) from error


def open_model(files: Mapping[str, bytes], manifest: Manifest) -> FlavorModel:
    """Return the model among files that a command wrote.

    Raises:
        InvalidInput: There is none that can be loaded, or more than one.
        NotInstalled: Its library is not installed here.
        OwnCodeError: The library can't load it.
    """
    flavor, path = _found(files)
    try:
        ask = _OPENED[flavor](files, path, manifest)
    except NoriaError:
        raise
    except ImportError as error:
        raise NotInstalled(
            f"{path} is a model of {flavor}, which needs {error.name}", fix=f"install {error.name}"
        ) from error
    except Exception as error:
        raise OwnCodeError(
            f"{path}: {flavor} can't load it: {type(error).__name__}: {error}", fix=_FIX
        ) from error
    return FlavorModel(f"{path} ({flavor})", ask)


def _found(files: Mapping[str, bytes]) -> tuple[str, str]:
    """Return the library and the file of the one model among the files."""
    described = sorted(path for path in files if path.rpartition("/")[2] == _MLMODEL)
    if described:
        return _of_mlflow(files, described[0])
    if MANIFEST_NAME in files:
        return "noria", MANIFEST_NAME
    known = [(_BY_ENDING[end], path) for path in sorted(files) for end in _BY_ENDING
             if path.endswith(end)]  # fmt: skip
    if len(known) != 1:
        said = "no model" if not known else f"{len(known)} models"
        raise InvalidInput(
            f"spec.task.options.command: it wrote {said}: {shorten(sorted(files), 300)}", fix=_FIX
        )
    return known[0]


def _of_mlflow(files: Mapping[str, bytes], where: str) -> tuple[str, str]:
    try:
        flavors = yaml.safe_load(files[where])["flavors"]
        names = [name for name in _FILE_OF if name in flavors]
        path = str(flavors[names[0]][_FILE_OF[names[0]]]) if names else ""
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInput(f"{where}: is no description of MLflow: {error}", fix=_FIX) from error
    if not names:
        raise InvalidInput(
            f"{where}: its flavors are {', '.join(map(str, flavors))}, none of which is read",
            fix=f"save it with mlflow.{', mlflow.'.join(_FILE_OF)}",
        )
    whole = where.removesuffix(_MLMODEL) + path
    inside = [name for name in sorted(files) if name == whole or name.startswith(f"{whole}/")]
    known = [name for name in inside if name.endswith(tuple(_BY_ENDING))] or inside
    if not known:
        raise InvalidInput(f"{where}: names {path}, which is not there", fix=_FIX)
    return names[0], known[0]


def _flat(features: pd.DataFrame, manifest: Manifest) -> Any:
    """Return rows as a library reads them: the frame, or one float64 matrix if there are vectors.

    In the matrix a vector's numbers are side by side, and a category is its place.
    """
    if not any(feature.kind == "vector" for feature in manifest.features):
        return features
    parts = [
        np.stack(features[f.name].to_list())
        if f.kind == "vector"
        else features[f.name].cat.codes.to_numpy(np.float64)
        if f.kind == "categorical"
        else features[f.name].to_numpy(np.float64)
        for f in manifest.features
    ]
    return np.column_stack(parts)


def _lightgbm(files: Mapping[str, bytes], path: str, manifest: Manifest) -> Answer:
    import lightgbm

    booster = lightgbm.Booster(model_str=files[path].decode("utf-8"))
    wanted = booster.feature_name()

    def ask(features: pd.DataFrame) -> Any:
        return booster.predict(_columns(_flat(features, manifest), wanted))

    return ask


def _xgboost(files: Mapping[str, bytes], path: str, manifest: Manifest) -> Answer:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(files[path]))
    wanted = booster.feature_names or []

    def ask(features: pd.DataFrame) -> Any:
        rows = xgboost.DMatrix(_columns(_flat(features, manifest), wanted), enable_categorical=True)
        return booster.predict(rows)

    return ask


def _sklearn(files: Mapping[str, bytes], path: str, manifest: Manifest) -> Answer:
    import skops.io

    if manifest.options.get("allowPickle") is True and not path.endswith(".skops"):
        estimator = pickle.loads(files[path])  # noqa: S301 - the spec allows it, in as many words
    else:
        untrusted = skops.io.get_untrusted_types(data=files[path])
        if untrusted:
            raise OwnCodeError(
                f"{path}: skops does not know {', '.join(untrusted)}",
                fix="use estimators of scikit-learn alone, or a class of your own",
            )
        estimator = skops.io.loads(files[path], trusted=[])
    if not manifest.classes:
        return lambda features: estimator.predict(_flat(features, manifest))
    order = _order(list(estimator.classes_), manifest.classes, path)

    def ask(features: pd.DataFrame) -> Any:
        said = np.zeros((len(features), len(manifest.classes)))
        said[:, order] = estimator.predict_proba(_flat(features, manifest))
        return said

    return ask


def _order(theirs: list[Any], ours: tuple[Any, ...], path: str) -> list[int]:
    """Return the place among our classes of each of the estimator's: labels, or codes of them."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in theirs]
    for known in (list(ours), list(range(len(ours)))):
        if all(value in known for value in plain):
            return [known.index(value) for value in plain]
    raise OwnCodeError(
        f"{path}: it knows the classes {shorten(plain)}, and NORIA_CLASSES are "
        f"{shorten(list(ours))}",
        fix="fit on the target's labels, or on their places in NORIA_CLASSES",
    )


def _pytorch(files: Mapping[str, bytes], path: str, manifest: Manifest) -> Answer:
    import io

    import torch

    program = torch.export.load(io.BytesIO(files[path])).module()

    def ask(features: pd.DataFrame) -> Any:
        rows = torch.from_numpy(np.asarray(_flat(features, manifest), np.float32))
        with torch.no_grad():
            return program(rows).numpy()

    return ask


def _noria(files: Mapping[str, bytes], path: str, manifest: Manifest) -> Answer:
    from noria.tasks.loaders import loader

    inner = parse_manifest(files[path])
    if inner.family == manifest.family:
        raise InvalidInput(f"{path}: is itself of the family {inner.family}", fix=_FIX)
    parts = {name: content for name, content in files.items() if name != path}
    if {name: sha256(content) for name, content in parts.items()} != inner.files:
        raise OwnCodeError(f"{path}: its files are others than it lists", fix="write it again")
    predictor = loader(inner.family)(inner, parts)
    place = [inner.classes.index(label) for label in manifest.classes] if inner.classes else []

    def ask(features: pd.DataFrame) -> Any:
        columns = {
            str(name): _texts(features[name])
            if str(features[name].dtype) == "category"
            else features[name].to_numpy()
            for name in features
        }
        said = predictor.predict(columns)
        if not place:
            return said["prediction"]
        chance = said["probability"]
        both = np.column_stack([1.0 - chance, chance]) if chance.ndim == 1 else chance
        return both[:, place]

    return ask


def _texts(categories: pd.Series[Any]) -> NDArray[Any]:
    """Return a categorical column as its texts, None where it is missing."""
    found = categories.to_numpy(dtype=object)
    found[categories.isna().to_numpy()] = None
    return found


def _columns(features: Any, wanted: list[str]) -> Any:
    """Return the columns that a model names, in its order; all of them where it names none."""
    if isinstance(features, np.ndarray):
        return features
    return features[wanted] if set(wanted) <= set(features) and wanted else features


_OPENED: Final[Mapping[str, Callable[[Mapping[str, bytes], str, Manifest], Answer]]] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "sklearn": _sklearn,
    "pytorch": _pytorch,
    "noria": _noria,
}
_FILE_OF: Final = {
    "lightgbm": "data",
    "xgboost": "data",
    "sklearn": "pickled_model",
    "pytorch": "model_data",
}
"""The key of each of MLflow's flavors that names the model's file."""

_BY_ENDING: Final = {
    ".lgb": "lightgbm",
    ".ubj": "xgboost",
    ".skops": "sklearn",
    ".pt2": "pytorch",
}

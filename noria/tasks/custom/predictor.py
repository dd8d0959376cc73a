"""The predictor of a package of the project's own model: encode, ask, check the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, NotInstalled
from noria.tasks.custom.answers import checked
from noria.tasks.encoding import Columns, Encoder
from noria.tasks.package import Manifest
from noria.tasks.pickles import refuse_pickles

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

CODE: Final = "code/"
MODEL: Final = "model/"
CLASS: Final = "own-class"
ENTRY: Final = "model"
"""The option that names file and class: ``model.py:Model``."""


class Answering(Protocol):
    """A fitted model of the project's own."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def answer(self, features: pd.DataFrame) -> Any:
        """Return what it says of n rows, as it says it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CustomPredictor:
    """A model of the project's own that can be asked. Its class is not asked by two at a time."""

    manifest: Manifest
    model: Answering
    _encoder: Encoder = field(init=False, repr=False)
    _classes: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        encoder = Encoder(self.manifest.features, self.manifest.event_time)
        object.__setattr__(self, "_encoder", encoder)
        object.__setattr__(self, "_classes", np.array(self.manifest.classes))

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return the outputs of the manifest; see ``noria.tasks.package.Predictor``.

        Raises:
            OwnCodeError: The class fails, or answers what it may not.
        """
        return self.predict_matrix(self._encoder.encode(columns))

    def encode(self, columns: Columns) -> Array:
        """Return the matrix of n rows; see ``Encoder.encode``."""
        return self._encoder.encode(columns)

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for an encoded (n, d) matrix."""
        from noria.tasks.custom.dataset import frame_of

        rows, classes = matrix.shape[0], self.manifest.classes
        answer = self.model.answer(frame_of(self.manifest.features, matrix))
        said = checked(answer, rows, classes, by=self.model.name)
        if not classes:
            return {"prediction": said}
        places = (said >= 0.5).astype(np.int64) if said.ndim == 1 else said.argmax(axis=1)
        return {"probability": said, "label": self._classes[places]}


def load(manifest: Manifest, files: Mapping[str, bytes]) -> CustomPredictor:
    """Build the predictor from a package's checked files.

    A class is imported from them; what a command wrote, or came from elsewhere, its library loads.

    Raises:
        IntegrityError: The package has no code, or a pickle that it does not admit to.
        InvalidInput: The module fails, or has no such class; or there is no model.
        NotInstalled: The module imports what is not installed here.
        OwnCodeError: The class can't load what it saved.
    """
    saved = below(files, MODEL)
    if manifest.options.get("allowPickle") is not True:
        refuse_pickles(saved, by=manifest.model or "the package")
    try:
        import pandas  # noqa: F401 - what the class is asked with
    except ImportError as error:
        raise NotInstalled(
            "a model of the family custom is asked with data frames, and pandas is not installed",
            fix="install pandas, and what the class imports, beside noria[serving]",
        ) from error
    if manifest.algorithm != CLASS:
        from noria.tasks.custom.flavors import open_model

        return CustomPredictor(manifest, open_model(saved, manifest))
    from noria.tasks.custom.own_class import import_class

    file, _, name = str(manifest.options.get(ENTRY, "")).partition(":")
    code = files.get(CODE + file)
    if code is None:
        raise IntegrityError(f"the package has no {CODE}{file}", fix="train again")
    return CustomPredictor(manifest, import_class(file, code.decode("utf-8"), name).load(saved))


def below(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """Return the files of a package below ``folder``, by their path in it."""
    return {
        path.removeprefix(folder): content
        for path, content in files.items()
        if path.startswith(folder)
    }

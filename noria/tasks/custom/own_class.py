"""The project's class, called so that whatever it does wrong is said in its own words."""

from __future__ import annotations

import hashlib
import inspect
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from noria.errors import InvalidInput, NotInstalled, OwnCodeError
from noria.tasks.custom.folders import read_folder, write_folder

if TYPE_CHECKING:
    import pandas as pd

    from noria.tasks.custom.dataset import Dataset

_MOST_CHARS: Final = 500
METHODS: Final = ("fit", "predict", "save", "load")
_importing: Final = threading.RLock()


@dataclass(frozen=True, slots=True, eq=False)
class OwnClass:
    """A class of the project's module, and the module's file as it is named in the project."""

    kind: type[Any]
    file: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file}:{self.kind.__name__}"

    def fit(self, train: Dataset) -> OwnModel:
        """Make an instance and fit it.

        Raises:
            OwnCodeError: It raised.
        """
        with told(self.name, self.file, "__init__", "it is made without arguments"):
            instance = self.kind()
        with told(self.name, self.file, "fit", "it gets one argument, the rows to learn from"):
            instance.fit(train)
        return OwnModel(self, instance)

    def load(self, files: Mapping[str, bytes]) -> OwnModel:
        """Return the model that ``save`` wrote as ``files``. They are in a folder until it returns.

        Raises:
            OwnCodeError: It raised, or gave something else.
        """
        with TemporaryDirectory(prefix="noria-own-") as place:
            folder = Path(place)
            write_folder(folder, files)
            with told(
                self.name, self.file, "load", "it is a class method that reads what save wrote"
            ):
                instance = self.kind.load(folder)
        if not callable(getattr(instance, "predict", None)):
            raise OwnCodeError(
                f"{self.name}: load returned a {type(instance).__name__} without predict",
                fix="let the class method load(folder) return the fitted model",
            )
        return OwnModel(self, instance)


@dataclass(frozen=True, slots=True, eq=False)
class OwnModel:
    """A fitted instance of the project's class."""

    own: OwnClass
    instance: Any

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.own.name

    def answer(self, features: pd.DataFrame) -> Any:
        """Return what the class says of n rows, as it says it.

        Raises:
            OwnCodeError: It raised.
        """
        with told(
            self.own.name, self.own.file, "predict", "it gets the features alone, as fit got them"
        ):
            return self.instance.predict(features)

    def files(self) -> dict[str, bytes]:
        """Return what the class saves, by relative path.

        Raises:
            OwnCodeError: It raised, or wrote no file.
        """
        with TemporaryDirectory(prefix="noria-own-") as place:
            folder = Path(place)
            with told(
                self.own.name,
                self.own.file,
                "save",
                "it writes the fitted model into an empty folder",
            ):
                self.instance.save(folder)
            files = read_folder(folder)
        if not files:
            raise OwnCodeError(
                f"{self.own.name}: save wrote no file",
                fix="write the fitted model into the folder that save(folder) gets",
            )
        return files


def import_class(file: str, text: str, name: str) -> OwnClass:
    """Return the class ``name`` of a module's text.

    The module has a name of its own for each text, so that versions with other code live side
    by side in one process. What the text was imported from has no ``__file__``: nothing beside
    it travels with a version.

    Raises:
        InvalidInput: The module fails, or has no such class, or the class lacks a method.
        NotInstalled: It imports what is not installed.
    """
    module = imported(file, text)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        has = [key for key, value in vars(module).items() if _is_own(value, module)]
        known = f"its classes are {', '.join(has)}" if has else "it has no class"
        raise InvalidInput(
            f"spec.task.options.model: {file} has no class {name}; {known}",
            fix="correct the name",
        )
    missing = [method for method in METHODS if not callable(getattr(kind, method, None))]
    if missing:
        raise InvalidInput(
            f"{file}:{name}: has no {', '.join(missing)}",
            fix="give it fit(self, train), predict(self, features), save(self, folder) and the "
            "class method load(cls, folder)",
        )
    if not isinstance(inspect.getattr_static(kind, "load"), classmethod | staticmethod):
        raise InvalidInput(f"{file}:{name}: load is no class method", fix="write @classmethod")
    return OwnClass(kind, file)


def _is_own(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def imported(file: str, text: str) -> ModuleType:
    """Return the module of a text; ``import_class`` says how it is named.

    Raises:
        InvalidInput: The module fails.
        NotInstalled: It imports what is not installed.
    """
    digest = hashlib.sha256(f"{file}\0{text}".encode()).hexdigest()
    name = f"_noria_own_{digest[:32]}"
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        sys.modules[name] = module
        try:
            exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - the project's own code
        except ModuleNotFoundError as error:
            del sys.modules[name]
            raise NotInstalled(
                f"{file}: it imports {error.name}, which is not installed here",
                fix="install it; a module of the project itself must be in the same file",
            ) from error
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise InvalidInput(
                f"{file}: can't be imported: {_said(error, file)}", fix="correct the module"
            ) from error
    return module


@contextmanager
def told(name: str, file: str, called: str, fix: str) -> Iterator[None]:
    """Turn what the project's code raises into an error that names it, what was called and where.

    Args:
        name: What messages call the code, such as ``model.py:Digits``.
        file: Its file, to find the line.
        called: The method, or ``it``.
        fix: What it should do.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        raise OwnCodeError(
            f"{name}: {called} failed: {_said(error, file)}", fix=f"correct {called}: {fix}"
        ) from error


def _said(error: BaseException, file: str) -> str:
    """Return an exception's kind and words, and the last line of the project that it passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == file]  # fmt: skip
    where = f" (line {lines[-1]})" if lines else ""
    text = str(error).strip()[:_MOST_CHARS] or "no message"
    return f"{type(error).__name__}: {text}{where}"

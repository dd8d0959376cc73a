"""A ``Model`` as the API server has it: what is the user's in it, and what Kubernetes added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from noria.errors import InvalidInput, Problem, SpecError, shorten
from noria.loop.values import Command, Verb
from noria.spec import Model, parse_model
from noria.spec.model import API_VERSION, KIND

FINALIZER: Final = "noria.dev/traffic"
COMMAND: Final = "noria.dev/command"
COMMAND_REASON: Final = "noria.dev/command-reason"
COMMAND_ID: Final = "noria.dev/command-id"
MAX_NAME: Final = 63 - len("noria-monitor-")
_ASKED: Final = (COMMAND, COMMAND_REASON, COMMAND_ID)


@dataclass(frozen=True, slots=True)
class Resource:
    """One ``Model`` object of the cluster, at one resource version."""

    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.body["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """Its uid: another object of the same name has another."""
        return str(self.body["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """Grows with each change of the spec."""
        return int(self.body["metadata"].get("generation", 0))

    @property
    def version(self) -> int:
        """The resource version that this was read at."""
        return int(self.body["metadata"].get("resourceVersion", 0))

    @property
    def created(self) -> str:
        """When it was made, as Kubernetes writes it: sorts as text."""
        return str(self.body["metadata"].get("creationTimestamp", ""))

    @property
    def deleted(self) -> datetime | None:
        """When somebody asked to delete it, None while nobody has."""
        stamp = self.body["metadata"].get("deletionTimestamp")
        return None if stamp is None else datetime.fromisoformat(stamp)

    @property
    def status(self) -> Mapping[str, Any]:
        """The status that it has."""
        found = self.body.get("status")
        return found if isinstance(found, Mapping) else {}

    @property
    def owner_reference(self) -> dict[str, Any]:
        """What makes another object this one's: it goes when this one goes."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def model(self) -> Model:
        """Return what the user wrote, checked as ``noria validate`` checks it.

        Raises:
            SpecError: It is refused. The API server has refused earlier what a schema can see;
                what spans several keys, and a family that is not installed here, is told here.
        """
        model = parse_model(self.written())
        if len(self.name) > MAX_NAME:
            said = f"{self.name!r} has {len(self.name)} characters"
            fix = f"its Service noria-monitor-{self.name} may have 63: write at most {MAX_NAME}"
            raise SpecError([Problem("metadata.name", said, fix)])
        return model

    def written(self) -> dict[str, Any]:
        """Return the resource as a file would hold it: no status, no metadata of Kubernetes."""
        return {
            "apiVersion": self.body.get("apiVersion", API_VERSION),
            "kind": self.body.get("kind", KIND),
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.body.get("spec", {}),
        }

    def command(self, now: datetime) -> Command | None:
        """Return what a person asked for by annotation, None when nothing.

        The id stays the same until the annotation is set again, so that a command that is read
        twice is done once.

        Raises:
            InvalidInput: The annotation holds no verb.
        """
        annotations = self._annotations()
        asked = annotations.get(COMMAND)
        if asked is None:
            return None
        try:
            verb = Verb(asked.strip())
        except ValueError as error:
            raise InvalidInput(
                f"annotation {COMMAND}: {shorten(asked)} is no command",
                fix=f"write one of {', '.join(verb.value for verb in Verb)}",
            ) from error
        by, stamp = self._asked_by()
        reason = annotations.get(COMMAND_REASON, "")
        given = annotations.get(COMMAND_ID) or f"{by}|{stamp}|{reason}"
        key = hashlib.sha256(f"{self.uid}|{verb.value}|{given}".encode()).hexdigest()[:16]
        return Command(f"annotation-{key}", verb, now, f"annotation by {by}", reason)

    def without_command(self) -> list[dict[str, Any]]:
        """Return the JSON patch that takes the command away, unless it is another one by then."""
        annotations = self._annotations()
        operations: list[dict[str, Any]] = []
        for key in (key for key in _ASKED if key in annotations):
            path = f"/metadata/annotations/{key.replace('/', '~1')}"
            operations.append({"op": "test", "path": path, "value": annotations[key]})
            operations.append({"op": "remove", "path": path})
        return operations

    def _annotations(self) -> Mapping[str, str]:
        return self.body["metadata"].get("annotations") or {}

    def _asked_by(self) -> tuple[str, str]:
        """Return the field manager that set the command, and when: Kubernetes keeps both."""
        for entry in self.body["metadata"].get("managedFields") or ():
            owned = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
            if f"f:{COMMAND}" in owned:
                return str(entry.get("manager", "unknown")), str(entry.get("time", ""))
        return "unknown", f"generation {self.generation}"

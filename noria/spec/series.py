"""A counter in somebody's ``/metrics``: its name, and what its labels must say.

Written as PromQL writes a selector: ``http_requests_total{code=~"5.."}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from noria.errors import shorten
from noria.spec.section import refuse

MAX_CHARS: Final = 300
NAME_PATTERN: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SERIES_PATTERN: Final = rf"^{NAME_PATTERN}(\{{.*\}})?$"

_SERIES: Final = re.compile(rf"({NAME_PATTERN})(?:\{{(.*)\}})?")
_MATCHER: Final = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\["\\nt])*")\s*(?:,|$)'
)
_SCRAPED: Final = ("model", "version", "namespace", "pod", "instance", "job", "le")
"""Labels that a scrape gives, or the reader chooses by."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label and what it must be (``=``, ``!=``), or a whole match of (``=~``, ``!~``)."""

    label: str
    operator: str
    value: str

    def __str__(self) -> str:
        # PromQL's strings are Go's, which reads all that JSON writes.
        return f"{self.label}{self.operator}{json.dumps(self.value, ensure_ascii=False)}"

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is meant. A label that is absent is empty."""
        found = labels.get(self.label, "")
        is_like = (
            re.fullmatch(self.value, found) is not None
            if self.operator in ("=~", "!~")
            else found == self.value
        )
        return is_like is (self.operator[0] == "=")


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one name that the matchers choose."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Series:
        """Read a selector.

        Raises:
            ValueError: It is none; the message says why.
        """
        found = _SERIES.fullmatch(text)
        if found is None:
            raise ValueError("is not the name of a series")
        inside, matchers = found[2] or "", []
        at = 0
        while inside[at:].strip():
            matched = _MATCHER.match(inside, at)
            if matched is None:
                raise ValueError("has labels that can't be read")
            matchers.append(Matcher(matched[1], matched[2], json.loads(matched[3])))
            at = matched.end()
        return cls(found[1], tuple(matchers))

    @property
    def texts(self) -> tuple[str, ...]:
        """The matchers as PromQL writes them."""
        return tuple(map(str, self.matchers))


def checked_series(value: Any) -> Any:
    """Validate a selector of the resource; it stays a text."""
    if not isinstance(value, str):
        return value  # the type error is pydantic's to make
    fix = 'write a name, or one with labels: http_requests_total{code=~"5.."}'
    if len(value) > MAX_CHARS:
        raise refuse(f"{shorten(value)} has {len(value)} characters", f"at most {MAX_CHARS}")
    try:
        series = Series.parse(value)
    except ValueError as error:
        raise refuse(f"{shorten(value)} {error}", fix) from error
    for matcher in series.matchers:
        if matcher.label in _SCRAPED:
            raise refuse(
                f"{shorten(value)} chooses by {matcher.label}, which a scrape sets",
                "remove it; the model's and the version's own servers are chosen anyway",
            )
        if "~" in matcher.operator:
            try:
                re.compile(matcher.value)
            except re.error as error:
                raise refuse(
                    f"{shorten(value)}: {shorten(matcher.value)} is no regular expression: {error}",
                    fix,
                ) from error
    return value

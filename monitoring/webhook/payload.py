"""What Alertmanager (version 4) and Grafana's unified alerting send, as one shape.

The two bodies share a skeleton. Grafana's has ``orgId``; Alertmanager's has
``version: "4"`` and no ``orgId``. The status of the group is not read: it says
firing while any alert fires. Formats: prometheus.io/docs/alerting/latest/
configuration, webhook_config; grafana.com/docs, webhook notifier.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Annotated, Final, Literal

import msgspec

from noria.errors import InvalidInput, shorten
from noria.loop.values import Moment

_ALERTMANAGER: Final = "4"
_WHERE: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<where>[^`]*)`$")

Source = Literal["alertmanager", "grafana"]
_Count = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert. ``starts_at`` is the same for the whole of an episode, resent or resolved."""

    status: Literal["firing", "resolved"]
    labels: Mapping[str, str]
    starts_at: Moment
    annotations: Mapping[str, str] = {}
    fingerprint: str = ""

    def __post_init__(self) -> None:
        """Refuse a start that has no place in UTC: the end of year 9999, further west."""
        try:
            self.starts_at.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("startsAt: no time that UTC has") from error

    @property
    def name(self) -> str:
        """Its name."""
        return self.labels.get("alertname", "an alert without a name")

    @property
    def key(self) -> str:
        """What makes this episode of this alert: 32 hex digits.

        A fingerprint repeats for every episode, a start for every alert of a group.
        """
        fingerprint = self.fingerprint or "\xff".join(
            f"{name}\xff{value}" for name, value in sorted(self.labels.items())
        )
        start = self.starts_at.astimezone(UTC).isoformat(timespec="microseconds")
        return hashlib.sha256(f"{fingerprint}|{start}".encode()).hexdigest()[:32]


class Delivery(msgspec.Struct, frozen=True):
    """What one request brought. ``truncated`` alerts were cut off by the sender."""

    source: Source
    alerts: tuple[Alert, ...]
    truncated: int = 0
    group: str = ""


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    alerts: Sequence[Alert]
    version: str = ""
    org_id: _Count | None = None
    truncated_alerts: _Count | None = None
    group_key: str = ""


def read_delivery(body: bytes) -> Delivery:
    """Read the body of one delivery.

    Raises:
        InvalidInput: It is none; the message names the field.
    """
    try:
        found = msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError as error:
        where = _WHERE.search(str(error))
        named = (where["where"] if where is not None else "") or "body"
        raise InvalidInput(f"{named}: {_WHERE.sub('', str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"body: no JSON: {error}") from error
    truncated = max(found.truncated_alerts or 0, 0)
    alerts = tuple(found.alerts)
    if found.org_id is not None:
        return Delivery("grafana", alerts, truncated, found.group_key)
    if found.version == _ALERTMANAGER:
        return Delivery("alertmanager", alerts, truncated, found.group_key)
    raise InvalidInput(
        f"version: {shorten(found.version)} without orgId is neither Alertmanager's nor Grafana's",
        fix="Alertmanager sends version 4; Grafana's unified alerting sends orgId",
    )

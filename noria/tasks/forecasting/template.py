"""What ``noria init`` writes for ``forecasting``: daily parcels of made-up depots."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = texts_of("noria.tasks.forecasting")

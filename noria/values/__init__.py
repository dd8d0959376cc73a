"""One rule for how a value of any source becomes a number, a category, a key, a label or a moment.

``scalars`` reads one value (of a request, a label, a feature store), ``columns`` a column of a
file or a frame, ``notation`` the fields of a CSV file, which are all written as text. The rule
is the table "What a value becomes" in ``docs/data-and-features.md``; training, serving, replay,
feedback, the monitor and Feast all read values by it. What it can't take, it refuses by name:
nothing disappears, loses digits or becomes another value.
"""

from noria.values.scalars import (
    Class,
    epoch_ms,
    label,
    moment,
    number,
    place_of,
    text,
    whole_limit,
)

__all__ = ["Class", "epoch_ms", "label", "moment", "number", "place_of", "text", "whole_limit"]

"""The whole loop, by its defaults, on streams that it was not tuned for: ``make bench-loop``."""

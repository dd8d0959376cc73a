"""The task family ``multi-label``: several yes/no answers about one row of columns."""

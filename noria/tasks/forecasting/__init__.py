"""The task family ``forecasting``: many series, each some steps ahead."""

"""Where rows come from: one module per kind of source, and the project's own data module."""

"""The task family ``custom``: a project brings its own model, as a class or as a command."""

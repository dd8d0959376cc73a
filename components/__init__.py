"""KFP components: thin shims, one folder each, over the task families of ``noria.tasks``.

``components.steps`` holds what they do; each ``component.py`` only declares
what KFP needs to know. Parameters are strings and artifacts are files or
folders, so nothing of KFP reaches the task families.
"""

BASE_IMAGE = "noria-components:0.2.0"
"""The image that a step runs in on a cluster; it holds this distribution and all its extras."""

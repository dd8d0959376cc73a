"""What is generated from the resource: the editors' schema, the CRD and the reference page."""

from __future__ import annotations

from noria.spec.schema.crd import crd
from noria.spec.schema.editor import json_schema
from noria.spec.schema.reference import reference_markdown

__all__ = ["crd", "json_schema", "reference_markdown"]

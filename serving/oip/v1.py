"""The V1 protocol: ``{"instances": [...]}`` in, ``{"predictions": [...]}`` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from noria.errors import shorten
from noria.tasks.package import Input
from serving.oip.datatypes import DATATYPES
from serving.oip.rest import InferRequest, parse_object, request_id
from serving.oip.tensors import Tensor, from_json
from serving.refusal import bad


def decode_v1(body: bytes, inputs: Sequence[Input]) -> InferRequest:
    """Decode the body of ``POST /v1/models/{m}:predict``.

    Instances are lists (one value per required input, in the manifest's order)
    or objects (one key per input).

    Raises:
        Refusal: The body is not a V1 request; the message names the field.
    """
    document = parse_object(body)
    instances = document.get("instances")
    if type(instances) is not list or not instances:
        raise bad("instances", f"{shorten(instances)} is not a list of one row or more")
    if type(instances[0]) is dict:
        tensors = _from_objects(instances, inputs)
    else:
        tensors = _from_lists(instances, [given for given in inputs if not given.optional])
    return InferRequest(
        id=request_id(document.get("id")), tensors=tensors, outputs=None, binary=False
    )


def encode_v1(results: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Write a value per row, or an object per row when there are several outputs."""
    if len(results) == 1:
        (values,) = results.values()
        return orjson.dumps({"predictions": values.tolist()})
    names = tuple(results)
    rows = zip(*(values.tolist() for values in results.values()), strict=True)
    return orjson.dumps({"predictions": [dict(zip(names, row, strict=True)) for row in rows]})


def _from_objects(instances: list[Any], inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    known = {given.name: given for given in inputs}
    sent: dict[str, None] = {}
    for place, row in enumerate(instances):
        if type(row) is not dict:
            raise bad(f"instances[{place}]", f"{shorten(row, 40)} is not an object like the first")
        for name in row:
            if name not in known:
                raise bad(
                    f"instances[{place}].{shorten(name, 60)}",
                    f"not an input of this model; its inputs are {', '.join(known)}",
                )
            sent[name] = None
    tensors = []
    for given in inputs:
        if given.optional and given.name not in sent:
            continue
        values = []
        for place, row in enumerate(instances):
            if given.name not in row:
                raise bad(f"instances[{place}].{given.name}", "missing")
            values.append(row[given.name])
        tensors.append(_tensor(given, values))
    return tuple(tensors)


def _from_lists(instances: list[Any], inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    width = len(inputs)
    for place, row in enumerate(instances):
        if type(row) is not list:
            raise bad(f"instances[{place}]", f"{shorten(row, 40)} is neither a list nor an object")
        if len(row) != width:
            raise bad(
                f"instances[{place}]",
                f"{len(row)} values; this model has {width} required inputs: "
                f"{', '.join(given.name for given in inputs)}",
            )
    return tuple(
        _tensor(given, [row[place] for row in instances]) for place, given in enumerate(inputs)
    )


def _tensor(given: Input, values: list[Any]) -> Tensor:
    field = f"instances[*].{given.name}"
    datatype = DATATYPES.get(given.datatype, DATATYPES["BYTES"])
    if given.kind == "timestamp" and type(values[0]) is str:
        datatype = DATATYPES["BYTES"]
    shape = (len(values),)
    column = from_json(field, datatype, shape, values, look_for_booleans=True)
    return Tensor(field, given.name, datatype, shape, column)

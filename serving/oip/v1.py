"""The V1 protocol: ``{"instances": [...]}`` in, ``{"predictions": [...]}`` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from noria.errors import InvalidInput, shorten
from noria.exchange.datatypes import DATATYPES
from noria.predictions import MAX_TEXT_CHARS
from noria.tasks.package import Input
from noria.values import text
from serving.oip.rest import InferRequest, parse_object, request_id
from serving.oip.tensors import Tensor, check_texts, from_json
from serving.refusal import bad, listed


def decode_v1(body: bytes, inputs: Sequence[Input]) -> InferRequest:
    """Decode the body of ``POST /v1/models/{m}:predict``.

    Instances are lists (one value per required input, in the manifest's order)
    or objects (one key per input); a vector is a list within. Of a model whose one required
    input is a vector, an instance may be that list itself. An optional key that only some rows
    have is null in the others.

    Raises:
        Refusal: The body is not a V1 request; the message names the field.
    """
    document = parse_object(body)
    instances = document.get("instances")
    if type(instances) is not list or not instances:
        raise bad(
            "instances",
            f"{shorten(instances)} is not a list of one row or more; send lists, or objects with a "
            "key for each input",
        )
    if type(instances[0]) is dict:
        tensors = tensors_of_rows(instances, inputs)
    else:
        tensors = _from_lists(instances, [given for given in inputs if not given.optional])
    if len(body) > MAX_TEXT_CHARS:
        files = {given.name for given in inputs if given.kind == "image"}
        check_texts([tensor for tensor in tensors if tensor.name not in files])
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


def tensors_of_rows(instances: Sequence[Any], inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    """Return a tensor for each input of n objects; an optional one that none of them has is none.

    Raises:
        Refusal: One is no object, has a key that is no input, lacks one, or a value does not fit.
    """
    known = {given.name: given for given in inputs}
    sent: dict[str, None] = {}
    for place, row in enumerate(instances):
        if type(row) is not dict:
            raise bad(f"instances[{place}]", f"{shorten(row, 40)} is not an object like the first")
        for name in row:
            if name not in known:
                raise bad(
                    f"instances[{place}].{shorten(name, 60)}",
                    f"not an input of this model; its inputs are {listed(known)}",
                )
            sent[name] = None
    tensors = []
    for given in inputs:
        if given.optional and given.name not in sent:
            continue
        values = []
        for place, row in enumerate(instances):
            if given.name not in row and not given.optional:
                raise bad(f"instances[{place}].{given.name}", "missing; send it in every row")
            values.append(row.get(given.name))
        tensors.append(_tensor(given, values))
    return tuple(tensors)


def _from_lists(instances: list[Any], inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    if (
        len(inputs) == 1
        and inputs[0].shape
        and all(type(row) is list and not (row and type(row[0]) is list) for row in instances)
    ):
        return (_tensor(inputs[0], instances),)
    width = len(inputs)
    for place, row in enumerate(instances):
        if type(row) is not list:
            raise bad(f"instances[{place}]", f"{shorten(row, 40)} is neither a list nor an object")
        if len(row) != width:
            raise bad(
                f"instances[{place}]",
                f"{len(row)} values; this model has {width} required inputs: "
                f"{listed(given.name for given in inputs)}",
            )
    return tuple(
        _tensor(given, [row[place] for row in instances]) for place, given in enumerate(inputs)
    )


def _tensor(given: Input, values: list[Any]) -> Tensor:
    field = f"instances[*].{given.name}"
    datatype = DATATYPES.get(given.datatype, DATATYPES["BYTES"])
    kinds = set(map(type, values)) - {type(None)}
    if given.kind == "timestamp" and (str in kinds or not kinds):
        datatype = DATATYPES["BYTES"]
    elif given.kind == "categorical" and datatype.group == "bytes" and kinds - {str}:
        values = [_named(value, f"{field}[{place}]") for place, value in enumerate(values)]
    elif given.kind == "image" and dict in kinds:
        values = [_file(value, f"{field}[{place}]") for place, value in enumerate(values)]
    elif given.kind == "boolean" and kinds and kinds <= {int, float}:
        datatype = DATATYPES["FP64"]
    shape = (len(values), *given.shape)
    if given.shape:
        nothing = [None] * given.shape[0]
        values = [nothing if value is None else value for value in values]
    may_be_gone = given.optional or given.kind == "timestamp"
    gone = may_be_gone and datatype.group == "integer" and None in values
    sent = [0 if value is None else value for value in values] if gone else values
    column = from_json(field, datatype, shape, sent, look_for_booleans=True)
    if gone:
        column = np.where([value is None for value in values], np.nan, column)
    return Tensor(field, given.name, datatype, shape, column)


def _file(value: object, field: str) -> object:
    """Return the base64 of a file that is sent as ``{"b64": "..."}``."""
    if type(value) is not dict:
        return value
    if list(value) != ["b64"] or type(value["b64"]) is not str:
        raise bad(field, f'{shorten(value, 60)} is not {{"b64": "..."}}')
    return value["b64"]


def _named(value: object, field: str) -> str | None:
    """Return a JSON value as a category: 7 and 7.0 are "7", as in training."""
    try:
        return text(value)
    except InvalidInput as error:
        raise bad(field, str(error)) from error

"""The kserve SDK's own clients and types against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

from noria.tasks.package import load_predictor

ROWS = np.array([[1.0, 2.0, 3.0, 4.0], [0.1, -0.2, 0.3, -4.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.fixture
def expected(package: Any) -> dict[str, np.ndarray[Any, Any]]:
    columns = dict(zip("abcd", ROWS.T, strict=True))
    return load_predictor(package).predict(columns)


@pytest.fixture
async def rest() -> AsyncIterator[InferenceRESTClient]:
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=10, verify=False))
    yield client
    await client.close()


@pytest.fixture
async def grpc_client(server: Any) -> AsyncIterator[InferenceGRPCClient]:
    client = InferenceGRPCClient(f"127.0.0.1:{server.grpc}", timeout=10, retries=0)
    yield client
    await client.close()


def matrix(*, binary: bool, dtype: str = "FP64") -> list[InferInput]:
    values = ROWS.astype({"FP64": np.float64, "FP32": np.float32}[dtype])
    tensor = InferInput("input-0", list(values.shape), dtype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def by_column(*, binary: bool) -> list[InferInput]:
    tensors = []
    for place, name in enumerate("cadb"):
        column = np.ascontiguousarray(ROWS[:, "abcd".index(name)])
        if place % 2:
            column = column.reshape(-1, 1)
        tensor = InferInput(name, list(column.shape), "FP64")
        tensor.set_data_from_numpy(column, binary_data=binary)
        tensors.append(tensor)
    return tensors


def check(response: InferResponse, expected: dict[str, np.ndarray[Any, Any]]) -> None:
    found = {output.name: output for output in response.outputs}
    assert list(found) == ["probability", "label"]
    assert found["probability"].datatype == "FP64"
    assert found["label"].datatype == "INT64"
    for name, output in found.items():
        assert list(output.shape) == [3]
        np.testing.assert_array_equal(output.as_numpy(), expected[name])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("inputs", [matrix, by_column])
async def test_rest_answers_the_sdk(
    server: Any, rest: InferenceRESTClient, expected: Any, inputs: Any, binary: bool
) -> None:
    request = InferRequest("m", inputs(binary=binary), request_id="r-1")
    response = await rest.infer(server.url, request, model_name="m")
    assert isinstance(response, InferResponse)
    assert response.id == "r-1"
    assert response.model_name == "m"
    assert response.parameters == {"model_version": "3"}
    check(response, expected)


@pytest.mark.parametrize("binary_out", [False, True])
async def test_rest_sends_binary_outputs_when_they_are_asked_for(
    server: Any, rest: InferenceRESTClient, expected: Any, binary_out: bool
) -> None:
    request = InferRequest(
        "m", matrix(binary=True), parameters={"binary_data_output": binary_out}
    )  # fmt: skip
    headers: dict[str, str] = {}
    response = await rest.infer(server.url, request, model_name="m", response_headers=headers)
    assert ("inference-header-content-length" in headers) is binary_out
    assert headers["x-noria-model-version"] == "3"
    check(response, expected)


async def test_rest_sends_only_the_outputs_that_are_asked_for(
    server: Any, rest: InferenceRESTClient, expected: Any
) -> None:
    wanted = [RequestedOutput("probability", parameters={"binary_data": True})]
    request = InferRequest("m", matrix(binary=False), request_outputs=wanted)
    response = await rest.infer(server.url, request, model_name="m")
    (output,) = response.outputs
    assert isinstance(output, InferOutput)
    np.testing.assert_array_equal(output.as_numpy(), expected["probability"])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("inputs", [matrix, by_column])
async def test_grpc_answers_the_sdk(
    grpc_client: InferenceGRPCClient, expected: Any, inputs: Any, binary: bool
) -> None:
    request = InferRequest("m", inputs(binary=binary), request_id="r-1")
    response = await grpc_client.infer(request)
    assert response.id == "r-1"
    assert response.model_version == "3"
    check(response, expected)


async def test_both_protocols_read_narrow_floats_alike(
    server: Any, rest: InferenceRESTClient, grpc_client: InferenceGRPCClient
) -> None:
    over_rest = await rest.infer(
        server.url, InferRequest("m", matrix(binary=False, dtype="FP32")), model_name="m"
    )
    over_grpc = await grpc_client.infer(InferRequest("m", matrix(binary=True, dtype="FP32")))
    np.testing.assert_array_equal(over_rest.outputs[0].as_numpy(), over_grpc.outputs[0].as_numpy())


async def test_health_through_the_sdk(
    server: Any, rest: InferenceRESTClient, grpc_client: InferenceGRPCClient
) -> None:
    assert await rest.is_server_live(server.url)
    assert await rest.is_server_ready(server.url)
    assert await rest.is_model_ready(server.url, "m")
    assert await grpc_client.is_server_live()
    assert await grpc_client.is_server_ready()
    assert await grpc_client.is_model_ready("m")


async def test_v1_through_the_sdk(server: Any, expected: Any) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=10, verify=False))
    objects = [dict(zip("abcd", row, strict=True)) for row in ROWS.tolist()]
    for instances in (ROWS.tolist(), objects):
        response = await client.infer(server.url, {"instances": instances}, model_name="m")
        assert [row["probability"] for row in response["predictions"]] == expected[
            "probability"
        ].tolist()
    await client.close()


async def test_metadata_names_inputs_and_outputs(server: Any) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    over_rest = httpx.get(f"{server.url}/v2/models/m", trust_env=False).json()
    assert over_rest["name"] == "m"
    assert over_rest["versions"] == ["3"]
    assert [tensor["name"] for tensor in over_rest["inputs"]] == list("abcd")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        said = await stub.ModelMetadata(messages.ModelMetadataRequest(name="m"))
        assert [tensor.name for tensor in said.inputs] == list("abcd")
        assert [tensor.datatype for tensor in said.outputs] == ["FP64", "INT64"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelMetadata(messages.ModelMetadataRequest(name="other"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "model_name: 'other' is not served here"),
        ({"model_version": "9"}, "NOT_FOUND", "model_version: '9' of m is not served here"),
        ({"inputs": []}, "INVALID_ARGUMENT", "inputs: empty"),
        ({"raw": [b"x"]}, "INVALID_ARGUMENT", "raw_input_contents[0]: 1 bytes of data"),
        ({"raw": [b"", b""]}, "INVALID_ARGUMENT", "raw_input_contents: 2 entries for 1 inputs"),
        ({"datatype": "BYTES"}, "INVALID_ARGUMENT", "raw_input_contents[0]: BYTES"),
        ({"datatype": "FP1"}, "INVALID_ARGUMENT", "inputs[0].datatype: 'FP1'"),
        ({"shape": [-1, 4]}, "INVALID_ARGUMENT", "inputs[0].shape: -1"),
        ({"outputs": ["nope"]}, "INVALID_ARGUMENT", "outputs[0].name: 'nope'"),
        ({"nan": True}, "INVALID_ARGUMENT", "inputs[0].data[1]: NaN or null, and b may not"),
    ],
)
async def test_grpc_refuses_what_is_wrong_and_names_it(
    server: Any, change: dict[str, Any], code: str, message: str
) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    values = ROWS.copy()
    if change.get("nan"):
        values[0, 1] = np.nan
    tensor = {
        "name": "x",
        "datatype": change.get("datatype", "FP64"),
        "shape": change.get("shape", [3, 4]),
    }
    request = messages.ModelInferRequest(
        model_name=change.get("model_name", "m"),
        model_version=change.get("model_version", ""),
        inputs=change.get("inputs", [tensor]),
        outputs=[{"name": name} for name in change.get("outputs", [])],
        raw_input_contents=change.get("raw", [values.tobytes()]),
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert refused.value.code().name == code
    assert message in refused.value.details()

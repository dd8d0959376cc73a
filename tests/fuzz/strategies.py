"""What is sent: sound messages with one part or another replaced by nonsense."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from hypothesis import strategies as st

from noria.predictions import MEDIA_TYPE

Message: TypeAlias = bytes


class Raw(str):
    """JSON text that is put in as it is: what ``json.dumps`` would never write."""

    __slots__ = ()


NASTY: Final = st.one_of(
    st.sampled_from(
        [
            None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400,
            0.0, -0.0, 1e-320, 1e30, 1e308, -1e308, "", "\x00", "a\x00b", "\ud800", "nan", "NA",
            "1e999", "주문-1", "x" * 300, "x" * 70_000, "../../etc/passwd", "a|b", "%00", "\r\nX: y",
            [], {}, [[]], [None], [[1, 2], [3]], {"": ""}, Raw("NaN"), Raw("-Infinity"), Raw("1e999"),
            Raw("[" * 900 + "1" + "]" * 900), Raw('{"inputs":' * 1000 + "1" + "}" * 1000),
            Raw("0" * 5000), Raw("[" + "0," * 20_000 + "0]"), Raw('{"a":1,"a":2}'), Raw('"\\ud800"'),
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ),
)  # fmt: skip


def as_json(value: Any) -> bytes:
    """Write a value as JSON, with its ``Raw`` parts as they are."""
    if isinstance(value, Raw):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping):
        items = [as_json(str(key)) + b":" + as_json(item) for key, item in value.items()]
        return b"{" + b",".join(items) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(as_json, value)) + b"]"
    return json.dumps(value).encode("utf-8", "surrogatepass")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each part of a value, itself first."""
    found = [path]
    if isinstance(value, Mapping):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def replaced(value: Any, path: Sequence[Any], new: Any) -> Any:
    """Return the value with the part at ``path`` replaced."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {k: replaced(v, rest, new) if k == first else v for k, v in value.items()}
    return [replaced(v, rest, new) if i == first else v for i, v in enumerate(value)]


@st.composite
def spoiled(draw: st.DrawFn, *sound: Any) -> Any:
    """Draw one of the values, with up to three parts replaced, left out or doubled."""
    value = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(value)))
        value = replaced(value, path, draw(NASTY))
    return value


@st.composite
def cut(draw: st.DrawFn, body: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes, mostly whole, else with pieces changed, cut away or doubled."""
    found = bytearray(draw(body))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 5]))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        match draw(st.sampled_from(["set", "cut", "twice", "insert"])):
            case "set" if found:
                found[at] = draw(st.integers(0, 255))
            case "cut":
                del found[at : at + draw(st.integers(1, 50))]
            case "twice":
                found[at:at] = found[at : at + draw(st.integers(1, 200))]
            case "insert":
                found[at:at] = draw(st.binary(max_size=8))
    return bytes(found)


HEADERS: Final = st.lists(
    st.sampled_from(
        [
            b"Host: a", b"Host:", b"Connection: close", b"Connection: keep-alive, upgrade",
            b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: nonsense", b"Content-Length: 5",
            b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip", b"Content-Encoding: br",
            b"Content-Encoding: gzip, gzip", b"Accept-Encoding: \xff", b"X-Request-Id: \xec\xa3\xbc\xeb\xac\xb8",
            b"X-Request-Id: a\x00b", b"Origin: http://evil.example", b"Sec-Fetch-Site: cross-site",
            b"X: " + b"a" * 40_000, b"Inference-Header-Content-Length: 99999", b"Inference-Header-Content-Length: -5",
            b"Authorization: Bearer x", b"Cookie: a=b; " * 50, b"Range: bytes=0-1", b" folded: x", b"no colon",
            b"Content-Type: text/plain", b"Content-Type: application/octet-stream", b"Content-Type:",
        ]
    ),
    max_size=4,
)  # fmt: skip


@st.composite
def request(
    draw: st.DrawFn,
    targets: Sequence[bytes],
    bodies: st.SearchStrategy[tuple[bytes, bytes]],
    methods: Sequence[bytes] = (
        b"POST",
        b"POST",
        b"POST",
        b"GET",
        b"PUT",
        b"HEAD",
        b"OPTIONS",
        b"DELETE",
    ),
) -> Message:
    """Draw one HTTP request as bytes; ``bodies`` give header lines (with CR LF) and a body."""
    target = draw(
        st.one_of(
            st.sampled_from(targets),
            st.sampled_from(targets).map(lambda t: t + b"?limit=99999999999999999999&since=%ff&x=" + b"y" * 50),
            st.binary(max_size=30).map(lambda b: b"/" + b.replace(b" ", b"").replace(b"\n", b"").replace(b"\r", b"")),
            st.sampled_from([b"*", b"http://other.example/", b"//", b"/%00", b"/%zz", b"/..;/metrics", b"/" + b"a" * 70_000]),
        )
    )  # fmt: skip
    lines, body = draw(bodies)
    framing = draw(
        st.sampled_from(["length", "length", "length", "chunked", "none", "gzip", "bomb"])
    )
    if framing == "gzip":
        body = gzip.compress(body, 1)
        lines += b"Content-Encoding: gzip\r\n"
    elif framing == "bomb":
        body = gzip.compress(b"[" + b"0," * 3_000_000 + b"0]", 9)
        lines += b"Content-Encoding: gzip\r\n"
    if framing == "chunked":
        lines += b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif framing != "none":
        lines += b"Content-Length: %d\r\n" % len(body)
    extra = b"".join(line + b"\r\n" for line in draw(HEADERS))
    head = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b%b\r\n" % (
        draw(st.sampled_from(methods)),
        target,
        lines,
        extra,
    )
    return draw(cut(st.just(head))) + draw(cut(st.just(body)))


def json_bodies(
    *sound: Any, kind: bytes = b"application/json"
) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Return bodies of spoiled JSON."""
    line = b"Content-Type: %b\r\n" % kind
    return st.tuples(st.just(line), cut(spoiled(*sound).map(as_json)))


V2: Final = {
    "id": "r1",
    "parameters": {"binary_data_output": False},
    "inputs": [
        {"name": "a", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]},
        {"name": "b", "shape": [2], "datatype": "FP32", "data": [1.5, -2.0], "parameters": {}},
    ],
    "outputs": [{"name": "probability"}],
}
V1: Final = {"instances": [{"a": 1.0, "b": 2.0}, {"a": 3, "b": None}]}
BINARY: Final = {
    "inputs": [
        {"name": "a", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
        {"name": "b", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
    ]
}


@st.composite
def binary_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a V2 request of raw tensors behind a JSON head."""
    head = as_json(draw(spoiled(BINARY)))
    size = draw(st.sampled_from([len(head), len(head), len(head) - 1, 0, 10**9]))
    line = (
        b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % size
    )
    return line, head + draw(st.binary(max_size=40) | st.just(b"\x00" * 16))


MODEL_SERVER: Final = st.one_of(
    request([b"/v2/models/m/infer", b"/v2/models/m/versions/1/infer"], json_bodies(V2)),
    request([b"/v1/models/m:predict"], json_bodies(V1)),
    request([b"/v2/models/m/infer"], binary_bodies()),
    request(
        [b"/", b"/metrics", b"/v2", b"/v2/health/live", b"/v2/health/ready", b"/v2/models/m", b"/v1/models",
         b"/v2/models/m/ready", b"/v2/repository/index", b"/v1/models/m"],
        json_bodies({}),
        (b"GET", b"GET", b"HEAD", b"OPTIONS", b"POST", b"TRACE", b"CONNECT", b"PRI"),
    ),
)  # fmt: skip

_EVENT: Final = {
    "specversion": "1.0",
    "id": "e1",
    "type": "org.kubeflow.serving.inference.request",
    "source": "http://localhost:9081/",
    "inferenceservicename": "m",
    "time": "2026-01-01T00:00:00Z",
    "datacontenttype": "application/json",
    "data": {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1.0]}]},
}
_CE: Final = (
    b"Ce-Specversion: 1.0\r\nCe-Id: %b\r\nCe-Type: org.kubeflow.serving.inference.%b\r\n"
    b"Ce-Source: x\r\nCe-Inferenceservicename: m\r\nContent-Type: application/json\r\n"
)
_LABELS: Final = {
    "labels": [
        {"id": "r1:0", "label": 1, "time": 1_700_000_000.0},
        {"key": ["x"], "label": "yes", "time": "2026-01-01T00:00:00Z"},
    ]
}
_ALERTS: Final = {
    "receiver": "noria", "status": "firing", "version": "4", "groupKey": "{}", "truncatedAlerts": 0,
    "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://a",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "NoriaDrift", "model": "m", "noria_signal": "drift"},
         "annotations": {"summary": "x"}, "startsAt": "2026-01-01T00:00:00Z",
         "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://b", "fingerprint": "ab"}
    ],
}  # fmt: skip


@st.composite
def _events(draw: st.DrawFn) -> tuple[bytes, bytes]:
    identity = draw(
        st.sampled_from([b"e1", b"%EC%A3%BC", b"\xec\xa3\xbc", b"a" * 5000, b"", b"%zz"])
    )
    line = _CE % (identity, draw(st.sampled_from([b"request", b"response", b"other"])))
    return line, as_json(draw(spoiled(V2, V1, {"outputs": V2["inputs"]}, {"predictions": [0.5]})))


@st.composite
def _blocks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    block = ["m", "1", ["r1", "r2"], b"\x01\x00\x00\x00" * 2, {"a": b"\x00" * 16, "b": [["x"], b"\x00" * 8]},
             {"probability": [b"\x00" * 16, 1]}, {"v": [2, b"\x00" * 16]}, {"b": "rank"}]  # fmt: skip
    path = draw(st.sampled_from(places(block)))
    new = draw(
        st.sampled_from(
            [None, 0, 2**63, b"", b"\xff" * 8, b"\x00" * 7, "x" * 9999, [], {}, [[]], True, 1e308]
        )
    )
    try:
        body = msgspec.msgpack.encode(replaced(block, path, new))
    except (TypeError, OverflowError):
        body = b""
    return b"Content-Type: %b\r\n" % MEDIA_TYPE.encode(), draw(cut(st.just(body)))


@st.composite
def _references(draw: st.DrawFn) -> tuple[bytes, bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        names = draw(
            st.lists(
                st.sampled_from(["reference.json", "rows.npz", "../x", "/etc/x", "extra", "a/b"]),
                max_size=4,
            )
        )
        for name in dict.fromkeys(names):
            content = draw(
                st.sampled_from(
                    [b"{}", b"", b"\x00" * 5_000_000, b"PK\x03\x04", zlib.compress(b"x")]
                )
            )
            archive.writestr(name, content)
    return b"Content-Type: application/zip\r\n", draw(cut(st.just(stream.getvalue())))


MONITOR: Final = st.one_of(
    request([b"/"], _events()),
    request([b"/"], json_bodies(_EVENT, kind=b"application/cloudevents+json")),
    request([b"/"], json_bodies([_EVENT, _EVENT], kind=b"application/cloudevents-batch+json")),
    request([b"/"], _blocks()),
    request([b"/feedback"], json_bodies(_LABELS)),
    request([b"/partials"], st.tuples(st.just(b""), st.binary(max_size=200))),
    request([b"/models/m/versions/1/reference", b"/models/m/versions/1/reference?champion=true"], _references(), (b"PUT",)),
    request([b"/models/m/versions/1/reference"], json_bodies({"path": "/tmp/x", "champion": True}), (b"PUT",)),
    request(
        [b"/models/m/status", b"/models/m/signals", b"/models/m/windows", b"/models/m/measure?metric=auc&since=1e30",
         b"/models/m/measure?metric=auc&since=2026-13-01T00:00:00Z", b"/healthz", b"/metrics", b"/models/%2e%2e/status",
         b"/models/m/windows?stream=%00&limit=5"],
        json_bodies({}),
        (b"GET", b"GET", b"GET", b"HEAD", b"POST"),
    ),
)  # fmt: skip

WEBHOOK: Final = st.one_of(
    request([b"/alerts", b"/alerts/", b"/"], json_bodies(_ALERTS)),
    request([b"/healthz", b"/metrics"], json_bodies({}), (b"GET", b"HEAD", b"POST")),
)

PAGE: Final = request(
    [b"/", b"/models/m", b"/models/m/ledger", b"/models/m/ledger?page=99999999999999999999&kind=%ff", b"/static/x",
     b"/static/../../etc/passwd", b"/login", b"/models/%00/", b"/models/m/actions/promote"],
    st.one_of(
        st.tuples(st.just(b"Content-Type: application/x-www-form-urlencoded\r\n"), st.binary(max_size=200)),
        st.tuples(st.just(b"Content-Type: multipart/form-data; boundary=x\r\n"), st.binary(max_size=200)),
        json_bodies({}),
    ),
    (b"GET", b"GET", b"GET", b"POST", b"HEAD", b"PUT"),
)  # fmt: skip


def grpc_messages() -> st.SearchStrategy[tuple[str, bytes]]:
    """Return a method's path and the bytes that are sent to it."""
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

    sound = pb.ModelInferRequest(model_name="m", id="r1")
    for name in ("a", "b"):
        tensor = sound.inputs.add(name=name, datatype="FP64", shape=[1])
        tensor.contents.fp64_contents.append(1.0)
    raw = pb.ModelInferRequest(model_name="m")
    for name in ("a", "b"):
        raw.inputs.add(name=name, datatype="FP64", shape=[1])
        raw.raw_input_contents.append(b"\x00" * 8)
    big = pb.ModelInferRequest(model_name="m")
    big.inputs.add(name="a", datatype="BYTES", shape=[-1, 2**62, 2**62])
    methods = [
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
        "RepositoryModelLoad", "RepositoryModelUnload", "Nothing",
    ]  # fmt: skip
    bodies = st.one_of(
        st.binary(max_size=100),
        cut(st.sampled_from([one.SerializeToString() for one in (sound, raw, big)])),
    )
    path = st.sampled_from([f"/inference.GRPCInferenceService/{name}" for name in methods])
    infer = st.just("/inference.GRPCInferenceService/ModelInfer")
    return st.tuples(st.one_of(infer, infer, path), bodies)


Strategy: TypeAlias = st.SearchStrategy[Any]
Make: TypeAlias = Callable[[], Strategy]

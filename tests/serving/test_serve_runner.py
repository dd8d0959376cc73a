"""Predictions beside the event loop: nothing blocks it, batches form, the queue is bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from msgspec.structs import replace

from noria.errors import InvalidInput, Unavailable
from noria.http import HttpLimits, HttpServer
from noria.tasks.package import Feature, Input, Manifest, Output
from serving.columns import Batch, InputBinder
from serving.metrics import ServerMetrics
from serving.oip.rest import ResponseEncoder
from serving.refusal import Refusal
from serving.routes import Router
from serving.runner import Batching, Outcome, Runner
from serving.service import READ_HEADERS, InferenceService, Loaded, refusal_response

MANIFEST = Manifest(
    model="m",
    family="tabular-regression",
    algorithm="linear",
    inputs=(Input("x", "FP64", "numeric"),),
    outputs=(Output("prediction", "FP64"),),
    features=(Feature("x", "numeric"),),
)


@dataclass
class Doubler:
    """Doubles x, after what ``before`` does with it; remembers the size of each call."""

    before: Callable[[np.ndarray[Any, Any]], None] = lambda _: None
    calls: list[int] = field(default_factory=list)
    manifest: Manifest = MANIFEST

    def predict(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        values = columns["x"]
        self.calls.append(len(values))
        self.before(values)
        return {"prediction": values * 2}


class Gate:
    """Holds predictions until the test opens it, so that no test has to be quick."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _: np.ndarray[Any, Any]) -> None:
        self.reached.set()
        assert self.open.wait(60), "nobody opened the gate: the event loop is held up"


def runner_of(predictor: Doubler, lookup: Any = None, **batching: Any) -> Runner:
    return Runner(predictor, lookup, Batching(**batching), ServerMetrics("m", "1"))


def batch(*values: float) -> Batch:
    return Batch({"x": np.array(values)}, len(values))


async def outcome_of(runner: Runner, *values: float) -> list[float]:
    answer = runner.run(batch(*values))
    outcome = answer if isinstance(answer, Outcome) else await answer
    found: list[float] = outcome.results["prediction"].tolist()
    return found


async def test_a_cheap_prediction_is_answered_at_once() -> None:
    runner = runner_of(Doubler())
    runner.calibrate()
    answer = runner.run(batch(1.0))
    assert isinstance(answer, Outcome)
    assert answer.results["prediction"].tolist() == [2.0]


async def test_one_prediction_that_had_to_wait_does_not_send_the_next_to_the_worker() -> None:
    predictor = Doubler()
    runner = runner_of(predictor)
    runner.calibrate()
    predictor.before = lambda _: time.sleep(0.05)
    assert isinstance(runner.run(batch(1.0)), Outcome)
    predictor.before = lambda _: None
    assert isinstance(runner.run(batch(1.0)), Outcome)


async def test_predictions_that_have_become_slow_go_to_the_worker() -> None:
    predictor = Doubler()
    runner = runner_of(predictor)
    runner.calibrate()
    predictor.before = lambda _: time.sleep(0.005)
    for _ in range(100):
        answer = runner.run(batch(1.0))
        if not isinstance(answer, Outcome):
            assert (await answer).results["prediction"].tolist() == [2.0]
            return
    pytest.fail("it is still answered at once")


async def test_a_slow_prediction_does_not_hold_up_the_event_loop() -> None:
    gate, predictor = Gate(), Doubler(before=lambda _: time.sleep(0.05))
    runner = runner_of(predictor)
    runner.calibrate()
    predictor.before = gate
    pending = asyncio.ensure_future(outcome_of(runner, 1.0))
    assert await asyncio.to_thread(gate.reached.wait, 60)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not pending.done()
    gate.open.set()
    assert await pending == [2.0]


async def test_concurrent_requests_are_predicted_together_and_each_gets_its_own() -> None:
    predictor = Doubler(before=lambda _: time.sleep(0.02))
    runner = runner_of(predictor)
    answers = await asyncio.gather(*(outcome_of(runner, float(n), n + 0.5) for n in range(50)))
    assert answers == [[2.0 * n, 2.0 * n + 1.0] for n in range(50)]
    assert predictor.calls[0] == 2  # the first did not wait
    assert len(predictor.calls) <= 3
    assert sum(predictor.calls) == 100


async def test_a_batch_holds_at_most_max_rows_but_a_large_request_is_not_cut() -> None:
    predictor = Doubler(before=lambda _: time.sleep(0.01))
    runner = runner_of(predictor, max_rows=4)
    sizes = [2, 2, 2, 9, 1]
    answers = await asyncio.gather(*(outcome_of(runner, *[1.0] * size) for size in sizes))
    assert [len(answer) for answer in answers] == sizes
    assert max(size for size in predictor.calls if size != 9) <= 4
    assert 9 in predictor.calls


async def test_a_lone_request_does_not_wait_for_company() -> None:
    runner = runner_of(Doubler(), max_delay=3600.0)
    for _ in range(3):
        async with asyncio.timeout(60):
            assert await outcome_of(runner, 1.0) == [2.0]


async def test_a_request_that_fails_does_not_fail_its_batch() -> None:
    def refuse_negative(values: np.ndarray[Any, Any]) -> None:
        time.sleep(0.01)
        if (values < 0).any():
            raise InvalidInput("negative")

    runner = runner_of(Doubler(before=refuse_negative))
    answers = await asyncio.gather(
        *(outcome_of(runner, value) for value in (1.0, 2.0, -3.0, 4.0)), return_exceptions=True
    )
    assert answers[0] == [2.0]
    assert answers[1] == [4.0]
    assert isinstance(answers[2], InvalidInput)
    assert answers[3] == [8.0]


async def test_a_full_queue_refuses_with_503_and_recovers() -> None:
    go = threading.Event()
    runner = runner_of(Doubler(before=lambda _: go.wait(5) and None), max_queue=2, max_rows=1)
    waiting = [asyncio.ensure_future(outcome_of(runner, 1.0)) for _ in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(Refusal) as refused:
        runner.run(batch(1.0))
    assert refused.value.status == 503
    assert refused.value.retry_after == 1
    go.set()
    assert await asyncio.gather(*waiting) == [[2.0]] * 3
    assert await outcome_of(runner, 5.0) == [10.0]


async def test_looked_up_features_are_seen_by_the_predictor_and_in_the_outcome() -> None:
    class Lookup:
        def lookup(self, columns: Mapping[str, Any]) -> dict[str, Any]:
            return {"temp": columns["x"] + 100}

    answer = runner_of(Doubler(), Lookup()).run(batch(1.0))
    assert not isinstance(answer, Outcome)  # a lookup never runs on the event loop
    outcome = await answer
    assert outcome.columns["temp"].tolist() == [101.0]


# -- through HTTP, in this process


@asynccontextmanager
async def served(
    predictor: Doubler, *, ready: bool = True, lookup: Any = None, **batching: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, InferenceService, HttpServer]]:
    metrics = ServerMetrics("m", "1")
    service = InferenceService("m", "1", metrics, None)
    runner = Runner(predictor, lookup, Batching(**batching), metrics)
    manifest = predictor.manifest
    loaded = Loaded(
        manifest, InputBinder(manifest), ResponseEncoder("m", "1", manifest.outputs), runner
    )
    if ready:
        service.become_ready(loaded)
    router = Router(service)
    server = HttpServer(
        router,
        lambda s, m: refusal_response(Refusal(s, m)),
        router.failed,
        HttpLimits(1 << 20),
        READ_HEADERS,
    )
    listener = await server.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
        yield client, service, server
    listener.close()
    await server.drain(1.0)
    runner.close()


BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}]}


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v2/models/m/infer", json=BODY)


async def test_a_model_that_is_loading_is_live_but_not_ready() -> None:
    async with served(Doubler(), ready=False) as (client, _, _):
        assert (await client.get("/v2/health/live")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/m/ready", "/v1/models/m", "/v2/models/m"):
            assert (await client.get(path)).status_code == 503, path
        answer = await ask(client)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {"error": "model m: still loading"}


async def test_a_fault_of_the_predictor_is_a_500_that_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> None:
        raise KeyError("secret")

    async with served(Doubler(before=fail)) as (client, _, _):
        answer = await ask(client)
        metrics = (await client.get("/metrics")).text
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    incident = answer.json()["error"].rpartition(" ")[2]
    assert incident in caplog.text
    assert "secret" in caplog.text
    assert 'noria_request_errors_total{model="m",version="1",protocol="rest"} 1' in metrics


# -- answers that are not finite

ODD = 7.0
"""The x that a predictor below does not answer with a number."""
INFER, PREDICT = "/v2/models/m/infer", "/v1/models/m:predict"


@dataclass
class Odd(Doubler):
    """Answers ``said`` where x is ``ODD``."""

    said: float = float("nan")

    def predict(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        answer = super().predict(columns)["prediction"]
        return {"prediction": np.where(columns["x"] == ODD, self.said, answer)}


def nullable() -> Manifest:
    return replace(MANIFEST, outputs=(Output("prediction", "FP64", nullable=True),))


def asking(*values: float, **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(values)], "datatype": "FP64", "data": values}
    return {"inputs": [tensor], "parameters": parameters}


@pytest.mark.parametrize("said", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (INFER, asking(1.0, ODD, ODD)),
        (INFER, asking(1.0, ODD, ODD, binary_data_output=True)),
        (PREDICT, {"instances": [[1.0], [ODD], [ODD]]}),
    ],
    ids=["json", "binary", "v1"],
)
@pytest.mark.parametrize("cheap", [True, False])
async def test_an_answer_that_is_not_finite_is_a_500_that_names_output_and_row(
    path: str, body: Any, said: float, cheap: bool, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Odd(said=said)
    async with served(predictor) as (client, service, _):
        if cheap:
            service.loaded.runner.calibrate()
        for _ in range(3):
            answer = await client.post(path, json=body)
            assert answer.status_code == 500
            told = answer.json()["error"]
            assert told.startswith(f"outputs.prediction: the model answered {said:g} for row 1, ")
            assert "rows of this request answered so: 2" in told
            assert "declare the output nullable" in told
        assert (await client.post(INFER, json=asking(1.0))).json()["outputs"][0]["data"] == [2.0]
        metrics = (await client.get("/metrics")).text
    labels = 'model="m",version="1"'
    assert f'noria_rows_not_finite_total{{{labels},output="prediction"}} 6' in metrics
    # It is known what is wrong: no thread failed.
    assert [worker.failures for worker in service.workers()] == [0]
    assert f"noria_rows_total{{{labels}}} 1\n" in metrics
    assert caplog.text.count("outputs.prediction: the model answered") == 1


async def test_of_requests_that_are_answered_together_only_the_odd_one_fails() -> None:
    gate = Gate()
    predictor = Odd(before=gate)
    async with served(predictor) as (client, service, _):
        first = asyncio.ensure_future(client.post(INFER, json=asking(0.0)))
        assert await asyncio.to_thread(gate.reached.wait, 60)
        others = [
            asyncio.ensure_future(client.post(INFER, json=asking(x))) for x in (1.0, ODD, 3.0)
        ]
        while service.metrics.inflight < 4:
            await asyncio.sleep(0.01)
        gate.open.set()
        answers = await asyncio.gather(first, *others)
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    assert answers[3].json()["outputs"][0]["data"] == [6.0]
    assert predictor.calls == [1, 3]


async def test_a_nullable_output_may_be_null_and_never_infinite() -> None:
    predictor = Odd(manifest=nullable())
    async with served(predictor) as (client, _, _):
        answer = await client.post(INFER, json=asking(1.0, ODD))
        assert answer.json()["outputs"][0]["data"] == [2.0, None]
        v1 = await client.post(PREDICT, json={"instances": [[1.0], [ODD]]})
        assert v1.json() == {"predictions": [2.0, None]}
        described = (await client.get("/v2/models/m")).json()["outputs"]
        assert described[0]["parameters"] == {"nullable": True}
        predictor.said = float("inf")
        assert (await client.post(INFER, json=asking(ODD))).status_code == 500


async def test_a_feature_store_that_is_away_is_a_503() -> None:
    class Away:
        def lookup(self, _: Mapping[str, Any]) -> dict[str, Any]:
            raise Unavailable("no store at /secret/path")

    async with served(Doubler(), lookup=Away()) as (client, _, _):
        answer = await ask(client)
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_health_answers_while_predictions_are_slow() -> None:
    gate = Gate()
    async with served(Doubler(before=gate)) as (client, _, _):
        pending = asyncio.ensure_future(ask(client))
        assert await asyncio.to_thread(gate.reached.wait, 60)
        assert (await client.get("/v2/health/live")).status_code == 200
        gate.open.set()
        assert (await pending).json()["outputs"][0]["data"] == [3.0]


async def test_draining_finishes_what_is_in_flight() -> None:
    gate = Gate()
    async with served(Doubler(before=gate)) as (client, service, server):
        pending = asyncio.ensure_future(ask(client))
        assert await asyncio.to_thread(gate.reached.wait, 60)
        service.start_draining()
        assert (await client.get("/v2/health/ready")).status_code == 503
        gate.open.set()
        assert await server.drain(60.0)
        answer = await pending
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"


async def test_an_overloaded_server_says_when_to_come_back() -> None:
    gate = Gate()
    async with served(Doubler(before=gate), max_queue=1, max_rows=1) as (client, _, _):
        pending = [asyncio.ensure_future(ask(client)) for _ in range(6)]
        while sum(request.done() for request in pending) < 4:
            await asyncio.sleep(0.01)
        gate.open.set()
        answers = await asyncio.gather(*pending)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 503, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"


@dataclass
class Describer(Doubler):
    """Has a descriptor, which can't be made of a negative x."""

    def describe(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        if (columns["x"] < 0).any():
            raise ValueError("negative")
        return {"root": np.sqrt(columns["x"])}


async def test_descriptors_are_logged_beside_what_was_asked_and_never_cost_an_answer() -> None:
    runner = runner_of(Describer())
    for x, logged in ((4.0, {"x": [4.0], "root": [2.0]}), (-4.0, {"x": [-4.0]})):
        answer = runner.run(batch(x))
        outcome = answer if isinstance(answer, Outcome) else await answer
        assert outcome.results["prediction"].tolist() == [2 * x]
        assert {name: values.tolist() for name, values in outcome.columns.items()} == logged
    assert runner.failures == 0
    runner.close()

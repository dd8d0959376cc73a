"""Bodies of OpenAI's API as vLLM and KServe's Hugging Face server send them, and damaged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noria.exchange.openai import MAX_CHUNKS, MAX_MESSAGES, read_request, read_response
from noria.exchange.texts import OF_TEXTS, Answered, Asked, Unread, of_answered, of_asked

USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}


def asked(**body: Any) -> Asked:
    found = read_request(json.dumps({"model": "qwen", **body}).encode())
    assert isinstance(found, Asked)
    return found


def choice(index: int = 0, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": None, **message}
    return {"index": index, "message": said, "logprobs": None, "finish_reason": finish}


def whole(*choices: dict[str, Any], **more: Any) -> bytes:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "qwen",
        "choices": list(choices),
        "usage": USAGE,
    }
    return json.dumps({**body, **more}).encode()


def answered(body: bytes) -> Answered:
    found = read_response(body)
    assert isinstance(found, Answered)
    return found


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "model": "qwen", "choices": choices}
    return b"data: " + json.dumps({**body, **more}).encode() + b"\n\n"


STREAM = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Grüß "})
    + chunk({"content": "dich"})
    + chunk({}, "stop")
    + chunk(None, usage=USAGE)
    + b"data: [DONE]\n\n"
)


def test_a_chat_is_its_texts_its_messages_and_its_images() -> None:
    found = asked(
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "12 °C"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Was ist das?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    "noch etwas",
                ],
            },
        ],
        tools=[{"type": "function", "function": {"name": "weather"}}],
        stream=True,
    )
    assert of_asked(found) == {
        "prompt.length": 8 + 5 + 12 + 10,
        "prompt.messages": 4,
        "prompt.images": 1,
    }
    assert found.aside == {}


def test_a_part_that_is_neither_text_nor_image_is_named() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    found = asked(messages=[{"role": "user", "content": [audio]}])
    assert found == Asked((), 1, 0, {"prompt": "part"})


@pytest.mark.parametrize(
    ("prompt", "length", "aside"),
    [
        ("Once upon", 9, {}),
        (["Once upon", "a time"], 9, {"prompt": "several"}),
        ([1, 2, 3], None, {"prompt": "tokens"}),
        ([[1, 2, 3]], None, {"prompt": "tokens"}),
    ],
)
def test_a_completion_is_its_first_prompt(
    prompt: Any, length: int | None, aside: dict[str, str]
) -> None:
    found = asked(prompt=prompt)
    assert (of_asked(found)["prompt.length"], found.aside) == (length, aside)


def test_an_answer_is_described() -> None:
    found = answered(whole(choice(content="Grüß dich")))
    assert of_answered(found) == {
        "answer.length": 9,
        "answer.tools": 0,
        "prompt.tokens": 11,
        "answer.tokens": 4,
        "answer.finish": "stop",
        "answer.refused": "false",
        "answer.model": "qwen",
    }


def test_streamed_and_whole_answers_are_described_alike() -> None:
    once = of_answered(answered(whole(choice(content="Grüß dich"))))
    assert of_answered(answered(STREAM)) == once
    windows = STREAM.replace(b"\n", b"\r\n")
    assert of_answered(answered(b": ping\r\n\r\n" + windows)) == once
    # As a text, how CloudEvents in JSON hold it.
    assert of_answered(answered(json.dumps(STREAM.decode()).encode())) == once


def test_a_stream_without_end_is_not_held_in_memory() -> None:
    found = read_response(b"data: {}\n\n" * (MAX_CHUNKS + 1))
    assert found == Unread("large")


def test_a_completion_is_answered_by_texts() -> None:
    text = {"index": 0, "text": " a time", "finish_reason": "length"}
    found = answered(whole(text, object="text_completion"))
    assert (found.texts, found.finish) == ((" a time",), "length")
    pieces = [{"index": 0, "text": piece, "finish_reason": None} for piece in (" a", " time")]
    stream = b"".join(chunk(None, choices=[piece]) for piece in pieces)
    last = chunk(None, choices=[{"index": 0, "text": "", "finish_reason": "length"}])
    assert "".join(answered(stream + last + b"data: [DONE]\n\n").texts) == " a time"


def test_calls_of_tools_are_counted_once_however_they_are_streamed() -> None:
    both = [CALL, {**CALL, "id": "c2"}]
    found = answered(whole(choice(finish="tool_calls", tool_calls=both)))
    assert (found.tools, found.texts, found.finish) == (2, (), "tool_calls")
    stream = b"".join(
        chunk({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
        for i in (0, 1)
        for piece in ('{"a"', ": 1}")
    )
    found = answered(stream + chunk({}, "tool_calls") + b"data: [DONE]\n\n")
    assert (found.tools, found.finish) == (2, "tool_calls")


@pytest.mark.parametrize(
    "said",
    [choice(refusal="I can't help with that."), choice(finish="content_filter", content="")],
)
def test_a_refusal_is_one_where_the_server_says_so(said: dict[str, Any]) -> None:
    assert of_answered(answered(whole(said)))["answer.refused"] == "true"


def test_of_several_choices_the_first_is_the_answer() -> None:
    found = answered(whole(choice(1, content="second"), choice(0, content="first")))
    assert (found.texts, found.aside) == (("first",), {"answer": "several"})


@pytest.mark.parametrize("count", [None, -1, 1.5, "11", 10**30, True])
def test_tokens_that_are_no_count_are_missing(count: Any) -> None:
    found = answered(whole(choice(content="a"), usage={"prompt_tokens": count}))
    assert (found.prompt_tokens, found.answer_tokens) == (None, None)


def test_a_name_that_is_too_long_is_no_category() -> None:
    found = answered(whole(choice(content="a"), model="m" * 300))
    assert (found.model, found.aside) == (None, {"answer.model": "long"})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unknown"),
        (b"{}", "unknown"),
        (b'{"input": "embed this", "model": "m"}', "unknown"),
        (b'{"instances": [[1, 2]]}', "unknown"),
        (b'{"messages": "hello"}', "unknown"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "unknown"),
        (b'{"messages": [{"role": "user", "content": "he', "truncated"),
        (b"\xff\xfe", "malformed"),
        (b'{"prompt": "\xff"}', "malformed"),
        (b"[" * 100_000, "unknown"),
        (b'{"prompt": ' + b"[" * 100_000, "malformed"),
        (json.dumps({"prompt": [""] * (MAX_MESSAGES + 1)}).encode(), "large"),
        (json.dumps({"messages": [{"role": "u"}] * (MAX_MESSAGES + 1)}).encode(), "large"),
        (
            json.dumps({"messages": [{"role": "u", "content": [""] * 6000}] * 2}).encode(),
            "large",
        ),
    ],
)
def test_a_request_that_can_not_be_read_says_why(body: bytes, reason: str) -> None:
    assert read_request(body) == Unread(reason)


@pytest.mark.parametrize(
    ("body", "reason", "model"),
    [
        (b"", "unknown", None),
        (b'{"object": "list", "data": [{"embedding": [1]}], "model": "m"}', "unknown", "m"),
        (b'{"choices": {}}', "unknown", None),
        (whole(choice(content="a"))[:-30], "truncated", None),
        (b"<html>bad gateway</html>", "malformed", None),
        (b'{"error": {"message": "out of memory"}}', "error", None),
        (STREAM[: STREAM.index(b"dich")], "truncated", "qwen"),
        (chunk({"content": "Gr"}) + chunk({"content": "u"}), "truncated", "qwen"),
        (chunk({"content": "Gr"}) + chunk(None, error={"code": 500}), "error", "qwen"),
        (b"data: [DONE]\n\n", "unknown", None),
        (b'data: {"choices": 5}\n\n', "unknown", None),
    ],
)
def test_an_answer_that_can_not_be_read_says_why_and_who_gave_it(
    body: bytes, reason: str, model: str | None
) -> None:
    found = read_response(body)
    assert found == Unread(reason, model)
    known = {name: value for name, value in of_answered(found).items() if value is not None}
    assert known == ({"answer.model": model} if model else {})


def test_every_field_of_the_signature_is_described() -> None:
    said = {**of_asked(Asked((), 1)), **of_answered(Answered(("a",)))}
    assert set(said) == {field.name for field in OF_TEXTS.fields}
    assert set(of_answered(Unread("unknown"))) == set(of_answered(Answered(())))

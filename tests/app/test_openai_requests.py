"""What a client may ask: understood, or refused with a sentence and the name of what was wrong."""

import json

import pytest

from mambrane.app.openai_requests import ApiError, Limits, parse_chat, parse_completion

pytest.importorskip("pydantic", reason="pip install 'mambrane[serve]'")
LIMITS = Limits(max_tokens=100)


def completion(**fields):
    return parse_completion(json.dumps({"model": "m", **fields}).encode(), LIMITS)


def test_what_is_left_out_has_openai_s_defaults_within_the_limits():
    asked = completion()
    assert (asked.prompts, asked.temperature, asked.top_p, asked.num_samples, asked.stop) == (("",), 1.0, 1.0, 1, ())
    assert asked.max_tokens == 100
    assert completion(prompt=["a", "b"], n=2).max_tokens == 25


def test_a_stop_text_and_a_list_of_them_are_the_same():
    assert completion(stop="x").stop == completion(stop=["x"]).stop == ("x",)
    assert completion(user="me", presence_penalty=0, frequency_penalty=0.0, logprobs=None, best_of=1).stop == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"max_tokens": 60, "n": 2}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["x"] * 5}, "stop"),
        ({"stop": ["x", ""]}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logprobs": 5}, "logprobs"),
        ({"logit_bias": {}}, "logit_bias"),
        ({"suffix": "x"}, "suffix"),
        ({"tools": []}, "tools"),
        ({"invented": 1}, "invented"),
    ],
)
def test_a_value_that_is_none_is_refused_by_its_name(fields, param):
    with pytest.raises(ApiError) as refused:
        completion(**fields)
    assert refused.value.status == 400
    assert refused.value.param.split(".")[0] == param
    assert refused.value.body["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"model": "m", "temperature": NaN}',
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_request_is_refused(body):
    with pytest.raises(ApiError) as refused:
        parse_completion(body, LIMITS)
    assert refused.value.status == 400


def chat(*messages, **fields):
    return parse_chat(json.dumps({"model": "m", "messages": list(messages), **fields}).encode(), LIMITS)


def test_a_talk_is_read_turn_by_turn_and_ends_where_the_next_would_begin():
    asked = chat(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
        stop="x",
        max_completion_tokens=7,
    )
    assert asked.prompts == ("system: be brief\n\nuser: hello\n\nassistant:",)
    assert asked.stop == ("x", "\n\nuser:")
    assert asked.max_tokens == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": "hello"},
        {"max_tokens": 3, "max_completion_tokens": 4},
    ],
)
def test_a_talk_that_is_none_is_refused(fields):
    with pytest.raises(ApiError):
        chat({"role": "user", "content": "x"}, **fields) if "messages" not in fields else parse_chat(
            json.dumps({"model": "m", **fields}).encode(), LIMITS
        )

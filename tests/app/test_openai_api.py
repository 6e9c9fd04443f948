"""The server, in this process, asked by OpenAI's own client and by hostile ones."""

import asyncio
import json

import pytest

from mambrane.app.openai_api import build_app
from mambrane.app.openai_requests import Limits
from mambrane.app.serve import admitted_names
from mambrane.measure.prefix_states import PrefixStates
from mambrane.run.run import Run

httpx = pytest.importorskip("httpx", reason="needs requirements/test.txt")
openai = pytest.importorskip("openai", reason="needs requirements/test.txt")
pytest.importorskip("starlette", reason="pip install 'mambrane[serve]'")

URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def run(finished_run):
    return Run.open(finished_run[0])


@pytest.fixture(scope="module")
def app(run):
    return build_app(run, limits=Limits(max_tokens=200, max_prompt_bytes=4000))


def asked(app, question, token="none", **client):
    """Return what a coroutine gets that is given OpenAI's client."""

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport) as http:
            official = openai.AsyncOpenAI(
                base_url=f"{URL}/v1", api_key=token, http_client=http, max_retries=0, **client
            )
            return await question(official)

    return asyncio.run(ask())


def posted(app, path="/v1/completions", *, content=None, headers=None, method="POST", **fields):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http:
            body = json.dumps({"model": "run", **fields}) if content is None else content
            given = {"content-type": "application/json", **(headers or {})}
            return await http.request(method, path, content=body, headers=given)

    return asyncio.run(ask())


def test_the_official_client_sees_the_model(app):
    assert [model.id for model in asked(app, lambda client: client.models.list()).data] == ["run"]
    assert asked(app, lambda client: client.models.retrieve("run")).id == "run"
    with pytest.raises(openai.NotFoundError, match="no model 'other' here, but 'run'"):
        asked(app, lambda client: client.completions.create(model="other", prompt="x"))


def test_a_completion_is_what_the_run_writes_with_the_same_seed(app, run):
    settings = {"max_tokens": 20, "temperature": 0.8, "seed": 3}
    given = asked(app, lambda client: client.completions.create(model="run", prompt="def ", **settings))
    assert given.choices[0].text == run.generate("def ", **settings)
    assert given.choices[0].finish_reason in ("length", "stop")
    assert given.usage.completion_tokens <= 20
    assert given.usage.total_tokens == given.usage.prompt_tokens + given.usage.completion_tokens


def test_several_prompts_and_samples_stand_in_their_order_and_echo_puts_the_prompt_first(app, run):
    given = asked(
        app,
        lambda client: client.completions.create(
            model="run", prompt=["ab", "cd"], n=2, max_tokens=5, seed=0, echo=True, temperature=0.8
        ),
    )
    assert [choice.index for choice in given.choices] == [0, 1, 2, 3]
    written = [each.text for each in run.write("ab", 2, max_tokens=5, seed=0, temperature=0.8)]
    assert [choice.text for choice in given.choices[:2]] == [f"ab{text}" for text in written]
    assert all(choice.text.startswith("cd") for choice in given.choices[2:])


def test_a_stream_adds_up_to_the_whole_and_ends_with_the_reason_and_the_usage(app, run):
    async def stream(client):
        chunks = await client.completions.create(
            model="run",
            prompt="def ",
            max_tokens=40,
            seed=1,
            temperature=0.8,
            stream=True,
            stream_options={"include_usage": True},
        )
        return [chunk async for chunk in chunks]

    chunks = asked(app, stream)
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert "".join(texts) == run.generate("def ", max_tokens=40, seed=1, temperature=0.8)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] in ("length", "stop")
    assert set(reasons[:-1]) <= {None}
    assert chunks[-1].usage.completion_tokens <= 40


@pytest.mark.parametrize("stream", [False, True])
def test_a_talk_is_answered_as_the_assistant(app, stream):
    async def talk(client):
        answer = await client.chat.completions.create(
            model="run", messages=[{"role": "user", "content": "hello"}], max_tokens=10, seed=0, stream=stream
        )
        return [chunk async for chunk in answer] if stream else answer

    given = asked(app, talk)
    if stream:
        assert given[0].choices[0].delta.role == "assistant"
        assert given[-1].choices[0].finish_reason is not None
    else:
        assert given.choices[0].message.role == "assistant"
        assert not given.choices[0].message.content.startswith(" ")


def test_a_talk_that_goes_on_is_read_from_where_it_stood_and_answered_the_same(run):
    def talks(kept_states):
        app = build_app(run, limits=Limits(kept_states=kept_states))
        messages = {name: [{"role": "user", "content": f"{name} " + "the same words " * 20}] for name in ("one", "two")}
        for _ in range(3):
            for talk in messages.values():
                given = posted(app, "/v1/chat/completions", messages=talk, max_tokens=60, seed=0).json()
                talk += [given["choices"][0]["message"], {"role": "user", "content": "and then"}]
        return messages

    read = []
    longest = PrefixStates.longest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrefixStates, "longest", lambda *given: read.append(longest(*given)[0]) or longest(*given))
        with_states, without = talks(8), talks(0)
    assert with_states == without
    assert read[:2] == [0, 0]
    assert min(read[2:6]) > 0
    assert not any(read[6:])


def test_time_that_is_up_ends_a_text(run):
    hasty = build_app(run, limits=Limits(max_seconds=1e-9, max_tokens=10_000))
    given = posted(hasty, prompt="x", max_tokens=10_000).json()
    assert given["choices"][0]["finish_reason"] in ("length", "stop")
    assert given["usage"]["completion_tokens"] < 10_000


def test_more_at_once_than_may_wait_are_refused_and_later_ones_are_served(run):
    app = build_app(run, limits=Limits(max_parallel=1, max_waiting=1, max_tokens=300))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http:
            body = {"model": "run", "prompt": "x", "max_tokens": 300, "seed": 0}
            answers = await asyncio.gather(*(http.post("/v1/completions", json=body) for _ in range(6)))
            return [answer.status_code for answer in answers], (
                await http.post("/v1/completions", json=body)
            ).status_code

    together, later = asyncio.run(ask())
    assert set(together) == {200, 429}
    assert together.count(200) == 2
    assert later == 200


def test_a_key_is_asked_for_where_there_is_one(run):
    app = build_app(run, token="a-long-secret-token")
    assert asked(app, lambda client: client.models.list(), token="a-long-secret-token").data
    with pytest.raises(openai.AuthenticationError):
        asked(app, lambda client: client.models.list(), token="a-long-secret-toke")
    assert posted(app, prompt="x").status_code == 401
    assert posted(app, "/v1/models", method="GET").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.net", ""])
def test_another_host_name_is_refused(app, host):
    assert posted(app, "/v1/models", method="GET", headers={"host": host}).status_code == 421


def test_the_host_that_was_asked_for_is_answered_and_others_still_are_not(run):
    app = build_app(run, hosts=admitted_names("127.0.0.2"))
    codes = {
        host: posted(app, "/v1/models", method="GET", headers={"host": host}).status_code
        for host in ("127.0.0.2:8000", "127.0.0.1:8000", "127.0.0.3:8000", "evil.example")
    }
    assert codes == {"127.0.0.2:8000": 200, "127.0.0.1:8000": 200, "127.0.0.3:8000": 421, "evil.example": 421}


def test_what_a_page_could_send_unasked_is_refused(app):
    assert posted(app, prompt="x", headers={"content-type": "text/plain"}).status_code == 415
    answer = posted(app, prompt="x", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_hostile_bodies_are_answered_with_a_sentence(app):
    too_long = posted(app, prompt="x" * 5000)
    assert (too_long.status_code, too_long.json()["error"]["param"]) == (413, "prompt")
    for content in ("{", "[]", "\x00", '{"model": "run", "temperature": -1}', '{"model": "run", "invented": 1}'):
        answer = posted(app, content=content)
        assert answer.status_code == 400, content
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert posted(app, "/v1/nothing", prompt="x").status_code == 404
    assert posted(app, method="GET").status_code == 405

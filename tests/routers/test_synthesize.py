"""``POST /synthesize`` over HTTP, with a voice that is only pretended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import soundfile

from app.core.clip import Clip
from app.core.errors import InvalidInput, MemoryCritical
from app.core.results import SpeechRequest
from app.routers.synthesize import MAX_BODY_BYTES
from tests.conftest import FakeHandler, Running, make_clip

Serve = Callable[..., Running]


def speak(running: Running, body: Any, **kwargs: Any) -> Any:
    return running.client.post("/synthesize", json=body, **kwargs)


def test_a_text_is_answered_with_a_wav_file(shared: Running) -> None:
    answer = speak(shared, {"text": "hello", "speed": 0.8})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-disposition"].startswith("inline")
    info = soundfile.info(BytesIO(answer.content))
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("WAV", "PCM_16", 1, 24_000)
    assert shared.handler.speeches[-1] == SpeechRequest("hello", None, None, 0.8)


def test_phonemes_and_pronunciations_are_handed_on(shared: Running) -> None:
    assert speak(shared, {"phonemes": ["S", "IH1", "NG", "K"]}).status_code == 200
    assert shared.handler.speeches[-1] == SpeechRequest(phonemes=["S", "IH1", "NG", "K"])
    assert speak(shared, {"text": "we go", "pronunciations": [["W", "IY0"], None]}).status_code == 200
    assert shared.handler.speeches[-1] == SpeechRequest("we go", [["W", "IY0"], None])
    assert speak(shared, {"text": "a", "phonemes": None, "speed": 2}).status_code == 200


BAD: dict[str, tuple[Any, int, str, str | None]] = {
    "nothing": ({}, 422, "invalid-input", "text"),
    "null": ({"text": None, "phonemes": None}, 422, "invalid-input", "text"),
    "empty text": ({"text": "  "}, 422, "invalid-input", "text"),
    "a text that is none": ({"text": 5}, 422, "invalid-input", "text"),
    "a text that is too long": ({"text": "a " * 6000}, 422, "invalid-input", "text"),
    "half a surrogate pair": ('{"text": "\\ud800"}', 400, "malformed-request", None),
    "both": ({"text": "a", "phonemes": ["AH"]}, 422, "invalid-input", "phonemes"),
    "no phoneme": ({"phonemes": []}, 422, "invalid-input", "phonemes"),
    "phonemes in a string": ({"phonemes": "S IH NG"}, 422, "invalid-input", "phonemes"),
    "a phoneme that is a number": ({"phonemes": ["S", 1]}, 422, "invalid-input", "phonemes"),
    "pronunciations without a text": (
        {"phonemes": ["S"], "pronunciations": [None]},
        422,
        "invalid-pronunciations",
        "pronunciations",
    ),
    "pronunciations of no shape": (
        {"text": "a", "pronunciations": "AH"},
        422,
        "invalid-pronunciations",
        "pronunciations",
    ),
    "too slow": ({"text": "a", "speed": 0.49}, 422, "invalid-input", "speed"),
    "too fast": ({"text": "a", "speed": 2.01}, 422, "invalid-input", "speed"),
    "no speed": ({"text": "a", "speed": "fast"}, 422, "invalid-input", "speed"),
    "a speed in quotes": ({"text": "a", "speed": "1"}, 422, "invalid-input", "speed"),
    "a speed that is true": ({"text": "a", "speed": True}, 422, "invalid-input", "speed"),
    "a null speed": ({"text": "a", "speed": None}, 422, "invalid-input", "speed"),
    "a field that is none": ({"text": "a", "spede": 1}, 422, "invalid-input", "spede"),
    "a list": ([], 400, "malformed-request", None),
    "no JSON": ("{", 400, "malformed-request", None),
    "not a number": ('{"text": "a", "speed": NaN}', 400, "malformed-request", None),
    "no bytes": ("", 400, "malformed-request", None),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_gets_its_status_and_names_the_field(shared: Running, case: str) -> None:
    body, status, name, field = BAD[case]
    kwargs: dict[str, Any] = {"content": body, "headers": {"Content-Type": "application/json"}}
    answer = shared.client.post("/synthesize", **(kwargs if isinstance(body, str) else {"json": body}))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"].endswith(name)
    assert problem.get("field") == field
    assert "pydantic" not in answer.text


def test_another_content_type_is_refused(shared: Running) -> None:
    answer = shared.client.post("/synthesize", data={"text": "hello"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["detail"]


def test_a_body_that_is_far_too_long_is_refused_before_it_is_parsed(shared: Running) -> None:
    answer = speak(shared, {"text": "a" * MAX_BODY_BYTES})
    assert answer.status_code == 413


def test_an_api_key_is_asked_for_where_one_is_set(serve: Serve) -> None:
    running = serve(api_key="secret")
    assert speak(running, {"text": "hello"}).status_code == 401
    assert speak(running, {"text": "hello"}, headers={"X-API-Key": "secret"}).status_code == 200


def test_errors_of_the_pipeline_are_answered_and_counted(serve: Serve, handler: FakeHandler) -> None:
    def refuse(*_: object) -> Clip:
        raise InvalidInput("The phonemes cannot be said.", field="phonemes")

    def be_short(*_: object) -> Clip:
        raise MemoryCritical("no", retry_after=3)

    running = serve()
    handler.speak = refuse
    assert speak(running, {"phonemes": ["QQ"]}).json()["field"] == "phonemes"
    handler.speak = be_short
    answer = speak(running, {"phonemes": ["S"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    metrics = running.client.get("/metrics").text
    assert 'elocute_answers_total{path="/synthesize",status="422"} 1.0' in metrics
    assert 'elocute_answers_total{path="/synthesize",status="503"} 1.0' in metrics
    assert "elocute_speech_seconds_total 0.0" in metrics


def test_speech_is_counted(serve: Serve, handler: FakeHandler) -> None:
    handler.speak = lambda *_: make_clip(2.0)
    running = serve()
    assert speak(running, {"text": "hello"}).status_code == 200
    metrics = running.client.get("/metrics").text
    assert "elocute_speech_seconds_total 2.0" in metrics
    assert 'elocute_stage_seconds_count{stage="tts"} 1.0' in metrics


def test_speech_takes_a_place_in_the_queue_and_ends_when_the_client_leaves(
    serve: Serve, handler: FakeHandler, wait_for: Callable[..., None]
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait(_: SpeechRequest, cancelled: threading.Event) -> Clip:
        begun.set()
        assert cancelled.wait(10)
        ended.set()
        return make_clip()

    handler.speak = wait
    running = serve(max_queued_requests=0)
    with pytest.raises(Exception, match="timed out"):
        speak(running, {"text": "hello"}, timeout=0.3)
    assert begun.is_set()
    assert ended.wait(5)
    handler.speak = lambda *_: make_clip()
    wait_for(lambda: speak(running, {"text": "hello"}).status_code == 200)


def test_a_long_clip_arrives_whole(serve: Serve, handler: FakeHandler) -> None:
    clip = make_clip(60.0)
    handler.speak = lambda *_: clip
    running = serve()
    assert speak(running, {"text": "hello"}).content == b"".join(clip.pieces())


def test_every_status_is_described(shared: Running) -> None:
    operation = shared.client.get("/openapi.json").json()["paths"]["/synthesize"]["post"]
    assert {"200", "400", "401", "413", "422", "503", "504"} <= set(operation["responses"])
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"text", "pronunciations", "phonemes", "speed"}

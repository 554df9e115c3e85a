from __future__ import annotations

import base64
import copy
import dataclasses
import json
import math
import time
import types
import typing
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.core import results
from app.main import create_app
from app.routers import openapi_examples, schemas
from tests.conftest import make_clip


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app().openapi()


def result(**changes: Any) -> results.AnalysisResult:
    word = results.Word(
        "bear",
        None,
        None,
        "omission",
        results.WordScores(0.0, 0.0, 0.0),
        [results.Phoneme("B", None, "b", None, None, 0.0, [])],
    )
    whole = results.AnalysisResult(
        request_id="r",
        mode="scripted",
        language="en-us",
        text="bear",
        audio=results.AudioInfo(2.00049, 16000, 1, "WAV", 1.9996, None, 0.12345),
        scores=results.SentenceScores(None, None, 87.449, None, None),
        words=[word],
        phonemes=[results.DecodedPhoneme("W", "w", 0.31001, 0.38, 0.97049)],
        fluency=results.FluencyInfo(None, 4.149, None, []),
        pitch=results.PitchInfo(212.04, None, [results.PitchPoint(0.30001, 208.149)]),
        models=results.ModelNames("m"),
        timings_ms=results.Timings(1.04, 2.0, 3.0, 0.0, 6.0),
    )
    return dataclasses.replace(whole, **changes)


def written(result: results.AnalysisResult) -> Any:
    answer = schemas.serialize(result)
    content = b"".join(answer.pieces())
    assert len(content) == answer.length
    return json.loads(content)


def test_numbers_are_rounded_to_what_they_mean() -> None:
    body = written(result())
    assert body["audio"]["duration"] == 2.0
    assert body["audio"]["clipping_ratio"] == 0.123
    assert body["audio"]["snr_db"] is None
    assert body["scores"] == {
        "pronunciation": None,
        "accuracy": None,
        "fluency": 87.4,
        "completeness": None,
        "prosody": None,
    }
    assert body["phonemes"] == [{"phoneme": "W", "ipa": "w", "start": 0.31, "end": 0.38, "probability": 0.97}]
    assert body["pitch"]["contour"] == [{"time": 0.3, "hz": 208.1}]
    assert body["words"][0]["start"] is None
    assert body["reference_audio"] is None
    assert body["models"] == {"phoneme": "m", "tts": None}


def test_a_clip_has_one_of_its_two_places() -> None:
    clip = make_clip(3.0)
    spoken = results.ReferenceAudio("wav", 24_000, "fake", clip.seconds)
    wav = {"format": "wav", "sample_rate": 24_000}
    inline = written(result(reference_audio=dataclasses.replace(spoken, clip=clip)))["reference_audio"]
    assert inline == {**wav, "base64": base64.b64encode(b"".join(clip.pieces())).decode()}
    link = written(result(reference_audio=dataclasses.replace(spoken, clip_id="1")))
    assert link["reference_audio"] == {**wav, "url": "/audio/1"}


def test_an_answer_with_a_clip_has_all_that_one_without_has() -> None:
    spoken = results.ReferenceAudio("wav", 24_000, "fake", 1.0, clip=make_clip())
    assert written(result(reference_audio=spoken)).keys() == written(result()).keys()


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.2, 100.2])
def test_a_score_that_is_none_does_not_leave_the_service(score: float) -> None:
    with pytest.raises(ValidationError):
        schemas.serialize(result(scores=results.SentenceScores(score, None, None, None, None)))


DIFFERENT: dict[Any, tuple[set[str], set[str]]] = {
    results.AudioInfo: ({"url"}, {"clip_id"}),
    results.ReferenceAudio: ({"base64", "url"}, {"clip", "clip_id", "voice", "seconds"}),
}
"""Fields of the answer and of the result that are the same thing in two forms."""


def test_the_answer_has_just_the_fields_of_the_result() -> None:
    def compare(model: type[BaseModel], source: Any) -> int:
        hints = typing.get_type_hints(source)
        differ = DIFFERENT.get(source, (set(), set()))
        assert set(model.model_fields) - differ[0] == set(hints) - differ[1], model
        nested = 0
        for name, hint in hints.items():
            if name in differ[1]:
                continue
            inner = [part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)]
            for part in inner:
                nested += 1 + compare(getattr(schemas, part.__name__), part)  # type: ignore[union-attr]
                assert isinstance(hint, type | types.GenericAlias | types.UnionType), name
        return nested

    assert compare(schemas.AnalysisResponse, results.AnalysisResult) == 14


def test_a_long_recording_s_answer_is_written_quickly() -> None:
    heard = [results.HeardPhoneme("AA", 1 / 3)] * 3
    phonemes = [results.Phoneme("AA", 1, "ɑ", 1 / 3, 2 / 3, 100 / 3, heard)] * 4
    words = [results.Word("w", 1 / 3, 2 / 3, "none", results.WordScores(100 / 3, 1.0, 1.0), phonemes)] * 400
    contour = [results.PitchPoint(i / 100, 200 + i / 1000) for i in range(12_000)]
    long = result(
        words=words,
        phonemes=[results.DecodedPhoneme("AA", "ɑ", 1 / 3, 2 / 3, 1 / 3)] * 1600,
        pitch=results.PitchInfo(200.0, 3.0, contour),
    )
    started = time.perf_counter()
    content = schemas.serialize(long).head
    assert time.perf_counter() - started < 1.0
    assert len(json.loads(content)["pitch"]["contour"]) == 12_000


def operation(document: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = document["paths"]["/analyze"]["post"]
    return described


def test_every_status_is_described_with_an_example(document: dict[str, Any]) -> None:
    responses = operation(document)["responses"]
    assert set(responses) == {"200", "400", "401", "413", "415", "422", "503", "504"}
    for status, response in responses.items():
        assert response["description"]
        [(media, content)] = response["content"].items()
        assert media == ("application/json" if status == "200" else "application/problem+json")
        assert content["schema"]
        if status != "200":
            assert content["example"]["status"] == int(status)
            assert set(content["example"]) - {"field"} == set(content["schema"]["required"])


def test_the_example_of_an_answer_is_one(document: dict[str, Any]) -> None:
    example = operation(document)["responses"]["200"]["content"]["application/json"]["example"]
    source = copy.deepcopy(example)
    for part in (source["audio"], source["reference_audio"]):
        part["clip_id"] = part.pop("url").removeprefix(schemas.AUDIO_PATH)
    dumped = schemas.AnalysisResponse.model_validate(source).model_dump(mode="json")
    assert dumped["reference_audio"].pop("base64") is None  # left out of an answer with a link
    assert dumped == example == openapi_examples.ANALYSIS


def test_both_bodies_are_described(document: dict[str, Any]) -> None:
    described = operation(document)
    assert described["summary"]
    assert described["description"]
    content = described["requestBody"]["content"]
    multipart = content["multipart/form-data"]["schema"]
    assert set(multipart["properties"]) == {"audio", "text", "pronunciations", "reference_audio"}
    assert multipart["required"] == ["audio"]
    as_json = content["application/json"]["schema"]
    assert set(as_json["properties"]) == {"audio_base64", "text", "pronunciations", "reference_audio"}
    assert described["security"]


def test_docs_are_served(shared: Any) -> None:
    assert shared.client.get("/docs").status_code == 200
    assert shared.client.get("/openapi.json").json()["info"]["title"] == "Elocute"

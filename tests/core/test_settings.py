from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.memory_config import MemorySettings
from app.core.settings import Settings, env_file_warnings, explain

EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_the_contract_s() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.max_upload_mb, settings.max_upload_bytes) == (20, 20 << 20)
    assert settings.max_audio_seconds == 120
    assert (settings.max_queued_requests, settings.request_timeout_seconds) == (32, 60)
    assert settings.phoneme_model is None
    assert settings.api_key is None
    assert settings.use_quantization
    assert settings.enable_model_cache
    assert not settings.enable_audio_cache


def test_a_variable_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=1\nHOST=0.0.0.0\nAPI_KEY=\n", encoding="utf-8")
    monkeypatch.setenv("PORT", "2")
    settings = Settings()
    assert (settings.host, settings.port) == ("0.0.0.0", 2)
    assert settings.api_key is None, "an empty value is none"


def test_a_key_is_not_shown() -> None:
    assert "s3cr3t" not in repr(Settings(api_key="s3cr3t"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("HOST", "  "),
        ("MAX_UPLOAD_MB", "0"),
        ("MAX_UPLOAD_MB", "nan"),
        ("MAX_AUDIO_SECONDS", "-1"),
        ("MAX_AUDIO_SECONDS", "inf"),
        ("MAX_QUEUED_REQUESTS", "-1"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("INFERENCE_THREADS", "0"),
        ("USE_QUANTIZATION", "perhaps"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    [line] = explain(caught.value)
    assert line.startswith(f"{name} should ")
    assert line.endswith(repr(value.strip().lower()))


def test_every_wrong_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MAX_UPLOAD_MB", "y")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert sorted(line.split()[0] for line in explain(caught.value)) == ["MAX_UPLOAD_MB", "PORT"]


def test_levels_are_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    assert Settings().log_level == "info"


def test_the_folder_of_the_audio_cache_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("AUDIO_CACHE_DIR", "~/clips")
    assert Settings(_env_file=None).audio_cache_dir == Path("/home/anna/clips")
    monkeypatch.setenv("AUDIO_CACHE_DIR", "~no-such-user/clips")
    with pytest.raises(ValidationError) as wrong:
        Settings(_env_file=None)
    (line,) = explain(wrong.value)
    assert line.startswith("AUDIO_CACHE_DIR should ")
    assert "~no-such-user/clips" in line


def test_names_of_the_file_that_do_nothing_are_told() -> None:
    names = "MAX_UPLAOD_MB USE_FAST_MODELS USE_FASTER MAX_FUN PATH_TO_MY_SHOP port HOST MALLOC_TRIM_THRESHOLD_"
    names += " MALLOC_CHECK ONEDNN_ISA"
    lines = [f"{name}=1" for name in names.split()]
    Path(".env").write_text("\n".join([*lines, "BROKEN LINE", ""]), encoding="utf-8")
    assert env_file_warnings() == [
        ".env: MAX_UPLAOD_MB is no setting; did you mean MAX_UPLOAD_MB?",
        ".env: USE_FASTER is no setting and does nothing",
        ".env: MAX_FUN is no setting and does nothing",
        ".env: MALLOC_TRIM_THRESHOLD_ is no setting; did you mean MALLOC_TRIM_THRESHOLD_KB?",
        ".env: MALLOC_CHECK is no setting and does nothing",
        ".env: ONEDNN_ISA is no setting and does nothing",
    ]


def test_the_names_of_memory_settings_are_in_use() -> None:
    names = [name.upper() for name in MemorySettings.model_fields] + ["ENABLE_MODEL_CACHE"]
    Path(".env").write_text("\n".join(f"{name}=1" for name in names), encoding="utf-8")
    assert env_file_warnings() == []


def test_no_file_no_warning() -> None:
    assert env_file_warnings() == []


def test_the_example_file_has_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    settings = dict(line[1:].split("=") for line in lines if line.startswith("#") and not line.startswith("# "))
    assert {name.lower() for name in settings} == set(Settings.model_fields)
    Path(".env").write_text("\n".join(f"{name}={value}" for name, value in settings.items()), encoding="utf-8")
    defaults: dict[str, Any] = {name: field.default for name, field in Settings.model_fields.items()}
    assert Settings().model_dump() == defaults

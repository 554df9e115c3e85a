from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.memory_config import MemorySettings, Thresholds, threshold_warnings, thresholds
from app.core.settings import Settings, env_file_warnings, explain

OPTIMIZED = Path(__file__).parents[2] / ".env.memory-optimized"


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_safe_for_production() -> None:
    settings = MemorySettings()
    assert not settings.enable_memory_logging
    assert settings.aggressive_memory_cleanup
    assert settings.memory_cleanup_interval == 5
    assert settings.memory_warning_threshold_mb is None
    assert settings.memory_critical_threshold_mb is None
    assert not settings.memory_recycle


def test_the_memory_settings_are_read_from_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MALLOC_ARENA_MAX=7\nMEMORY_CLEANUP_INTERVAL=9\nPORT=1\n", encoding="utf-8")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    for settings in (MemorySettings(), Settings()):
        assert (settings.malloc_arena_max, settings.memory_cleanup_interval) == (4, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMORY_CLEANUP_INTERVAL", "0"),
        ("MEMORY_WARNING_THRESHOLD_MB", "0"),
        ("MEMORY_WARNING_THRESHOLD_MB", "nan"),
        ("MEMORY_CRITICAL_THRESHOLD_MB", "-1"),
        ("MEMORY_CRITICAL_THRESHOLD_MB", "inf"),
        ("MEMORY_RECYCLE", "never"),
        ("MALLOC_ARENA_MAX", "-1"),
        ("MALLOC_ARENA_MAX", "2147483648"),
        ("MALLOC_TRIM_THRESHOLD_KB", "2097152"),
        ("MALLOC_MMAP_THRESHOLD_KB", "32769"),
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "-1"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        MemorySettings()
    [line] = explain(caught.value)
    assert line.startswith(f"{name} should be ")


@pytest.mark.parametrize("critical", ["3500", "4000"])
def test_a_warning_threshold_must_be_below_the_critical_one(monkeypatch: pytest.MonkeyPatch, critical: str) -> None:
    monkeypatch.setenv("MEMORY_WARNING_THRESHOLD_MB", "4000.0")
    monkeypatch.setenv("MEMORY_CRITICAL_THRESHOLD_MB", critical)
    monkeypatch.setenv("API_KEY", "s3cr3t")
    with pytest.raises(ValidationError) as caught:
        Settings()
    line = f"MEMORY_WARNING_THRESHOLD_MB (4000) must be below MEMORY_CRITICAL_THRESHOLD_MB ({critical})"
    assert explain(caught.value) == [line]
    assert line in str(caught.value)
    assert "s3cr3t" not in str(caught.value), "a traceback shows the error"


@pytest.mark.parametrize(
    ("set_ones", "total", "expected"),
    [
        ({}, 4096, Thresholds(3072, 3584)),
        ({"warning": 3000, "critical": 3500}, 4096, Thresholds(3000, 3500)),
        ({"warning": 1000}, 4096, Thresholds(1000, 3584)),
        ({"critical": 3500}, 4096, Thresholds(3000, 3500)),
        ({"critical": 4000}, 4096, Thresholds(3072, 4000)),
        ({"critical": 700}, 4096, Thresholds(600, 700)),
        # The kernel would kill before the critical threshold is reached.
        ({"critical": 3500}, 2048, Thresholds(1536, 1792)),
        ({"critical": 2048}, 2048, Thresholds(1536, 1792)),
        ({"warning": 3000, "critical": 3500}, 2048, Thresholds(1536, 1792)),
        ({"warning": 500, "critical": 3500}, 2048, Thresholds(500, 1792)),
    ],
)
def test_thresholds_that_are_not_set_follow_the_limit(
    set_ones: dict[str, float], total: float, expected: Thresholds
) -> None:
    found = thresholds(_settings(**set_ones), total)
    assert found.warning_mb == pytest.approx(expected.warning_mb)
    assert found.critical_mb == expected.critical_mb


@pytest.mark.parametrize("warning", [3584, 3600.5, 5000])
def test_a_warning_threshold_above_the_derived_critical_one_is_refused(warning: float) -> None:
    settings = _settings(warning=warning)
    for check in (thresholds, threshold_warnings):
        with pytest.raises(ValueError, match="lower it") as caught:
            check(settings, 4096)
        assert str(caught.value) == (
            f"MEMORY_WARNING_THRESHOLD_MB ({warning:g}) must be below the critical threshold, which is 3584, "
            "87.5 % of the memory limit of 4096 MB: lower it, or set MEMORY_CRITICAL_THRESHOLD_MB as well"
        )


@pytest.mark.parametrize("total", [0, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(total: float) -> None:
    with pytest.raises(ValueError, match="memory limit must be above zero"):
        thresholds(MemorySettings(), total)


def test_thresholds_that_do_not_fit_the_limit_are_told() -> None:
    critical = (
        "MEMORY_CRITICAL_THRESHOLD_MB (3500) is not below the memory limit of 2048 MB, where the process would be "
        "killed first: 1792 is used instead"
    )
    warning = "MEMORY_WARNING_THRESHOLD_MB (3000) is too high for the memory limit of 2048 MB: 1536 is used instead"
    assert threshold_warnings(_settings(critical=3500), 2048) == [critical]
    assert threshold_warnings(_settings(warning=500, critical=3500), 2048) == [critical]
    assert threshold_warnings(_settings(warning=3000, critical=3500), 2048) == [critical, warning]


@pytest.mark.parametrize("set_ones", [{}, {"warning": 1000}, {"critical": 1000}, {"warning": 1000, "critical": 4000}])
def test_thresholds_that_fit_are_not_spoken_of(set_ones: dict[str, float]) -> None:
    assert threshold_warnings(_settings(**set_ones), 4096) == []


_SIZES = st.floats(1e-3, 1e9)


@given(_SIZES, st.none() | _SIZES, st.none() | _SIZES)
def test_thresholds_are_in_order_and_below_the_limit(
    total: float, warning: float | None, critical: float | None
) -> None:
    try:
        settings = _settings(warning=warning, critical=critical)
        found = thresholds(settings, total)
    except ValueError as error:
        assert "MEMORY_WARNING_THRESHOLD_MB" in str(error)  # noqa: PT017
        return
    assert 0 < found.warning_mb < found.critical_mb < total
    replaced = [warning not in (None, found.warning_mb), critical not in (None, found.critical_mb)]
    assert len(threshold_warnings(settings, total)) == sum(replaced)


def test_the_file_for_a_4_gb_instance() -> None:
    Path(".env").write_bytes(OPTIMIZED.read_bytes())
    settings = Settings()
    assert (settings.memory_warning_threshold_mb, settings.memory_critical_threshold_mb) == (3000, 3500)
    assert (settings.aggressive_memory_cleanup, settings.memory_cleanup_interval) == (True, 5)
    assert not settings.enable_memory_logging
    assert not settings.enable_audio_cache
    assert settings.enable_model_cache
    assert settings.use_quantization
    assert thresholds(settings, 4096) == Thresholds(3000, 3500)
    assert threshold_warnings(settings, 4096) == []
    assert settings.use_fast_models
    assert settings.audio_cache_cleanup_hours == 1
    assert env_file_warnings() == []


def test_docker_reads_the_file_for_a_4_gb_instance_as_we_do() -> None:
    lines = OPTIMIZED.read_text(encoding="utf-8").splitlines()
    # docker run --env-file takes a value as it stands: quotes, blanks and comments would be part of it.
    plain = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert all(value.isalnum() for value in plain.values())
    assert plain == dotenv_values(OPTIMIZED)


def _settings(warning: float | None = None, critical: float | None = None) -> MemorySettings:
    values: dict[str, Any] = {"memory_warning_threshold_mb": warning, "memory_critical_threshold_mb": critical}
    return MemorySettings(**values)

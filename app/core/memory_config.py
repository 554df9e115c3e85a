"""The memory part of the settings, and the thresholds that follow from them and from the limit.

The defaults are safe for production. Sizes in MB are of 1024 * 1024 bytes, in KB of 1024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_FILE = ".env"

WARNING_SHARE = 0.75
"""The warning threshold as a share of the limit, where it is not set."""
CRITICAL_SHARE = 0.875
"""The critical threshold as a share of the limit, where it is not set."""

_WARNING = "MEMORY_WARNING_THRESHOLD_MB"
_CRITICAL = "MEMORY_CRITICAL_THRESHOLD_MB"
_C_INT_MAX = 2**31 - 1  # mallopt and oneDNN take a C int
_MMAP_THRESHOLD_MAX_KB = 32 * 1024  # glibc on 64 bits refuses more


class MemorySettings(BaseSettings):
    """Every setting that is about memory; each field is the environment variable of the same name."""

    # A wrong pair of thresholds is an error of the whole, whose input has the API key too: kept out of the traceback.
    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    enable_memory_logging: bool = Field(False, description="Log the memory after each tracked stage.")
    aggressive_memory_cleanup: bool = Field(True, description="Clean up after every request, not only periodically.")
    memory_cleanup_interval: int = Field(5, ge=1, description="Requests from one periodic cleanup to the next.")
    memory_warning_threshold_mb: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Warn above this many MB; unset: 75 % of the limit."
    )
    memory_critical_threshold_mb: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Above this many MB, clean up at once and turn new work away; unset: 87.5 % of the limit.",
    )
    memory_recycle: bool = Field(
        False, description="Drain and exit when memory stays critical, for a supervisor to start a new process."
    )

    # One heap: a trim gives back the end of the main one alone (benchmarks.allocator).
    malloc_arena_max: int = Field(
        1, ge=0, le=_C_INT_MAX, description="Heaps that glibc keeps for threads; 0 leaves it to glibc."
    )
    malloc_trim_threshold_kb: int = Field(
        0,
        ge=0,
        le=_C_INT_MAX // 1024,
        description="Free KB at a heap's end above which glibc gives them back; 0 leaves it to glibc.",
    )
    malloc_mmap_threshold_kb: int = Field(
        0,
        ge=0,
        le=_MMAP_THRESHOLD_MAX_KB,
        description="KB from which glibc maps a block of its own, given back when freed; 0 leaves it to glibc.",
    )
    onednn_primitive_cache_capacity: int = Field(
        16, ge=0, le=_C_INT_MAX, description="Compiled operations, one for each input shape, that oneDNN keeps."
    )

    @model_validator(mode="after")
    def _warning_is_below_critical(self) -> Self:
        warning, critical = self.memory_warning_threshold_mb, self.memory_critical_threshold_mb
        if warning is not None and critical is not None and warning >= critical:
            raise PydanticCustomError(
                "memory_thresholds",
                "{warning} must be below {critical}",
                {"warning": f"{_WARNING} ({_mb(warning)})", "critical": f"{_CRITICAL} ({_mb(critical)})"},
            )
        return self


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where memory use is worth a warning and where it is critical.

    Attributes:
        warning_mb: in MB; above zero and below ``critical_mb``.
        critical_mb: in MB; below the limit.
    """

    warning_mb: float
    critical_mb: float


def thresholds(settings: MemorySettings, total_mb: float) -> Thresholds:
    """Take the thresholds as they are set, and derive from the limit what is not set.

    A critical threshold at or above the limit would never be reached, as the kernel kills first: the derived one is
    used instead, and for a warning threshold that is not below it too. :func:`threshold_warnings` says so.

    Args:
        settings: one or both of the thresholds may be unset.
        total_mb: the limit in MB, above zero.

    Returns:
        Thresholds that are in order and below the limit.

    Raises:
        ValueError: the warning threshold that is set is not below the critical one that is derived, or ``total_mb`` is
            not above zero.
    """
    if not total_mb > 0:
        raise ValueError(f"the memory limit must be above zero, but it is {total_mb} MB")
    warning, critical = settings.memory_warning_threshold_mb, settings.memory_critical_threshold_mb
    derived = Thresholds(WARNING_SHARE * total_mb, CRITICAL_SHARE * total_mb)
    if critical is None and warning is not None and warning >= derived.critical_mb:
        raise ValueError(
            f"{_WARNING} ({_mb(warning)}) must be below the critical threshold, which is {_mb(derived.critical_mb)}, "
            f"87.5 % of the memory limit of {_mb(total_mb)} MB: lower it, or set {_CRITICAL} as well"
        )
    if critical is None or critical >= total_mb:
        fits = warning is not None and warning < derived.critical_mb
        return Thresholds(warning if warning is not None and fits else derived.warning_mb, derived.critical_mb)
    if warning is None:
        warning = min(derived.warning_mb, WARNING_SHARE / CRITICAL_SHARE * critical)
    return Thresholds(warning, critical)


def threshold_warnings(settings: MemorySettings, total_mb: float) -> list[str]:
    """Say which thresholds that are set do not fit the limit, and what is used instead.

    Args:
        settings: one or both of the thresholds may be unset.
        total_mb: the limit in MB, above zero.

    Returns:
        One sentence for each such variable; none where all fit.

    Raises:
        ValueError: as :func:`thresholds`.
    """
    used = thresholds(settings, total_mb)
    limit = f"the memory limit of {_mb(total_mb)} MB"
    warning, critical = settings.memory_warning_threshold_mb, settings.memory_critical_threshold_mb
    sentences = []
    if critical is not None and critical != used.critical_mb:
        sentences.append(
            f"{_CRITICAL} ({_mb(critical)}) is not below {limit}, where the process would be killed first: "
            f"{_mb(used.critical_mb)} is used instead"
        )
    if warning is not None and warning != used.warning_mb:
        sentences.append(f"{_WARNING} ({_mb(warning)}) is too high for {limit}: {_mb(used.warning_mb)} is used instead")
    return sentences


def _mb(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")

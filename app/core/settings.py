"""Every setting of the service: environment variables, or a ``.env`` file in the working directory.

An environment variable wins over the file. :func:`explain` turns a wrong value into lines that name the variable, and
:func:`env_file_warnings` says which names of the file do nothing.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError

from app.core.memory_config import ENV_FILE, MemorySettings

LogLevel = Literal["critical", "error", "warning", "info", "debug"]

_PREFIXES = (
    "AUDIO_CACHE_",
    "ELOCUTE_",
    "ENABLE_",
    "INFERENCE_",
    "MALLOC_",
    "MAX_",
    "MEMORY_",
    "MISPRONOUNCED_",
    "ONEDNN_",
    "PHONEME_",
    "TTS_",
    "USE_",
)


def _strip(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _expand(path: Path) -> Path:
    """``~`` as a shell would read it, which an environment file has none of.

    Raises:
        ValueError: there is no such user.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("should begin with a folder or a user that there is") from error


class Settings(MemorySettings):
    """The settings that do something in this version; each field is the environment variable of the same name."""

    host: Annotated[str, BeforeValidator(_strip)] = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    api_key: SecretStr | None = Field(
        None, description="Where set, what costs work asks for it as `Authorization: Bearer` or `X-API-Key`."
    )
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        "info", description="The least severe messages to log: critical, error, warning, info or debug."
    )

    max_upload_mb: float = Field(
        20, gt=0, le=1024, allow_inf_nan=False, description="Largest recording in MB (of 1024 * 1024 bytes)."
    )
    max_audio_seconds: float = Field(
        120, gt=0, allow_inf_nan=False, description="Longest recording in seconds, once decoded."
    )
    max_queued_requests: int = Field(
        32, ge=0, description="Analyses that may wait while others run; the next one is answered 503."
    )
    request_timeout_seconds: float = Field(
        60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which an upload (408) or an analysis, its waiting included (504), is given up.",
    )
    inference_threads: int = Field(
        1, ge=1, le=64, description="Analyses that run at the same time, each in a thread of its own."
    )

    phoneme_model: str | None = Field(
        None, min_length=1, description="A folder or a Hugging Face id of a phoneme model; unset for the built-in one."
    )
    use_quantization: bool = Field(True, description="Use int8 weights where the model and the processor have them.")
    use_fast_models: bool = Field(
        False, description="Use the smaller built-in model: quicker and leaner, and a little less accurate."
    )
    mispronounced_below: float | None = Field(
        None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Phoneme score below which a word is called mispronounced; unset for the model's own, at which 5 % "
        "of well-pronounced words are.",
    )
    enable_model_cache: bool = Field(
        True, description="Keep the models between requests; false loads them anew for each one, for debugging only."
    )
    tts_model: str | None = Field(
        None, min_length=1, description="A folder or a Hugging Face id of a VITS voice; unset for the built-in one."
    )
    tts_unload_seconds: float = Field(
        300, ge=0, allow_inf_nan=False, description="Seconds without a use after which the voice leaves the memory."
    )
    enable_audio_cache: bool = Field(
        False, description="Keep uploads and clips on disk for a while; without it `reference_audio=url` is refused."
    )
    audio_cache_cleanup_hours: float = Field(
        1, gt=0, allow_inf_nan=False, description="Hours that uploads and clips are kept."
    )
    audio_cache_max_mb: float = Field(
        256, ge=1, allow_inf_nan=False, description="MB that they may take together; the oldest go first."
    )
    audio_cache_max_files: int = Field(1000, ge=1, description="How many there may be; the oldest go first.")
    audio_cache_dir: Annotated[Path, AfterValidator(_expand)] | None = Field(
        None, description="A folder of its own for them; unset: a private one in the system's temporary folder."
    )

    @property
    def max_upload_bytes(self) -> int:
        """Largest recording in bytes."""
        return int(self.max_upload_mb * 1024 * 1024)


def explain(error: ValidationError) -> list[str]:
    """Say in one line per variable what is wrong with it, without the value of a secret.

    Variables that contradict each other share a line.
    """
    lines = []
    for problem in error.errors():
        if not problem["loc"]:  # about several variables: the message names them, and the input is all the settings
            lines.append(problem["msg"].removeprefix("Value error, "))
            continue
        name = str(problem["loc"][0]).upper()
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
        value = "" if name == "API_KEY" else f", but it is {problem['input']!r}"
        lines.append(f"{name} {message}{value}")
    return lines


def env_file_warnings(path: str | Path = ENV_FILE) -> list[str]:
    """Say which names in an environment file look like ours and do nothing.

    Args:
        path: the file; it need not exist.

    Returns:
        One sentence for each such name, in the file's order. Names that look like somebody else's are passed over.
    """
    path = Path(path)
    if not path.is_file():
        return []
    known = {name.upper() for name in Settings.model_fields}
    warnings = []
    for written in dotenv_values(path, interpolate=False):
        name = written.upper()
        if name in known:
            continue
        if close := difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75):
            warnings.append(f"{path}: {written} is no setting; did you mean {close[0]}?")
        elif name.startswith(_PREFIXES):
            warnings.append(f"{path}: {written} is no setting and does nothing")
    return warnings

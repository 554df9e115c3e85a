"""What the voice and the audio cache do during a soak: loads and evictions, and whether the folder keeps its bounds."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.load_client import send
from benchmarks.memory_cgroup import MEGABYTE
from benchmarks.requests_mix import JSON, SYNTHESIZE, Item

_SETTINGS = {
    "ENABLE_AUDIO_CACHE": "true",
    "AUDIO_CACHE_MAX_MB": "20",  # so that it is full, and evicts, from the beginning to the end
    "AUDIO_CACHE_MAX_FILES": "1000",
    "TTS_UNLOAD_SECONDS": "0.5",  # looked at every 5 s; under load the voice rests for hardly more than a second
}
_LOOKS = 3  # at a folder that changes meanwhile: a client may have left, and its request go on
_GREETING = Item(
    "greeting", json.dumps({"text": "Could you tell me the way?"}).encode(), JSON, path=SYNTHESIZE, seconds=1.5
)


class SpeechWatch:
    """Settings that keep the voice and the cache busy, and what comes of it; a context manager with the cache's folder.

    Args:
        overrides: settings that win over those.

    Attributes:
        settings: for the service.
        looks: at the folder.
        most_bytes: that it had at any look, drafts included.
        most_files: the same.
        drafts: hidden files that were left when the service had ended, None before.
        counters: of /metrics, by name and the value of its label, ``{}`` where they could not be read.
    """

    def __init__(self, overrides: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="elocute-soak-clips-")
        self.settings = {**_SETTINGS, "AUDIO_CACHE_DIR": str(Path(self._folder.name) / "clips"), **overrides}
        self.looks = self.most_bytes = self.most_files = 0
        self.drafts: int | None = None
        self.counters: dict[str, float] = {}

    def __enter__(self) -> SpeechWatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._folder.cleanup()

    @property
    def max_bytes(self) -> int:
        """The bound of the folder."""
        return int(float(self.settings["AUDIO_CACHE_MAX_MB"]) * MEGABYTE)

    @property
    def max_files(self) -> int:
        """The bound of the folder."""
        return int(self.settings["AUDIO_CACHE_MAX_FILES"])

    def greet(self, port: int) -> None:
        """Have a sentence spoken, so that the voice is there at every rest: a rest with it is no growth."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            send(connection, _GREETING)

    def look(self) -> None:
        """See whether the folder keeps its bounds; for a moment without requests."""
        for _ in range(_LOOKS):
            sizes = self._sizes()
            if sum(sizes) <= self.max_bytes and len(sizes) <= self.max_files:
                break
        self.looks += 1
        self.most_bytes, self.most_files = max(self.most_bytes, sum(sizes)), max(self.most_files, len(sizes))

    def read_counters(self, port: int) -> None:
        """Read the metrics of the service, while it is there."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/metrics")
            self.counters = parse_counters(connection.getresponse().read().decode())

    def ended(self) -> None:
        """The service has ended: look once more, and for what it left half written."""
        self.look()
        folder = Path(self.settings["AUDIO_CACHE_DIR"])
        self.drafts = sum(path.name.startswith(".") for path in folder.iterdir()) if folder.is_dir() else 0

    def failures(self) -> list[str]:
        """A sentence for each promise that was not kept."""
        failed = int(self.counters.get("elocute_audio_cache_failures_total", 0))
        broken = {
            f"the audio cache had {self.most_bytes} bytes, more than {self.max_bytes}": self.most_bytes
            > self.max_bytes,
            f"the audio cache had {self.most_files} files, more than {self.max_files}": self.most_files
            > self.max_files,
            f"files that the audio cache could not write: {failed}": failed,
            f"files that were left half written in the audio cache: {self.drafts}": self.drafts,
        }
        return [sentence for sentence, is_so in broken.items() if is_so]

    def report(self) -> dict[str, Any]:
        """What was seen; plain JSON."""
        count = {name: self.counters.get(f"elocute_audio_cache_{name}_total") for name in ("written", "evicted")}
        return {
            "voice_loads": self.counters.get("elocute_model_loads_total tts"),
            "speech_seconds": self.counters.get("elocute_speech_seconds_total"),
            "unload_seconds": float(self.settings["TTS_UNLOAD_SECONDS"]),
            "clips": {
                **count,
                "failures": self.counters.get("elocute_audio_cache_failures_total"),
                "looks": self.looks,
                "most_bytes": self.most_bytes,
                "max_bytes": self.max_bytes,
                "most_files": self.most_files,
                "max_files": self.max_files,
                "drafts_left": self.drafts,
            },
        }

    def _sizes(self) -> list[int]:
        """Of every file in the folder, drafts included."""
        sizes = []
        with contextlib.suppress(FileNotFoundError):  # the cache is off
            for path in Path(self.settings["AUDIO_CACHE_DIR"]).iterdir():
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    sizes.append(path.stat().st_size)
        return sizes


def parse_counters(text: str) -> dict[str, float]:
    """The samples of the Prometheus text format, by name and the values of the labels, with blanks between."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

"""A model's name becomes a folder, or a sentence that names the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ModelError
from app.core.hub import resolve


def test_a_folder_is_itself_and_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(".", "TTS_MODEL") == (Path(), tmp_path.name)


def test_a_hub_id_is_fetched_and_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").touch()
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(repo: str, *, allow_patterns: list[str]) -> str:
        asked.append((repo, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("someone/voice", "TTS_MODEL") == (tmp_path, "someone/voice")
    assert [repo for repo, _ in asked] == ["someone/voice"]
    assert not any("bin" in pattern for pattern in asked[0][1])


def test_a_hub_id_out_of_reach_is_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo: str, **_: Any) -> str:
        raise OSError("no internet\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"TTS_MODEL 'someone/voice' is neither a folder nor .*: no internet$"):
        resolve("someone/voice", "TTS_MODEL")


@pytest.mark.parametrize("model", ["/nowhere/voice", "./voice", "a/b/c", "~/nowhere"])
def test_what_can_only_be_a_folder_is_not_asked_of_the_hub(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo: str, **_: Any) -> str:
        raise AssertionError(f"asked the hub for {repo}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"TTS_MODEL .* is not a folder"):
        resolve(model, "TTS_MODEL")

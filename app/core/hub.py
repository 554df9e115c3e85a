"""Where the models are that an operator names: a folder, or a Hugging Face id that is downloaded once."""

from __future__ import annotations

from pathlib import Path

from app.core.errors import ModelError
from app.core.torch_engine import quiet_loading


def resolve(model: str, setting: str) -> tuple[Path, str]:
    """The folder of a model, downloaded first if it is a hub id, and the name to show for it.

    ``from_pretrained`` of a hub id without safetensors would have a bot convert the weights in the background and
    fetch them a second time; on a folder it reads what is there.

    Args:
        model: a folder in Hugging Face layout, or a hub id.
        setting: the variable that names it, for the error's text.

    Returns:
        The folder, and the hub id or the folder's own name.

    Raises:
        ModelError: it is neither a folder nor a hub id that could be fetched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path, path.resolve().name
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ModelError(f"{setting} {model!r} is not a folder")
    from huggingface_hub import snapshot_download

    try:
        with quiet_loading():
            folder = Path(snapshot_download(model, allow_patterns=["*.json", "*.txt", "model*.safetensors"]))
            if not any(folder.glob("model*.safetensors")):
                snapshot_download(model, allow_patterns=["pytorch_model*.bin"])
    except Exception as error:  # no such id, no access, no internet, no space: each with classes of its own
        raise ModelError(
            f"{setting} {model!r} is neither a folder nor a model that could be fetched from the Hugging Face hub: "
            f"{first_line(error)}"
        ) from error
    return folder, model


def first_line(error: Exception) -> str:
    """What an error of a foreign library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

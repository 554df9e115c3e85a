"""Train the acoustic model and its scoring head, or teach a smaller one by a larger one that is trained.

    python -m training.train_model --data DATA --encoder WHISPER --out OUT [--fold K] [--teacher MODEL]
        [--speech SPEECH]

First the encoder learns phonemes by CTC, then both learn together: the head's loss reaches the encoder. ``WHISPER`` is
a folder in Hugging Face layout or, with internet, an id such as ``openai/whisper-base``. With ``--fold`` the speakers
of that fold are held out and scored at the end. Interrupted, the same command goes on where it last saved. ``OUT`` gets
``model/`` (half precision), ``log.jsonl``, ``held.npz`` (the scores of the speakers held out) and ``checkpoint.pt``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from transformers import WhisperFeatureExtractor, WhisperModel

from app.core.acoustic_model import ElocuteConfig, ElocuteForScoring
from app.core.torch_engine import quiet_loading
from training.clip_bank import ClipBank
from training.corpus import Utterance, fold_of_speakers, load_audio, load_corpus
from training.held_out import score_held_out
from training.lessons import Material
from training.pitch_tracks import load_pitch
from training.trainer import Recipe, Trainer

_KEPT = (
    "d_model",
    "num_mel_bins",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "max_source_positions",
    "activation_function",
    "scale_embedding",
)


def new_model(encoder: str, recipe: Recipe) -> ElocuteForScoring:
    """A model whose encoder is Whisper's and whose heads are new.

    Args:
        encoder: Whisper, a folder or a Hugging Face id.
        recipe: with the size of the scoring head.
    """
    with quiet_loading():  # it misses the decoder, which nobody needs
        whisper = WhisperModel.from_pretrained(encoder, dtype=torch.float32)
    config = ElocuteConfig(
        **{name: getattr(whisper.config, name) for name in _KEPT},
        dropout=recipe.dropout,
        head_width=recipe.head_width,
        head_layers=recipe.head_layers,
        head_members=recipe.head_members,
    )
    model = ElocuteForScoring(config)
    model.encoder.load_state_dict(whisper.encoder.state_dict())
    nn.init.zeros_(model.ctc_head.bias)
    return model


def main() -> None:
    """The command line; every field of the recipe is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--speech", type=Path, default=None, help="folder of made speech, from training.make_speech")
    parser.add_argument("--encoder", required=True, help="Whisper: a folder or a Hugging Face id")
    parser.add_argument("--teacher", type=Path, default=None, help="a trained model to learn from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=None, help="hold out the speakers of this fold, 0 to 4")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pitch", type=Path, default=Path("runs/pitch.npz"), help="where pitch is kept between runs")
    parser.add_argument("--limit", type=int, default=None, help="only so many recordings, to try it out")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = vars(parser.parse_args())
    recipe = Recipe(**{name: args[name] for name in asdict(Recipe())})
    train(recipe, **{name: value for name, value in args.items() if name not in asdict(recipe)})


def train(  # noqa: PLR0913
    recipe: Recipe,
    *,
    data: Path,
    encoder: str,
    out: Path,
    pitch: Path,
    speech: Path | None = None,
    teacher: Path | None = None,
    fold: int | None = None,
    device: str = "cpu",
    limit: int | None = None,
) -> None:
    """Train, save, and score the speakers held out, if any; the arguments are those of the command line.

    Raises:
        ValueError: ``out`` has a checkpoint of another recipe.
    """
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    where = torch.device(device)
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)  # it plans anew for each shape, which takes longer than a step
    corpus = load_corpus(data)
    folds = fold_of_speakers(corpus)
    held = [u for u in corpus if folds[u.speaker] == fold][:limit]
    fit = [u for u in corpus if folds[u.speaker] != fold][:limit]
    if speech is not None:
        known = {u.text.lower() for u in held}  # texts of the speakers held out are not learned by heart either
        fit += [u for u in load_corpus(speech) if u.text not in known][:limit]
    material = _load_material(fit, pitch, where)
    model = new_model(encoder, recipe)
    model.to(where)  # type: ignore[arg-type] # transformers wraps it
    trainer = Trainer(model, material, recipe, out)
    if teacher is not None:
        trainer.learn_from(ElocuteForScoring.from_pretrained(teacher, dtype=torch.float32))
    trainer.resume()
    trainer.run()
    model.eval()
    if held:
        score_held_out(model, _load_material(held, pitch, where), out / "held.npz")
    save_model(model, out / "model")
    print(f"wrote {out / 'model'}")


def _load_material(utterances: Sequence[Utterance], pitch: Path, device: torch.device) -> Material:
    clips = load_audio(utterances)
    return Material(utterances, ClipBank(clips, device), load_pitch(pitch, utterances, clips), {})


def save_model(model: ElocuteForScoring, folder: Path) -> None:
    """Save in half precision."""
    model.config.dropout = 0.0
    model.half().save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


if __name__ == "__main__":
    main()

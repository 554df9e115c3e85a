"""Fine-tune a Whisper encoder with CTC on the 39 phonemes.

    python -m training.train_acoustic --data DATA --encoder WHISPER --out OUT

``WHISPER`` is a folder in Hugging Face layout or, with internet, an id such as ``openai/whisper-base``. Interrupted,
the same command goes on after the last whole epoch. ``OUT`` gets ``model/`` (the model in half precision),
``log.jsonl`` and ``checkpoint.pt``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import WhisperFeatureExtractor, WhisperModel

from app.core.acoustic_model import ElocuteConfig, ElocuteForCTC
from training.acoustic_batches import Augmentation, Batch, make_batches, wildcard_ctc_loss
from training.corpus import Utterance, load_audio, load_corpus, split_by_speaker
from training.export_graph import export_graph
from training.phoneme_errors import decode_corpus, phoneme_error_rate


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters; the defaults made the committed model."""

    epochs: int = 14
    batch_seconds: float = 64.0
    encoder_lr: float = 1e-4
    head_lr: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    dropout: float = 0.05
    intermediate_layer: int = 4
    intermediate_weight: float = 0.3
    wildcard_below: float = 0.5
    join_seconds: float = 0.0
    seed: int = 762


def new_model(encoder: str, dropout: float) -> ElocuteForCTC:
    """A model whose encoder is Whisper's and whose head is new; or, to go on from it, a model that we trained."""
    config_file = Path(encoder) / "config.json"
    if config_file.is_file() and json.loads(config_file.read_text(encoding="utf-8"))["model_type"] == "elocute":
        trained: ElocuteForCTC = ElocuteForCTC.from_pretrained(encoder, dtype=torch.float32, dropout=dropout)
        return trained
    whisper = WhisperModel.from_pretrained(encoder, dtype=torch.float32)
    keep = ["d_model", "num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"]
    keep += ["max_source_positions", "activation_function", "scale_embedding"]
    config = ElocuteConfig(**{name: getattr(whisper.config, name) for name in keep}, dropout=dropout)
    model = ElocuteForCTC(config)
    model.encoder.load_state_dict(whisper.encoder.state_dict())
    torch.nn.init.zeros_(model.ctc_head.bias)
    return model


def loss_of(model: ElocuteForCTC, batch: Batch, recipe: Recipe) -> torch.Tensor:
    """CTC at the last layer and, to steady the training, at one in the middle (Lee & Watanabe, 2021)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch.features, batch.lengths)
        middle_state = model.encoder.layer_norm(output.hidden_states[recipe.intermediate_layer - 1])
        middle = model.ctc_head(middle_state)
    last_loss = wildcard_ctc_loss(output.logits.float().log_softmax(-1), output.lengths, batch)
    middle_loss = wildcard_ctc_loss(middle.float().log_softmax(-1), output.lengths, batch)
    return (1 - recipe.intermediate_weight) * last_loss + recipe.intermediate_weight * middle_loss


class Trainer:
    """The state of one training run, saved after every epoch."""

    def __init__(self, model: ElocuteForCTC, recipe: Recipe, steps: int, out: Path) -> None:
        self.model, self.recipe, self.out = model, recipe, out
        head = list(model.ctc_head.parameters())
        body = [p for p in model.encoder.parameters() if p.requires_grad]
        groups = [{"params": body, "lr": recipe.encoder_lr}, {"params": head, "lr": recipe.head_lr}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
        warmup = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.01, total_iters=recipe.warmup_steps)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(1, steps - recipe.warmup_steps))
        self.schedule = torch.optim.lr_scheduler.SequentialLR(
            self.optimizer, [warmup, cosine], milestones=[recipe.warmup_steps]
        )
        self.epoch = 0

    @property
    def _parts(self) -> dict[str, ElocuteForCTC | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {name: part.state_dict() for name, part in self._parts.items()}
        part = self.out / "checkpoint.part"
        torch.save({**state, "epoch": self.epoch, "recipe": asdict(self.recipe)}, part)
        part.replace(self.out / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ValueError: the checkpoint is of another recipe.
        """
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was made with another recipe: {state['recipe']}")
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.epoch = int(state["epoch"])

    def run_epoch(self, utterances: list[Utterance], clips: list[NDArray[np.int16]], steps: int) -> float:
        """Train over the data once; returns the mean loss."""
        torch.manual_seed(self.recipe.seed + self.epoch)
        self.model.train()
        batches = make_batches(
            utterances,
            clips,
            WhisperFeatureExtractor(),
            seconds=self.recipe.batch_seconds,
            seed=self.recipe.seed + self.epoch,
            augmentation=Augmentation(),
            wildcard_below=self.recipe.wildcard_below,
            join_seconds=self.recipe.join_seconds,
        )
        losses = []
        bar = tqdm(batches, total=steps, desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", unit="step")
        for batch in bar:
            loss = loss_of(self.model, batch, self.recipe)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.item())
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
        self.epoch += 1
        return float(np.mean(losses))


def train(data: Path, encoder: str, out: Path, recipe: Recipe, *, all_speakers: bool = False) -> Path:
    """Train, evaluate after every epoch, and save; returns the folder of the finished model."""
    random.seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(data)
    fit, dev = split_by_speaker(corpus)
    if all_speakers:
        fit = corpus
    clips, dev_clips = load_audio(fit), load_audio(dev)
    steps = round(sum(len(c) for c in clips) / 16_000 / recipe.batch_seconds * 1.03) + 1
    trainer = Trainer(new_model(encoder, recipe.dropout), recipe, steps * recipe.epochs, out)
    trainer.resume()
    while trainer.epoch < recipe.epochs:
        started = time.monotonic()
        loss = trainer.run_epoch(fit, clips, steps)
        trainer.save()
        rate = phoneme_error_rate(dev, decode_corpus(trainer.model, dev_clips))
        row = {"epoch": trainer.epoch, "loss": loss, "dev_per": rate, "seconds": time.monotonic() - started}
        with (out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        tqdm.write(json.dumps(row))
    model: ElocuteForCTC = trainer.model.eval()
    model.config.dropout = 0.0
    model.half().save_pretrained(out / "model")
    WhisperFeatureExtractor().save_pretrained(out / "model")
    export_graph(out / "model")
    return out / "model"


def main() -> None:
    """The command line; every field of the recipe is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument(
        "--encoder", required=True, help="Whisper (a folder or a Hugging Face id) or our own model to start from"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--all-speakers", action="store_true", help="train on the development speakers too")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = vars(parser.parse_args())
    data, encoder, out, everyone = (args.pop(k) for k in ("data", "encoder", "out", "all_speakers"))
    folder = train(data, encoder, out, Recipe(**args), all_speakers=everyone)
    print(f"wrote {folder}")


if __name__ == "__main__":
    main()

"""One training run: its recipe, its steps and its checkpoints."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from app.core.acoustic_model import ElocuteForScoring
from app.core.scoring_head import HeadOutputs
from training.clip_bank import Augmentation
from training.corpus import SAMPLE_RATE
from training.forward import Heard, hear, read, word_spans
from training.lessons import Lesson, Material, Plan, epoch
from training.losses import score_loss, wildcard_ctc_loss
from training.readings import WrongTexts, targets_of

SAVE_SECONDS = 60.0
"""How often a run saves, at the ends of epochs."""


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters; the defaults made the committed models.

    Attributes:
        acoustic_epochs: of CTC alone.
        joint_epochs: of CTC and scores together.
        encoder_lr: the highest learning rate of the encoder in the first part.
        ctc_head_lr: of the CTC head then, and of the bridge to a teacher.
        joint_encoder_lr: of both in the second part.
        head_lr: of the scoring head.
        warmup_steps: in which the rates of the first part rise.
        weight_decay: AdamW's, of all weights.
        dropout: of the encoder.
        intermediate_weight: of CTC in the middle of the encoder, against that at its end.
        ctc_weight: of CTC against the scores.
        encoder_share: of the scores' gradient, 0 to 1, that reaches the encoder.
        head_width: of a member's tokens.
        head_layers: of a member.
        head_members: how many are averaged.
        speed: how much slower or faster recordings are played, as a share.
        wrong_texts: how many texts are changed, relative to ``training.readings.WrongTexts``.
        cut_share: of the recordings, those of which only some words are taken.
        taught: weight of a teacher's frames.
        seed: of everything drawn.
    """

    acoustic_epochs: int = 8
    joint_epochs: int = 8
    encoder_lr: float = 1e-4
    ctc_head_lr: float = 1e-3
    joint_encoder_lr: float = 5e-5
    head_lr: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    dropout: float = 0.05
    intermediate_weight: float = 0.3
    ctc_weight: float = 0.3
    encoder_share: float = 1.0
    head_width: int = 128
    head_layers: int = 3
    head_members: int = 3
    speed: float = 0.10
    wrong_texts: float = 1.0
    cut_share: float = 0.1
    taught: float = 1.0
    seed: int = 762


class Trainer:
    """The state of one training run.

    Args:
        model: to train, on the device of the material.
        material: to train on; its spans are filled in after the first part.
        recipe: how.
        out: the folder of ``log.jsonl`` and ``checkpoint.pt``.
    """

    def __init__(self, model: ElocuteForScoring, material: Material, recipe: Recipe, out: Path) -> None:
        self.model, self.material, self.recipe, self.out = model, material, recipe, out
        self.device = material.bank.device
        self.epoch = self.step = 0
        self._teacher: _Teacher | None = None
        encoder = [p for p in model.encoder.parameters() if p.requires_grad]
        heads = [*model.projection.parameters(), *model.head.parameters()]
        groups = [{"params": encoder}, {"params": [*model.ctc_head.parameters()]}, {"params": heads}]
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            groups, lr=0.0, weight_decay=recipe.weight_decay, betas=(0.9, 0.98), fused=fused
        )
        self._saved = time.monotonic()

    def learn_from(self, model: ElocuteForScoring) -> None:
        """Have a trained model teach this one."""
        self._teacher = _Teacher(model, self.model.config.d_model, self.device)
        self.optimizer.add_param_group({"params": [*self._teacher.bridge.parameters()], "lr": 0.0})

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}
        part = self.out / "checkpoint.part"
        bridge = self._teacher.bridge.state_dict() if self._teacher else {}
        torch.save({**state, "step": self.step, "recipe": asdict(self.recipe), "bridge": bridge}, part)
        part.replace(self.out / "checkpoint.pt")
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ValueError: the checkpoint is of another recipe.
        """
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was made with another recipe: {state['recipe']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._teacher:
            self._teacher.bridge.load_state_dict(state["bridge"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def run(self) -> None:
        """Train what is left of the epochs."""
        while self.epoch < self.recipe.acoustic_epochs + self.recipe.joint_epochs:
            joint = self.epoch >= self.recipe.acoustic_epochs
            if joint and not self.material.spans:
                self.material.spans.update(word_spans(self.model, self.material))
            started = time.monotonic()
            loss = self._run_epoch(joint=joint)
            self.epoch += 1
            row = {"epoch": self.epoch, "joint": joint, "loss": loss, "seconds": time.monotonic() - started}
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            tqdm.write(json.dumps(row))
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self.save()

    def _run_epoch(self, *, joint: bool) -> float:
        """The mean loss of an epoch's steps."""
        recipe, total = self.recipe, sum(self.material.bank.lengths) / SAMPLE_RATE
        steps = round(total / Plan().batch_seconds * 1.06) + 1  # about: batches are not quite full
        first, epochs = (recipe.acoustic_epochs, recipe.joint_epochs) if joint else (0, recipe.acoustic_epochs)
        self.model.train()
        losses = []
        lessons = epoch(self.material, self._plan(joint=joint), recipe.seed + self.epoch)
        for number, lesson in enumerate(tqdm(lessons, f"epoch {self.epoch + 1}", steps, unit="step", mininterval=5)):
            self._set_rates((self.epoch - first + min(1.0, number / steps)) / epochs, joint=joint)
            losses.append(self._learn(lesson, joint=joint))
        return float(torch.stack(losses).mean())

    def _plan(self, *, joint: bool) -> Plan:
        recipe = self.recipe
        if not joint:
            return Plan(augmentation=Augmentation(speed=1.2 * recipe.speed))
        lighter = Augmentation(
            speed=recipe.speed, frequency_mask_bins=14, time_masks_per_second=0.4, time_mask_frames=14
        )
        scaled = {name: share * recipe.wrong_texts for name, share in asdict(WrongTexts()).items()}
        return Plan(augmentation=lighter, wrong_texts=WrongTexts(**scaled), cut_share=recipe.cut_share)

    def _set_rates(self, progress: float, *, joint: bool) -> None:
        """Warm up, then a cosine to nothing, in each of the two parts."""
        recipe = self.recipe
        warm = min(1.0, (self.step + 1) / recipe.warmup_steps)
        if joint:
            warm = min(1.0, 20 * progress + 0.01)
        factor = warm * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        peaks = (
            (recipe.joint_encoder_lr, recipe.joint_encoder_lr, recipe.head_lr, recipe.head_lr)
            if joint
            else (recipe.encoder_lr, recipe.ctc_head_lr, 0.0, recipe.ctc_head_lr)
        )
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=False):  # no bridge without a teacher
            group["lr"] = factor * peak

    def _learn(self, lesson: Lesson, *, joint: bool) -> torch.Tensor:
        """One step; the loss, left on the device."""
        self.step += 1
        heard = hear(self.model, lesson)
        loss = self._ctc(heard, lesson)
        example = None
        if self._teacher:
            example = self._teacher.hear(lesson)
            loss = loss + self.recipe.taught * self._teacher.distance(heard, example)
        if joint:
            outputs, kept = read(self.model, heard, lesson, self.recipe.encoder_share)
            targets = targets_of([lesson.readings[i] for i in kept])
            taught = self._teacher.read(example, lesson, kept) if self._teacher and example else None
            loss = self.recipe.ctc_weight * loss + score_loss(outputs, targets, taught)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return loss.detach()

    def _ctc(self, heard: Heard, lesson: Lesson) -> torch.Tensor:
        """CTC at the last layer and, to steady the training, at one in the middle (Lee & Watanabe, 2021)."""
        output, weight = heard.output, self.recipe.intermediate_weight
        last = wildcard_ctc_loss(heard.log_probs, output.lengths, lesson.targets, lesson.target_lengths)
        if self.epoch >= self.recipe.acoustic_epochs:
            return last
        middle_layer = self.model.config.encoder_layers * 2 // 3
        with torch.autocast(lesson.mel.device.type, dtype=torch.bfloat16, enabled=lesson.mel.is_cuda):
            logits = self.model.ctc_head(self.model.encoder.layer_norm(output.hidden_states[middle_layer - 1]))
        middle = wildcard_ctc_loss(
            logits.float().log_softmax(-1), output.lengths, lesson.targets, lesson.target_lengths
        )
        return (1 - weight) * last + weight * middle


class _Teacher:
    """A trained model that another learns from.

    Args:
        model: the teacher.
        d_model: of the other.
        device: of both.
    """

    def __init__(self, model: ElocuteForScoring, d_model: int, device: torch.device) -> None:
        model.to(device)  # type: ignore[arg-type] # transformers wraps it
        self._model = model.eval().requires_grad_(requires_grad=False)
        self.bridge = nn.Linear(d_model, model.config.d_model).to(device)  # from the other's states to the teacher's

    @torch.no_grad()
    def hear(self, lesson: Lesson) -> Heard:
        """What the teacher says of a lesson."""
        return hear(self._model, lesson)

    @torch.no_grad()
    def read(self, heard: Heard, lesson: Lesson, kept: list[int]) -> HeadOutputs | None:
        """The teacher's scores of the readings ``kept``; None if it could not align just these."""
        outputs, as_kept = read(self._model, heard, lesson)
        return outputs if as_kept == kept else None

    def distance(self, heard: Heard, example: Heard) -> torch.Tensor:
        """How far the other is from the teacher, in each frame's posteriors and in its last hidden states."""
        lengths = heard.output.lengths
        frames = heard.log_probs.shape[1]
        there = torch.arange(frames, device=lengths.device) < lengths[:, None]
        apart = (example.log_probs.exp() * (example.log_probs - heard.log_probs)).sum(-1)
        bridged = self.bridge(heard.output.hidden_states[-1].float())
        theirs = example.output.hidden_states[-1].float()
        hidden = (bridged - theirs).square().mean(-1)
        scale = theirs.square().mean(-1).clamp_min(1e-3)
        distance: torch.Tensor = (5 * apart + hidden / scale)[there].mean()
        return distance

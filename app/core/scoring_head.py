"""The scoring head: aligned phonemes, with what the encoder says of them, to phoneme, word and sentence scores.

After GOPT (Gong et al., 2022): a transformer over the phonemes of a sentence, each a token, with an output at every
level. Taken from its successors: hidden states of every layer and measured durations, energy and pitch beside the
posteriors (3M; Chao et al., 2022), and attention instead of plain means from phonemes to words and to each sentence
score (HiPAMA; Do et al., 2023). Several small members are averaged, which a single larger one does not make up for.

Positions are relative, so that nothing depends on where in a text a phoneme stands. Only training and the export of the
graph use this module; the service runs the graph that is exported from it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from app.core.phoneme_tokens import DELIVERY, PLACES, STRESSES, TIMING
from app.core.phonemes import PHONEMES

WORD_SCORES = ("accuracy", "stress", "total")
SENTENCE_SCORES = ("accuracy", "fluency", "prosody", "total")

_CONTOUR_FIGURES = 4
_POSTERIOR_FIGURES = len(PHONEMES) + 4
_FARTHEST = 16  # phonemes, beyond which distances count as alike
_FLOOR = 1e-4


class HeadInputs(NamedTuple):
    """``B`` sentences of up to ``N`` phonemes and ``W`` words; each phoneme has up to ``L`` frames.

    Attributes:
        log_probs: ``(B, N, L, 40)`` log-posteriors, blank first.
        frames: ``(B, N, L, F)`` the encoder's projections, see :class:`FrameProjection`.
        contour: ``(B, N, L, 3)`` of each frame: the mean of its log-mel bands, its pitch in octaves above the median,
            and 1 where it is voiced.
        mask: ``(B, N, L)`` 1 for a frame of the phoneme, 0 for padding.
        phoneme: ``(B, N)`` index in ``PHONEMES``.
        stress: ``(B, N)`` index in ``STRESSES``.
        place: ``(B, N)`` index in ``PLACES``: where in the word.
        timing: ``(B, N, 6)``, columns as in ``TIMING``.
        membership: ``(B, W, N)`` 1 where the phoneme is in the word.
        delivery: ``(B, 10)``, columns as in ``DELIVERY``.
    """

    log_probs: torch.Tensor
    frames: torch.Tensor
    contour: torch.Tensor
    mask: torch.Tensor
    phoneme: torch.Tensor
    stress: torch.Tensor
    place: torch.Tensor
    timing: torch.Tensor
    membership: torch.Tensor
    delivery: torch.Tensor


class HeadOutputs(NamedTuple):
    """Scores 0 to 1, not clipped; while training with a first axis of members.

    Attributes:
        phonemes: ``(B, N)``.
        words: ``(B, W, 3)``, see ``WORD_SCORES``.
        present: ``(B, W)`` logit that the word was said at all.
        sentence: ``(B, 4)``, see ``SENTENCE_SCORES``.
    """

    phonemes: torch.Tensor
    words: torch.Tensor
    present: torch.Tensor
    sentence: torch.Tensor


class FrameProjection(nn.Module):
    """Narrows the encoder's hidden states to what the head pools: ``(B, T, 2 * width)``.

    The first half is of the last layer, which is sharp in time; the second of all layers, each normalised by itself.

    Args:
        d_model: of the encoder.
        layers: of the encoder.
        width: of each half.
    """

    def __init__(self, d_model: int, layers: int, width: int) -> None:
        super().__init__()
        self.sharp = nn.Linear(d_model, width)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(layers))
        self.smooth = nn.Linear(d_model, width)

    def forward(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Project the states after each layer; the last is the encoder's normalised output."""
        mixed = torch.stack([norm(h) for norm, h in zip(self.norms, hidden_states[:-1], strict=True)]).mean(dim=0)
        return torch.cat([self.sharp(hidden_states[-1]), self.smooth(mixed)], dim=-1)


class ScoringHead(nn.Module):
    """Members that each read the same tokens; their scores are averaged.

    The members are computed together: their weights are stacked, and so are their tokens, along a first axis ``K``.

    Args:
        frame_width: of each half of the projected frames.
        width: of a member's tokens.
        layers: of a member's transformer over phonemes.
        members: how many.
        dropout: while training.
    """

    def __init__(self, frame_width: int, width: int, layers: int, members: int, dropout: float = 0.2) -> None:
        super().__init__()
        acoustic, measured = 2 * frame_width, _POSTERIOR_FIGURES + _CONTOUR_FIGURES + len(TIMING)
        self.dropout = nn.Dropout(dropout)
        self.from_acoustic = _Linears(members, acoustic, width)
        self.from_measured = _Linears(members, measured, width)
        self.phoneme = _Embeddings(members, len(PHONEMES), width)
        self.stress = _Embeddings(members, len(STRESSES), width)
        self.place = _Embeddings(members, len(PLACES), width)
        self.blocks = nn.ModuleList(_Block(members, width, dropout) for _ in range(layers))
        self.norm = _Norms(members, width)
        self.to_phoneme = _Linears(members, width, 1)
        self.in_word = _Linears(members, width, 1)
        self.to_word = _Linears(members, 2 * width, width)
        self.word_block = _Block(members, width, dropout)
        self.word_norm = _Norms(members, width)
        self.to_scores = _Linears(members, width, len(WORD_SCORES) + 1)
        self.in_sentence = _Linears(members, width, len(SENTENCE_SCORES))
        self.overall = _Linears(members, 2 * acoustic + 2 * measured + len(DELIVERY), width)
        self.from_words = _Linears(members, width, width)
        self.sentence_norm = _Norms(members, width)
        self.to_sentence = nn.Parameter(torch.randn(members, 1, len(SENTENCE_SCORES), width) * width**-0.5)
        self.sentence_bias = nn.Parameter(torch.zeros(members, 1, len(SENTENCE_SCORES)))
        self.members = members

    def forward(self, inputs: HeadInputs) -> HeadOutputs:
        """Score; while training each member for itself."""
        acoustic, measured = _pool(inputs)
        there = inputs.mask.amax(dim=-1)  # (B, N)
        acoustic = self.dropout(acoustic.unsqueeze(0).expand(self.members, -1, -1, -1))
        measured = measured.unsqueeze(0).expand(self.members, -1, -1, -1)
        x = self.from_acoustic(acoustic) + self.from_measured(measured)
        x = x + self.phoneme(inputs.phoneme) + self.stress(inputs.stress) + self.place(inputs.place)
        for block in self.blocks:
            x = block(x, there)
        x = self.norm(x)
        phonemes = self.to_phoneme(self.dropout(x)).squeeze(-1)
        words, is_word = self._words(x, inputs.membership)
        scores = self.to_scores(self.dropout(words))
        of_words = (is_word.unsqueeze(-1) * words).sum(dim=2) / is_word.sum(dim=1, keepdim=True).clamp_min(1)
        tokens = torch.cat([acoustic, measured], dim=-1)
        sentence = self._sentence(x, tokens, of_words, there, inputs.delivery)
        outputs = HeadOutputs(phonemes, scores[..., :-1], scores[..., -1], sentence)
        return outputs if self.training else HeadOutputs(*(part.mean(dim=0) for part in outputs))

    def _words(self, x: torch.Tensor, membership: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the words ``(K, B, W, width)``, and which are there ``(B, W)``."""
        attention = membership * self.in_word(x).clamp(-8, 8).exp().transpose(2, 3)
        chosen = attention @ x / attention.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        size = membership.sum(dim=-1, keepdim=True)
        words = self.to_word(torch.cat([chosen, membership @ x / size.clamp_min(1)], dim=-1))
        is_word = (size.squeeze(-1) > 0).to(x.dtype)
        return self.word_norm(self.word_block(words, is_word)), is_word

    def _sentence(
        self, x: torch.Tensor, tokens: torch.Tensor, of_words: torch.Tensor, there: torch.Tensor, delivery: torch.Tensor
    ) -> torch.Tensor:
        """Sentence scores ``(K, B, 4)``: each attends to the phonemes, and all know the words and the whole."""
        weights = (self.in_sentence(x) + (there.unsqueeze(-1) - 1) * 1e4).softmax(dim=2).transpose(2, 3)
        delivery = delivery.unsqueeze(0).expand(self.members, -1, -1)
        whole = torch.cat([*_mean_and_deviation(tokens, there), delivery], dim=-1).unsqueeze(2)
        overall = self.dropout(nn.functional.gelu(self.overall(whole)))
        s = weights @ x + overall + self.from_words(of_words.unsqueeze(2))
        scores: torch.Tensor = (self.sentence_norm(self.dropout(s)) * self.to_sentence).sum(dim=-1)
        return scores + self.sentence_bias


def _pool(inputs: HeadInputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Each phoneme's frames as one vector: ``(B, N, F)`` of the encoder, ``(B, N, M)`` of what can be measured.

    CTC is peaky: a plain mean over a segment drowns in blank. So posteriors are compared without blank, and the sharp
    half is weighted by what the frames say apart from it.
    """
    mask = inputs.mask.unsqueeze(-1)
    count = mask.sum(dim=2).clamp_min(1)
    sounds = inputs.log_probs[..., 1:].exp() * mask
    said = sounds.sum(dim=-1, keepdim=True)
    weight = said + 1e-3 * mask
    weight = weight / weight.sum(dim=2, keepdim=True).clamp_min(1e-6)
    sharp, smooth = inputs.frames.chunk(2, dim=-1)
    acoustic = torch.cat([(weight * sharp).sum(dim=2), (mask * smooth).sum(dim=2) / count], dim=-1)

    mass = sounds.sum(dim=2)
    shares = (mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-6) + _FLOOR).log()
    peaks = (sounds.amax(dim=2) + _FLOOR).log()
    own = inputs.phoneme.unsqueeze(-1)
    own_peak = peaks.gather(-1, own)
    others = peaks - 100 * nn.functional.one_hot(inputs.phoneme, len(PHONEMES)).to(peaks.dtype)
    rival = others.amax(dim=-1, keepdim=True)
    loudest = (said.amax(dim=2) + _FLOOR).log()
    posterior = torch.cat([shares, shares.gather(-1, own), own_peak, own_peak - rival, loudest], dim=-1) / 4
    energy = inputs.contour[..., :1]
    level = (mask * energy).sum(dim=(1, 2), keepdim=True) / mask.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    energy = mask * (energy - level)  # how loud the recording is, is nobody's pronunciation
    contour = torch.cat([energy, mask * inputs.contour[..., 1:]], dim=-1).sum(dim=2) / count
    highest = (energy - 10 * (1 - mask)).amax(dim=2).clamp_min(-2)
    return acoustic, torch.cat([posterior, contour, highest, inputs.timing], dim=-1)


class _Linears(nn.Module):
    """A linear layer for each member: ``(K, B, N, inputs)`` to ``(K, B, N, outputs)``."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        members, batch, length, inputs = x.shape
        product = x.reshape(members, batch * length, inputs) @ self.weight + self.bias
        return product.reshape(members, batch, length, -1)


class _Norms(nn.Module):
    """A layer normalisation for each member."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class _Embeddings(nn.Module):
    """An embedding for each member: indices ``(B, N)`` to ``(K, B, N, width)``."""

    def __init__(self, members: int, count: int, width: int, deviation: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, count, width) * deviation)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        return self.weight[:, indices]


class _Block(nn.Module):
    """A transformer layer for each member, normalised first, whose attention knows relative positions."""

    def __init__(self, members: int, width: int, dropout: float, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = _Norms(members, width)
        self.to_qkv = _Linears(members, width, 3 * width)
        self.bias = _Embeddings(members, 2 * _FARTHEST + 1, heads, deviation=0.0)
        self.out = _Linears(members, width, width)
        self.feed_norm = _Norms(members, width)
        self.feed_in = _Linears(members, width, 2 * width)
        self.feed_out = _Linears(members, 2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Transform tokens ``(K, B, N, width)`` of which those are there that ``there`` ``(B, N)`` has 1 for."""
        members, batch, length, width = x.shape
        qkv = self.to_qkv(self.attention_norm(x)).reshape(members, batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        places = torch.arange(length, device=x.device)
        distances = (places.unsqueeze(0) - places.unsqueeze(1)).clamp(-_FARTHEST, _FARTHEST) + _FARTHEST
        bias = self.bias(distances).permute(0, 3, 1, 2).unsqueeze(1) + (there[:, None, None, :] - 1) * 1e4
        weights = (q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias).softmax(dim=-1)
        attended = (weights @ v).transpose(2, 3).reshape(members, batch, length, width)
        x = x + self.dropout(self.out(attended))
        fed: torch.Tensor = self.dropout(self.feed_out(nn.functional.gelu(self.feed_in(self.feed_norm(x)))))
        return x + fed


def _mean_and_deviation(tokens: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Over the phonemes that are there: ``(K, B, M)`` each."""
    there = there.unsqueeze(-1)
    count = there.sum(dim=1).clamp_min(1)
    mean = (tokens * there).sum(dim=2) / count
    variance = ((tokens - mean.unsqueeze(2)) ** 2 * there).sum(dim=2) / count
    return mean, (variance + 1e-5).sqrt()

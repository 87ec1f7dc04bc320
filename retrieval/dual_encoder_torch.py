"""The dual encoder in torch: words read by a transformer, sounds by a bag of pieces, side by side in one vector.

A retriever in the manner of Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (EMNLP
2020): the request as it was heard and the request that works are encoded apart, and their likeness is a dot product.
Departures:

1. Both sides share their weights: both are requests.
2. The vector is the mean over the tokens, projected to fewer dimensions, as the packaged MiniLM was trained with means.
3. Beside the words stands the sound (`retrieval.sounds`), each part of length 1, weighed by a learned share: a cosine
   of two vectors is the weighed mean of their cosines in meaning and in sound.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from retrieval.errors import ModelFolderError


class DualEncoderNetwork(nn.Module):
    """Token ids and pieces in, unit vectors out."""

    def __init__(self, words: nn.Module, word_dim: int, sound_dim: int, buckets: int) -> None:
        super().__init__()
        self.words = words
        self.project = nn.Linear(int(words.config.hidden_size), word_dim, bias=False)
        nn.init.orthogonal_(self.project.weight)  # likeness in the projected space begins near that of the whole
        self.sounds = nn.EmbeddingBag(buckets, sound_dim, mode="sum")
        nn.init.normal_(self.sounds.weight, std=sound_dim**-0.5)  # pieces begin nearly at right angles: a hashed bag
        self.share = nn.Parameter(torch.tensor(0.0))  # log-odds of the weight of the words

    def meaning(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[texts, tokens] int64, twice, to [texts, word_dim] float32 of length 1."""
        hidden = self.words(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return functional.normalize(self.project(mean), dim=-1)

    def sound(self, pieces: Tensor, offsets: Tensor, kept: Tensor | None = None) -> Tensor:
        """[pieces] int64 at [texts] int64 to [texts, sound_dim] float32 of length 1; `kept` [pieces] float32 weighs
        them."""
        return functional.normalize(self.sounds(pieces, offsets, per_sample_weights=kept), dim=-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pieces: Tensor, offsets: Tensor) -> Tensor:
        """[texts, word_dim + sound_dim] float32 of length 1."""
        share = torch.sigmoid(self.share)
        meaning, sound = self.meaning(input_ids, attention_mask), self.sound(pieces, offsets)
        return torch.cat([share.sqrt() * meaning, (1 - share).sqrt() * sound], dim=-1)


def pretrained(folder: str | Path, layers: int | None) -> nn.Module:
    """The encoder of a model folder with `layers` of its layers, evenly spread, the last among them; None: all.

    Raises ModelFolderError.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        found: nn.Module = AutoModel.from_pretrained(folder, config=config, add_pooling_layer=False)
    except Exception as error:  # transformers, safetensors and torch each have errors of their own
        raise ModelFolderError(
            f"{folder} cannot be read as an encoder ({error!s:.200}): the folder of a BERT-like model with config.json"
            " and model.safetensors is wanted"
        ) from error
    held = getattr(getattr(found, "encoder", None), "layer", None)
    if layers is None or held is None or layers >= len(held):
        return found
    kept = [round((number + 1) * len(held) / layers) - 1 for number in range(layers)]
    found.encoder.layer = nn.ModuleList([held[number] for number in kept])
    found.config.num_hidden_layers = layers
    return found

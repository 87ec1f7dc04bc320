"""The span model in torch: a BERT encoder that points at a turn, or at [CLS] for "said once only".

Start and end of a span are scored from "the output of the final BERT layer" (Wang et al., "Contextual Rephrase
Detection for Reducing Friction in Dialogue Systems", EMNLP 2021; the null answer at [CLS] as in Devlin et al., "BERT",
NAACL 2019, section 4.3). Departures from the paper:

1. Legal spans are whole user turns, so the probabilities are normalised over the turns of the window and none, and
   not over all pairs of tokens.
2. The score of a turn begins at the log-odds that boosted trees give it by likeness, sound, time and outcome
   (`rephrase_detection.boosted_lightgbm`): the encoder learns what these leave. In training the trees are silenced for
   some of the windows, so that the encoder also learns to do without them. The exported model gives the text's part
   alone; both are joined again, calibrated, in `rephrase_detection.span`.
3. Beside the two linear heads a small network reads the first and the last token of the turn together with [CLS].
4. A second head says the kind: said differently, or misheard.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from rephrase_detection.errors import DetectorError
from rephrase_detection.windows import MARKS


class SpanModel(nn.Module):
    """Windows in, a score for none and one for every slot out."""

    def __init__(self, encoder: nn.Module, mixed: int = 96) -> None:
        super().__init__()
        self.encoder = encoder
        size = int(encoder.config.hidden_size)
        self.span = nn.Linear(size, 2)  # start and end, of turns
        self.none = nn.Linear(size, 1)  # at [CLS]
        self.mix = nn.Sequential(nn.Linear(3 * size, mixed), nn.GELU(), nn.Dropout(0.1), nn.Linear(mixed, 2))
        for last in (self.span, self.none, self.mix[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        start: Tensor,
        end: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Scores of the slots, above that of none, and log-odds of kind ASR [windows, slots] float32 each.

        `input_ids`, `attention_mask`, `token_type_ids` [windows, tokens] int64; `start`, `end` [windows, slots] int64.
        """
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        size = hidden.shape[-1]
        first = torch.gather(hidden, 1, start.unsqueeze(-1).expand(-1, -1, size))
        last = torch.gather(hidden, 1, end.unsqueeze(-1).expand(-1, -1, size))
        whole = hidden[:, :1]
        mixed = self.mix(torch.cat([first, last, whole.expand(-1, start.shape[1], -1)], dim=-1))
        spans = self.span(first)[..., 0] + self.span(last)[..., 1] + mixed[..., 0]
        return (spans - self.none(whole)[..., 0]).float(), mixed[..., 1].float()


def span_model(folder: str | Path, tokenizer: Any, layers: int | None = None, seed: int = 0) -> SpanModel:
    """A model with the pretrained encoder of a folder, of which it keeps the first `layers` layers, all by default.

    The marks get embeddings of their own, which begin as those of the words that MARKS names. Raises DetectorError.
    """
    torch.manual_seed(seed)
    encoder = _encoder(Path(folder), layers)
    known = int(encoder.get_input_embeddings().num_embeddings)
    if tokenizer.get_vocab_size() > known:
        encoder.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
    table = encoder.get_input_embeddings().weight.data
    for mark, words in MARKS.items():
        if ids := tokenizer.encode(words, add_special_tokens=False).ids:
            table[tokenizer.token_to_id(mark)] = table[ids].mean(dim=0)
    return SpanModel(encoder)


def _encoder(folder: Path, layers: int | None) -> nn.Module:
    try:
        config = AutoConfig.from_pretrained(folder)
        if layers is not None:
            config.num_hidden_layers = min(layers, config.num_hidden_layers)
        found: nn.Module = AutoModel.from_pretrained(folder, config=config, add_pooling_layer=False)
    except Exception as error:  # transformers, safetensors and torch each have errors of their own
        raise DetectorError(
            f"{folder} cannot be read as an encoder ({error!s:.200}): the folder of a BERT-like model with config.json"
            " and model.safetensors is wanted"
        ) from error
    if getattr(config, "type_vocab_size", 0) < 2:
        raise DetectorError(f"the encoder in {folder} has no second segment: one with two, as BERT has, is wanted")
    return found

"""A fine-tuned BERT that reads two texts and nothing else: the pairwise baseline without context.

    [CLS] source [SEP] target [SEP]

One logit is read from [CLS] (Devlin et al., "BERT", NAACL 2019, section 4.1). Likeness is that logit; P(failure) of the
source comes in through the weights of the frame, fitted on pairs that the training did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from rephrase_detection.candidates import Reach
from rephrase_detection.detector import Links, RephraseDetector
from rephrase_detection.detector_folder import checked_threshold, read_parameters, write_parameters, written_beside
from rephrase_detection.errors import DetectorError
from rephrase_detection.pairwise import REACH, LabelledPairs, PairWeights, Values, best_links

if TYPE_CHECKING:
    from rephrase_detection.pair_bert_training_torch import Training

FORMAT = "pair-bert"
WEIGHTS_FILE = "model.safetensors"


class PairNetwork(nn.Module):
    """A BERT encoder with one linear layer on [CLS]."""

    def __init__(self, encoder: nn.Module, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, 1)

    def forward(self, **tokens: Tensor) -> Tensor:
        """Log-odds that the second text says the first again [pairs] float32.

        Takes `input_ids`, `attention_mask` and, where the encoder knows it, `token_type_ids` [pairs, tokens] int64.
        """
        whole = self.encoder(**tokens).last_hidden_state[:, 0]
        logits: Tensor = self.head(self.dropout(whole))
        return logits[:, 0].float()


@dataclass(frozen=True, eq=False)
class PairClassifier:
    """A network with its tokenizer, from texts to logits. bf16 halves the time on accelerators that have it."""

    network: PairNetwork
    tokenizer: Any
    max_tokens: int = 64  # of both texts and the marks; the longer text is cut first
    batch_pairs: int = 128
    bf16: bool = False

    @classmethod
    def from_encoder(cls, folder: str | Path, max_tokens: int = 64, bf16: bool = False) -> PairClassifier:
        """A network to train, from the folder of a pretrained encoder; its head is drawn at random.

        Raises DetectorError.
        """
        with _readable(folder):
            encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(PairNetwork(encoder), tokenizer, max_tokens, bf16=bf16)

    def logits(self, left: Sequence[str], right: Sequence[str]) -> Values:
        """The log-odds of each pair [pairs] float64, in batches of like length."""
        ids = self.tokens(left, right)
        found = np.zeros(len(left))
        order = np.argsort([len(each) for each in ids["input_ids"]], kind="stable")
        self.network.eval()
        with torch.inference_mode():
            for begin in range(0, len(order), self.batch_pairs):
                rows = order[begin : begin + self.batch_pairs]
                found[rows] = self(ids, rows).cpu().numpy()
        return found

    def tokens(self, left: Sequence[str], right: Sequence[str]) -> dict[str, list[list[int]]]:
        """The token ids of each pair, and what else the encoder reads, unpadded."""
        if not len(left):
            return {"input_ids": []}
        cut = {"truncation": "longest_first", "max_length": self.max_tokens}
        return dict(self.tokenizer(list(left), list(right), **cut))

    def __call__(self, ids: dict[str, list[list[int]]], rows: NDArray[np.int64]) -> Tensor:
        """The log-odds of some of the pairs of `tokens`, as one batch [rows] float32."""
        chosen = {name: [values[row] for row in rows.tolist()] for name, values in ids.items()}
        padded = self.tokenizer.pad(chosen, return_tensors="pt").to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.network(**padded)
        return logits

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.network.head.weight.device


@dataclass(frozen=True, eq=False)
class PairBertDetector(RephraseDetector):
    """Likeness is the logit of a classifier that was trained on pairs of texts."""

    classifier: PairClassifier
    weights: PairWeights
    threshold: float = 0.5
    reach: Reach = REACH

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)

    @classmethod
    def fitted(
        cls,
        examples: Sequence[LabelledPairs],
        encoder: str | Path,
        development: Sequence[LabelledPairs] | None = None,
        training: Training | None = None,
        threshold: float = 0.5,
        reach: Reach = REACH,
        device: str | torch.device = "cpu",
    ) -> PairBertDetector:
        """Fine-tuned from the encoder of a folder on labelled pairs.

        `development` decides when to stop and gives the weights; None holds back a share of the sessions of
        `examples`. Raises DetectorError.
        """
        from rephrase_detection.pair_bert_training_torch import Training, held_back, trained

        training = training or Training()
        if development is None:
            examples, development = held_back(examples, training.held_back, training.seed)
        classifier, _ = trained(examples, development, encoder, training, torch.device(device))
        return cls(classifier, PairWeights.fitted(development, classifier.logits), threshold, reach)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu", bf16: bool = False) -> PairBertDetector:
        """A saved detector. Raises DetectorError."""
        weights, threshold, reach, whole = read_parameters(folder, FORMAT)
        with _readable(folder):
            network = PairNetwork(AutoModel.from_config(AutoConfig.from_pretrained(folder), add_pooling_layer=False))
            network.load_state_dict(load_file(Path(folder) / WEIGHTS_FILE))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            classifier = PairClassifier(network.to(device).eval(), tokenizer, int(whole["max_tokens"]), bf16=bf16)
        return cls(classifier, weights, threshold, reach)

    def save(self, folder: str | Path) -> None:
        """Write the detector to `folder`, in place of a detector that is there. Raises DetectorError."""
        with written_beside(folder) as beside:
            network = self.classifier.network
            state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
            save_file(state, beside / WEIGHTS_FILE)
            network.encoder.config.save_pretrained(beside)
            self.classifier.tokenizer.save_pretrained(beside)
            more = {"max_tokens": self.classifier.max_tokens}
            write_parameters(beside, FORMAT, self.weights, self.threshold, self.reach, more)

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that has a candidate."""
        return best_links(batch, p_success, self.reach, self.weights, self.classifier.logits)


@contextmanager
def _readable(folder: str | Path) -> Iterator[None]:
    """Turns what goes wrong in reading the folder into DetectorError; the library keeps its notes to itself."""
    if not (Path(folder) / "config.json").is_file():
        raise DetectorError(f"{folder} has no config.json: the folder of a BERT with its tokenizer is wanted")
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # the libraries' errors are many: missing or damaged weights, no tokenizer, ...
        raise DetectorError(
            f"{folder} cannot be read as a BERT with its tokenizer ({type(error).__name__}: {error}): give another"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

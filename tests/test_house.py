"""The house: imports point down, faces only re-export, and serving stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "dialogue": set(),
    "markov": set(),
    "retrieval": set(),
    "rephrase_detection": {"dialogue"},
    "rewrite": {"dialogue", "rephrase_detection", "markov", "retrieval"},
    "eval": {"dialogue", "rephrase_detection", "markov", "retrieval", "rewrite"},
}
HEAVY = {
    "torch": {
        "rephrase_detection/pair_bert_torch.py",
        "rephrase_detection/pair_bert_training_torch.py",
        "rephrase_detection/span_torch.py",
        "rephrase_detection/span_training_torch.py",
        "retrieval/dual_encoder_export_torch.py",
        "retrieval/dual_encoder_torch.py",
        "retrieval/dual_encoder_training_torch.py",
    },
    "transformers": {
        "rephrase_detection/pair_bert_torch.py",
        "rephrase_detection/span_torch.py",
        "retrieval/dual_encoder_torch.py",
    },
    "faiss": {"retrieval/faiss_index.py"},
    "lightgbm": {"rephrase_detection/boosted_lightgbm.py", "retrieval/trees_lightgbm.py"},
    "onnxruntime": {
        "rephrase_detection/span_onnx.py",
        "retrieval/dual_encoder_export_torch.py",
        "retrieval/fusing_onnxruntime.py",
        "retrieval/model_onnxruntime.py",
    },
    "sentence_transformers": {"rephrase_detection/cosine_sentence_transformers.py"},
    "spacy": {"rewrite/adapters/spacy_component.py"},
    "rasa": {"rewrite/adapters/rasa_component.py"},
    "ovos_plugin_manager": {"rewrite/adapters/ovos_transformer.py"},
    "pyspark": set(),
    "matplotlib": {"rewrite/neighbourhood_matplotlib.py"},
    "duckdb": {"rewrite/duckdb_execution.py"},
}


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_down(package: str):
    ours = set(BELOW) - {package}
    for path in sorted((ROOT / package).rglob("*.py")):
        assert imports(path) & ours <= BELOW[package], path


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_lives_in_files_named_for_it(library: str):
    users = {
        path.relative_to(ROOT).as_posix()
        for package in BELOW
        for path in (ROOT / package).rglob("*.py")
        if library in imports(path)
    }
    assert users == HEAVY[library]


@pytest.mark.parametrize("package", ["dialogue", "markov", "retrieval", "rephrase_detection", "rewrite"])
def test_a_face_offers_just_what_it_says(package: str):
    face = importlib.import_module(package)
    assert face.__all__ == sorted(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package + ".")
        for alias in node.names
    }
    assert imported == set(face.__all__)


def test_the_judge_binds_no_names():
    tree = ast.parse((ROOT / "eval" / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr]


def test_serving_loads_nothing_heavy():
    program = (
        "import sys, rewrite; rewrite.RewriteEngine; print(sorted({name.split('.')[0] for name in sys.modules} &"
        " {'torch', 'transformers', 'pyarrow', 'duckdb', 'pydantic', 'scipy', 'typer'}))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"

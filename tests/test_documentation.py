"""What the documentation shows is what happens, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "fixtures" / "README.md"]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language ("" for none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (program,) = blocks(ROOT / "README.md", "python")
    exec(compile(program, "README.md", "exec"), {})
    learned, decided = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ rewrites from \d+ users", learned)
    assert decided == "rewrite play imagine dragons learned"


def test_a_judgement_taken_apart(capsys: pytest.CaptureFixture[str]):
    page = ROOT / "docs" / "outcomes.md"
    (program,) = blocks(page, "python")
    exec(compile(program, "outcomes.md", "exec"), {})
    assert capsys.readouterr().out in blocks(page, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_files_that_exist(page: Path):
    for name in re.findall(r"(?:benchmarks|examples|fixtures)/[\w.]+\w", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name

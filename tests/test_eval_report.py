"""The page, the summary and the documents: whole, escaped, and without an address."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.gate import KNOWN, PARTIAL, Gate
from eval.report.files import errors_file, write_report
from eval.report.metrics import metrics
from eval.report.page import page
from eval.report.summary import summary
from eval.report.svg import interval_mark, ticks
from eval.run import run
from eval.slices import usual_fields
from eval.verdict import judge
from rewrite import learn
from tests.test_eval_run import CASES, DRAGONS, ENGINE, Answers, case

ROOT = Path(__file__).parents[1]

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def report():
    """Every section has something to show, in texts that would do harm if they were not escaped."""
    engine = Answers(ENGINE | {EVIL: f"{EVIL} & more", "| a |": "*b*"})
    evil = [case(EVIL, DRAGONS, user=EVIL), case("| a |", user="d"), case(f"{EVIL} missed", EVIL)]
    fields = usual_fields()
    return run(engine, [*CASES, *evil] * 10, against=Answers({}), fields=fields, names=(f"one {EVIL}", "other | <b>"))


class Tags(HTMLParser):
    """Counts what opens and closes, and remembers ids and links."""

    VOID = frozenset({"meta", "br", "rect", "line", "circle", "polyline"})

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.ids, self.links = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_sound_and_its_links_lead_somewhere(report):
    tags = Tags(page(report))
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    for section in ("figures", "findings", "comparison", "harm", "examples", "scores", "slices", "latency", "rules"):
        assert section in tags.ids


def test_the_page_runs_nothing_and_fetches_nothing(report):
    text = page(report)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & Tags(text).names
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", text)
    assert "&lt;script&gt;" in text


def test_the_first_screen_answers_with_three_reasons(report):
    text = page(report)
    head = text[text.index("<header") : text.index("</header>")]
    assert head.count("<li>") == 3
    assert "Do not ship one &lt;script&gt;" in head
    assert text.index("</header>") < text.index('id="figures"')


def test_what_was_not_measured_is_said_and_is_no_zero():
    bare = run(Answers({}), [case("maj", DRAGONS)])
    text = page(bare)
    for told in ("no guardrail: nothing tells", "one user only", "not measured", "no rewrite was served with a score"):
        assert told in text.replace("Not measured", "not measured")
    document = metrics(bare)
    assert document["measures"]["false_trigger_rate"]["value"] is None
    assert document["measures"]["recall"]["interval_clustered"] is None
    assert document["comparison"] is document["overlap"] is None
    assert document["system"]["latency_s"]["p99"] is None  # of a single decision
    assert [each["fault"] for each in document["findings"]] == ["not measured"]


def test_without_opportunities_nothing_is_said_to_be_missed():
    document = metrics(run(Answers({}), [case("maj"), case("imagin", user="v")]))
    assert document["measures"]["recall"]["value"] is None
    assert document["measures"]["relative_reduction"] == {"value": None, "interval_clustered": None}
    assert "no opportunity" in document["findings"][0]["says"]


def test_the_summary_cannot_be_broken_by_a_text(report):
    text = summary(report)
    assert "<script>" not in text
    assert text.startswith("# Do not ship one &lt;script")
    assert r"other \| &lt;b>" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 6)


def test_the_folder_has_each_file_whole(report, tmp_path):
    write_report(report, tmp_path / "new" / "folder")
    names = {each.name for each in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"index.html", "metrics.json", "summary.md"}
    document = json.loads((tmp_path / "new" / "folder" / "metrics.json").read_text())
    assert (document["format"], document["version"]) == ("reprise-eval", 2)
    assert document["answer"]["ship"] == "do not ship"
    assert set(document["comparison"]["wins"]) == {"only_this", "only_other", "mcnemar_p"}


def test_errors_get_their_name_when_all_of_them_are_there(tmp_path):
    path = tmp_path / "errors.jsonl"
    engine = Answers(ENGINE)
    with errors_file(path) as file:
        for each in CASES:
            file.hear(judge(each, engine.rewrite(each.turn.said)))
        assert not path.exists()
    assert [json.loads(line)["said"] for line in path.read_text().splitlines()] == ["magin", "louder", "mansion"]
    with pytest.raises(KeyboardInterrupt), errors_file(tmp_path / "cut.jsonl"):
        raise KeyboardInterrupt
    assert not (tmp_path / "cut.jsonl").exists()


def test_the_programs_in_the_documentation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    learn("fixtures/log.jsonl", "build/bundle")
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    program, detecting = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, "evaluation.md", "exec"), {})
    assert capsys.readouterr().out.startswith(("Ship", "Not proven yet", "Do not ship"))
    exec(compile(detecting, "evaluation.md", "exec"), {})
    assert capsys.readouterr().out.count("Figure(value=") == 2


def test_the_gate_in_the_documentation_is_one(tmp_path):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "gate.toml").write_text(shown)
    assert len(Gate.from_file(tmp_path / "gate.toml").bounds) == 6
    assert all(f"`{name}`" in text for name in KNOWN if name not in PARTIAL)


def test_a_mark_stays_in_its_box():
    for value, low, high in ((0.5, 0.2, 2.0), (-1.0, -3.0, 0.1), (None, None, None), (float("inf"), 0.1, 0.2)):
        places = re.findall(r"([-\d.]+)%", interval_mark(value, low, high, limit=5.0))
        assert all(0 <= float(place) <= 100 for place in places)


def test_ticks_are_round_and_reach_the_top():
    for most in (1, 7, 26, 768, 0.03):
        found = ticks(most)
        assert found[0] == 0
        assert found[-1] >= most * (1 - 1e-9)
        assert 3 <= len(found) <= 6

"""The latency and the reliability of the online rung at tiny sizes: that they run, and that they count what happens."""

from __future__ import annotations

import importlib
import json
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dialogue.canonical import Canonicaliser
from rewrite.decision import Action, Decision, Reason
from rewrite.live_history import LiveHistory, live_path
from tests.dense import tiny_retriever, words_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Imports a program of benchmarks/, as running it from a checkout would."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return importlib.import_module


@pytest.fixture
def retriever(benchmark, tmp_path: Path) -> Path:
    texts = benchmark("online_requests").distinct(300, 0)
    return tiny_retriever(tmp_path / "retriever", words_of(texts))


def test_requests_are_canonical_and_their_interpretations_hold(benchmark):
    requests = benchmark("online_requests")
    made = requests.distinct(2_000, 3)
    assert len(made) == 2_000
    assert list(requests.distinct(500, 3)) == list(made)[:500]
    canonical = Canonicaliser()
    for text, each in made.items():
        assert canonical(text) == text == each.text
        assert all(f" {value} " in f" {text} " for value in each.slots.values())
        assert json.loads(each.frame) == [each.domain, each.intent, each.slots]


def test_what_is_misheard_is_new_each_time(benchmark):
    requests = benchmark("online_requests")
    made = requests.distinct(500, 3)
    heard = [each.text for each in requests.misheard(list(made.values()), made, 300, 5)]
    assert len(set(heard)) == 300
    assert made.keys().isdisjoint(heard)


def test_latency(benchmark, retriever: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    program = benchmark("online_latency")
    words = ["--quick", "--no-peer", "--retriever", str(retriever), "--folder", str(tmp_path / "kept")]
    found = program.main(words)
    printed = capsys.readouterr().out
    one = found["closed"]
    assert sum(one["reasons"].values()) == program.QUICK["calls"]
    assert "fault" not in one["reasons"]
    assert {"encode", "personal", "global", "rerank", "guard", "decide"} <= one["stages"].keys()
    assert 0 < one["tables"]["p50"] < one["latency"]["p50"] < 1e6
    assert one["memory"]["served"]["parts"]["vectors"]["disk"] > program.QUICK["requests"] * 80
    assert 0 < found["open"]["calls"] <= program.QUICK["calls"]
    assert found["recall"]["recall"] == 1.0  # as many are searched one by one
    assert "closed loop, p50" in printed
    assert "the peer" not in printed


def test_verdicts_say_which_marks_are_missed(benchmark):
    verdicts = benchmark("online_latency").verdicts
    took = {"p50": 1_000.0, "p90": 1_200.0, "p99": 1_900.0, "p99.9": 2_000.0}
    one = {
        "latency": took,
        "tables": {"p50": 20.0},
        "load_s": 0.4,
        "memory": {"served": {"parts": {"the global index": {"disk": 6e8}}}},
    }
    found = {"closed": one, "open": {"latency": took}, "recall": {"recall": 0.98}}
    found["peer"] = {"latency": {"p50": 39_000.0}}
    missed = [line for line in verdicts(found) if line.startswith("MISSED")]
    assert [line.split(": ")[1].split(",")[0] for line in missed] == ["closed loop", "times faster than the peer 39"]
    assert len(verdicts(found)) == 9


def test_reliability(benchmark, retriever: Path, capsys: pytest.CaptureFixture[str]):
    program = benchmark("online_reliability")
    counts = program.main(["--quick", "--retriever", str(retriever)])
    assert counts.sound, capsys.readouterr().out
    assert (counts.leaks, counts.lost, counts.faults, counts.errors) == (0, 0, 0, 0)
    assert counts.published >= 2
    assert counts.kills >= 1
    assert sum(counts.reasons.values()) == counts.calls


class _Telling:
    """An engine that answers with another user's words, or with a fault."""

    def __init__(self, text: str, reason: Reason) -> None:
        self.text, self.reason = text, reason

    def rewrite(self, text: str, user_id: str | None, nlu: object = None) -> Decision:
        return Decision(Action.REWRITE, self.text, text, self.reason, evidence={"fault": "none"})


@pytest.mark.parametrize("reason", [Reason.NEAR_GOOD, Reason.FAULT])
def test_another_users_words_and_faults_are_seen(benchmark, reason: Reason):
    program = benchmark("online_reliability")
    own = {f"u{user:06d}": program.private(user, ["play jazz"]) for user in range(program.USERS)}
    caller = program.Caller(["play jazz"], own, [("play jas", {})], program.random.Random(0))
    for _ in range(50):
        caller.call(_Telling("play jazz for owner9999x", reason))
    assert (caller.counts.calls, caller.counts.leaks) == (50, 50)
    assert caller.counts.faults == (50 if reason is Reason.FAULT else 0)
    assert not caller.counts.sound
    quiet = program.Caller(["play jazz"], own, [("play jas", {})], program.random.Random(0))
    for _ in range(50):
        quiet.call(_Telling("play jazz", Reason.NEAR_GOOD))
    assert quiet.counts.leaks == quiet.counts.own == 0


def test_a_turn_that_is_not_in_the_live_history_is_lost(benchmark, tmp_path: Path):
    program: ModuleType = benchmark("online_reliability")
    (tmp_path / "observed").mkdir()
    (tmp_path / "observed" / "0-1").write_text("kept\ngone\nhalf a li", encoding="utf-8")
    history = LiveHistory.open(live_path(tmp_path / "bundle"), canonical=Canonicaliser())
    history.observe({"turn_id": "kept", "user_id": "u", "timestamp": 1.8e9, "text": "play jazz"})
    assert program.observed_in(tmp_path) - program.kept_in(tmp_path) == {"gone"}


def test_growth_is_a_line_through_the_second_half(benchmark):
    program = benchmark("online_reliability")
    watched = program.Watched(SimpleNamespace(pid=1))
    watched.samples = [(float(second), 10_000_000 + second * 1_000) for second in range(200)]
    assert watched.growth == pytest.approx(3_600 * 1_000 / (1 << 20))
    watched.samples = list(islice(watched.samples, 20))
    assert watched.growth == 0.0

"""The benchmarks at tiny sizes: that they run, and that what they count is right. Times are theirs to tell."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from dialogue.reader import read_log

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Imports a program of benchmarks/, as running it from a checkout would."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_a_made_log_is_whole_and_the_same_for_the_same_seed(benchmark, tmp_path: Path):
    logs = benchmark("logs")
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        logs.write_log(tmp_path / f"{name}.jsonl", 5_000, seed, requests=2_000)
    one, again, other = ((tmp_path / f"{name}.jsonl").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other

    reader = read_log(tmp_path / "one.jsonl")
    turns = [turn for turns in reader for turn in turns]
    assert reader.report.accepted == len({turn.turn_id for turn in turns}) == 5_000
    assert reader.report.rejected == {}
    assert [turn.timestamp for turn in turns] == sorted(turn.timestamp for turn in turns)

    of = [turn.user_id for turn in turns]
    robots = sorted(of.count(user) for user in set(of) if user >= "u0000200")  # numbered after the 200 people
    assert robots == [10] * 5
    sorry = sum((turn.response or "").startswith("Sorry") for turn in turns)
    assert 0.1 < sorry / 5_000 < 0.25


def test_a_misheard_request_differs_from_it_in_the_name_only(benchmark):
    requests = benchmark("logs").Requests(2_000)
    assert requests.text(0) == requests.misheard(0) == "stop"
    wrong = [request for request in range(20, 2_000) if requests.misheard(request) == requests.text(request)]
    assert len(wrong) < 20
    assert requests.text(1_000).split()[0] == requests.misheard(1_000).split()[0]


def test_learn_throughput(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    program = benchmark("learn_throughput")
    sizes = ["--turns", "4000", "2000", "--repeat", "1", "--workers", "1"]
    small, large = program.main([*sizes, "--folder", str(tmp_path)])
    assert (small.turns, large.turns) == (2_000, 4_000)
    assert (small.counts["turns"], large.counts["turns"]) == (2_000, 4_000)
    assert small.bundle < large.bundle
    assert 100e6 < large.main_peak < 1e9
    assert 0.1 < small.cpu_s < 60
    assert sum(large.stages.values()) == pytest.approx(large.seconds)
    assert list(tmp_path.iterdir()) == []
    assert "README: 4,000 turns are learned in" in capsys.readouterr().out


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_slope_of_known_growth(benchmark, power: float):
    program = benchmark("learn_throughput")
    sizes = (1_000, 10_000, 50_000)
    runs = [program.Figures(turns, [], 1.0, 3 * turns**power, {}, {}, 0, 0, 0, {}) for turns in sizes]
    assert program.slope(runs) == pytest.approx(power)


def test_engine_latency(benchmark, capsys: pytest.CaptureFixture[str]):
    program = benchmark("engine_latency")
    figures = program.main(["--texts", "1000", "--calls", "50", "--slow-calls", "20", "--imports", "1"])
    expected = {
        "known good": {"known_good": 50},
        "known good for this user": {"known_good": 50},
        "precomputed": {"learned": 50},
        "pinned": {"pinned": 50},
        "blocked": {"blocked": 50},
    }
    assert {kind: figures.reasons[kind] for kind in expected} == expected
    assert figures.reasons["own correction"]["own_correction"] >= 40  # the others are among the user's own requests
    assert sum(figures.reasons["no table answer"].values()) == 20
    assert set(figures.latency) == set(program.KINDS)
    assert figures.heavy == []
    assert "of that mapped" in capsys.readouterr().out


def test_retrieval_speed(benchmark, capsys: pytest.CaptureFixture[str]):
    program = benchmark("retrieval_speed")
    figures = program.main(["--rows", "500", "--calls", "50", "--searches", "20", "--brute", "5"])
    assert figures.rows == 500
    assert (figures.compared, figures.differing) == (5 * len(program.FLOORS), 0)
    assert set(figures.build_s) == {"key table", "encoder", "vectors", "personal layer", "exact index"}
    assert "0 of 20 searches differ" in capsys.readouterr().out


def test_markov_solvers(benchmark, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("numba", reason="numba is not installed")
    figures = benchmark("markov_solvers").main(["--quick"])
    assert figures.off < 1e-9
    assert figures.twins_off < 1e-12
    assert len(figures.large) == 4
    assert all(run.gap == 0.0 and run.bound <= run.tolerance and run.error_bound < 1e-9 for run in figures.large)
    assert "seconds grow with the edges to the power of" in capsys.readouterr().out


def test_a_made_chain_has_the_size_asked_for_and_rows_that_sum_to_one(benchmark):
    chains = benchmark("chains")
    for Q, R in (chains.expander(2_000), chains.rephrases(2_000, 2_000)):
        assert Q.shape == (2_000, 2_000)
        assert abs(Q.sum(axis=1) + R.sum(axis=1) - 1.0).max() < 1e-12
        assert R.min() >= 0.0
    assert R.sum(axis=1).min() > 0.05

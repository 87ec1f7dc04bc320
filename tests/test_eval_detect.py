from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from dialogue.errors import LogError
from dialogue.reader import read_log
from dialogue.turn import Gold, RephraseKind, Session, Turn
from eval.__main__ import app
from eval.arrays import Floats
from eval.detect import as_dict, compare, judge
from eval.detection import Credit, Detections, average_precision, recall_at_precision
from eval.errors import CaseError
from eval.measures import Interval
from eval.ranking import Ranking, average_precision_interval, recall_at_precision_intervals
from eval.rephrases import NONE, UNKNOWN, Dialogues, Truth, joined, predict, read_dialogues, truth_of
from rephrase_detection import LexicalDetector, Links, RephraseDetector
from rephrase_detection.errors import DetectorError

ABSENT = "absent"


def turn(name: str, of: str | None = ABSENT, kind: RephraseKind | None = None, **more: Any) -> Turn:
    """A turn that is annotated, unless `of` is left out; the digits of its name are its time."""
    fields = {"rephrase_of"} | ({"rephrase_kind"} if kind else set())
    gold = None if of == ABSENT else Gold(rephrase_of=of, rephrase_kind=kind, annotated=frozenset(fields))
    return Turn(name, more.pop("user", "u"), float(name[1:]), more.pop("text", name), gold=gold, **more)


def session(*turns: Turn, name: str = "s") -> Session:
    return Session(name, turns[0].user_id, turns)


def links(*rows: tuple[int, int, float] | tuple[int, int, float, int]) -> Links:
    """(source, target, probability, kind) each, of no kind where none is given."""
    four = [(*row, -1)[:4] for row in rows]
    columns = zip(*four, strict=True) if rows else ((), (), (), ())
    kinds = (np.int64, np.int64, np.float64, np.int8)
    return Links(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


# What is true


def test_known_truth():
    found = truth_of([
        session(turn("t0"), turn("t1", None), turn("t2", "t0", RephraseKind.ASR), turn("t3", "t0"), turn("t4")),
        session(turn("t5", user="v"), turn("t6", "t5", RephraseKind.COMMAND, user="v")),
    ])  # fmt: skip
    # t0: t2 names it, and t3 later; t1 and t2: the next is annotated; t3: the next is not; t4: it is the last.
    assert found.rephrase.tolist() == [2, NONE, NONE, UNKNOWN, UNKNOWN, 6, UNKNOWN]
    assert found.kind.tolist() == [1, -1, -1, -1, -1, 0, -1]
    assert found.annotated.tolist() == [False, True, True, True, False, False, True]
    assert found.user.tolist() == found.session.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert found.out_of_reach == 0


def test_a_longer_reach_wants_all_of_the_next_turns_that_there_are():
    sessions = [session(turn("t0"), turn("t1", None), turn("t2"), turn("t3", None), turn("t4", None))]
    assert truth_of(sessions, 1).rephrase.tolist() == [NONE, UNKNOWN, NONE, NONE, UNKNOWN]
    assert truth_of(sessions, 2).rephrase.tolist() == [UNKNOWN, UNKNOWN, NONE, NONE, UNKNOWN]
    assert truth_of(sessions, 99).rephrase.tolist() == [UNKNOWN, UNKNOWN, NONE, NONE, UNKNOWN]
    with pytest.raises(ValueError, match="a reach of 0 turns came"):
        truth_of(sessions, 0)


def test_a_source_must_come_before_in_the_session():
    found = truth_of([
        session(turn("t0", "t9"), turn("t1", "t1"), turn("t2", "t3"), turn("t3", None)),
        session(turn("t9", "t0", user="v")),
    ])  # fmt: skip
    assert found.out_of_reach == 4
    assert found.rephrase.tolist() == [NONE, NONE, NONE, UNKNOWN, UNKNOWN]


def test_no_sessions():
    assert len(truth_of([])) == 0
    assert len(predict([], LexicalDetector())[0]) == 0


# Figures by hand

#: Six sources are measured: t0 (rephrase t1), t2 (t4), t3, t5, t6 (none), t7 (t8); t1 is, too: none.
SESSION = session(
    turn("t0"), turn("t1", "t0", RephraseKind.ASR), turn("t2", None), turn("t3", None),
    turn("t4", "t2", RephraseKind.COMMAND), turn("t5"), turn("t6", None), turn("t7", None), turn("t8", "t7"),
    turn("t9"),
)  # fmt: skip
TRUTH = truth_of([SESSION])
FOUND = links(
    (0, 1, 0.9, 1),  # right, and of the right kind
    (1, 2, 0.2),  # below the threshold
    (2, 3, 0.8),  # another turn than t4
    (3, 5, 0.95),  # t5 is not annotated: unjudged
    (5, 6, 0.7),  # none is true
    (7, 8, 0.6, 0),  # right; gold has no kind
    (8, 9, 1.0),  # a source that is not measured
)


def test_known_figures():
    assert TRUTH.rephrase.tolist() == [1, NONE, 4, NONE, UNKNOWN, NONE, NONE, 8, UNKNOWN, UNKNOWN]
    found = judge(TRUTH, FOUND, threshold=0.5)
    assert (found.sources, found.rephrases, found.links, found.unjudged) == (7, 3, 4, 1)
    assert found.precision.value == 2 / 4
    assert found.recall.value == 2 / 3
    assert found.f1.value == pytest.approx(2 * 2 / (4 + 3))
    assert found.average_precision.value == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 4)
    assert found.recall_at_90.value == found.recall_at_95.value == pytest.approx(1 / 3)
    assert found.exact_turn.value == 5 / 7  # t0, t7, and rightly none for t1, t3, t6
    assert found.pointing.value == 2 / 3
    assert found.kind.share is not None
    assert (found.kind.share.part, found.kind.share.whole) == (1, 1)
    assert (found.by, found.clusters) == ("session", 1)
    assert {each["interval"] for each in as_dict(found).values() if isinstance(each, dict)} == {None}  # one session


def test_credit_for_the_source():
    found = judge(TRUTH, FOUND, threshold=0.5, credit=Credit.SOURCE)
    assert (found.precision.value, found.recall.value) == (3 / 4, 1.0)
    assert found.exact_turn.value == 5 / 7


def test_an_unjudged_link_below_the_threshold_is_not_counted():
    assert judge(TRUTH, FOUND, threshold=0.96).unjudged == 0


def test_nothing_measured():
    truth = truth_of([session(turn("t0")), session(turn("t1"))])
    found = judge(truth, links(), threshold=0.5)
    values = [each["value"] for each in as_dict(found).values() if isinstance(each, dict)]
    assert found.sources == 0
    assert set(values) == {None}


def test_no_links_and_no_rephrases():
    nothing = judge(TRUTH, links(), threshold=0.5)
    assert (nothing.precision.value, nothing.recall.value, nothing.f1.value) == (None, 0.0, 0.0)
    truth = truth_of([session(turn("t0"), turn("t1", None))])
    found = judge(truth, links((0, 1, 0.9)), threshold=0.5)
    assert (found.precision.value, found.recall.value, found.average_precision.value) == (0.0, None, None)


# Resampling


def made(users: int, seed: int, better: float = 0.0) -> tuple[Truth, Links, Links]:
    """Users with 4 to 14 sources each, of whom some have more rephrases; two detectors, the first better by so much."""
    chance = np.random.default_rng(seed)
    counts = chance.integers(4, 15, users)
    user = np.repeat(np.arange(users), counts)
    there = chance.random(len(user)) < np.repeat(chance.beta(2, 6, users), counts)
    row = np.arange(len(user))
    # Two rows for each source: the source itself and the turn after it.
    rephrase = np.where(there, 2 * row + 1, NONE)
    truth = Truth(
        np.stack([rephrase, np.full(len(row), UNKNOWN)], 1).ravel(), np.full(2 * len(row), -1, np.int8),
        np.ones(2 * len(row), bool), np.repeat(user, 2), np.repeat(user, 2), 0,
    )  # fmt: skip
    hard = np.repeat(chance.normal(0, 0.5, users), counts)
    common = chance.normal(0, 0.7, len(row)) + hard

    def detector(skill: float) -> Links:
        odds = skill * (2 * there - 1) + common + chance.normal(0, 0.7, len(row))
        return Links(2 * row, 2 * row + 1, 1 / (1 + np.exp(-odds)), np.full(len(row), -1, np.int8))

    return truth, detector(1.0 + better), detector(1.0)


def ranked(truth: Truth, found: Links) -> tuple[Detections, Ranking]:
    rows = np.flatnonzero(truth.measured)
    gold = truth.rephrase[rows] >= 0
    detections = Detections(found.probability, np.ones(len(rows), bool), gold, gold)
    return detections, Ranking.of(detections, truth.user[rows], int(truth.user.max()) + 1, Credit.TURN)


SOURCES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.booleans(), st.booleans(), st.booleans()),
    min_size=1, max_size=14,
)  # fmt: skip


@given(SOURCES, st.lists(st.integers(0, 3), min_size=4, max_size=4), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=200, deadline=None)
def test_a_draw_is_the_measure_of_the_sources_that_were_drawn(
    sources: list[tuple[int, float, bool, bool, bool]], counts: list[int], wished: float
):
    cluster = np.array([source[0] for source in sources])
    p, named, positive, exact = (np.array([source[i] for source in sources]) for i in (1, 2, 3, 4))
    whole = Detections(p, named, positive, exact & named & positive)
    times = np.repeat(np.arange(len(sources)), np.array(counts)[cluster])
    drawn = Detections(p[times], named[times], positive[times], whole.exact[times])
    ranking = Ranking.of(whole, cluster, 4, Credit.TURN)
    weights = np.array([counts], np.float64)
    wanted, point = average_precision(drawn), recall_at_precision(drawn, wished)
    value, slopes = ranking.average_precision(weights)
    recall = ranking.recall_at_precision(weights, wished)
    assert slopes.shape == (1, 4)
    assert value[0] == pytest.approx(np.nan if wanted is None else wanted, nan_ok=True)
    assert recall[0] == pytest.approx(np.nan if point is None else point.recall, nan_ok=True)


def test_slopes_are_those_of_small_changes():
    truth, found, _ = made(25, 3)
    found = replace(found, probability=np.round(found.probability, 1))  # with ties
    _, ranking = ranked(truth, found)
    counts: Floats = np.random.default_rng(1).integers(1, 4, (2, 25)).astype(np.float64)
    _, slopes = ranking.average_precision(counts)
    for cluster in range(25):
        step = 1e-5 * np.eye(25)[cluster]
        rise = ranking.average_precision(counts + step)[0] - ranking.average_precision(counts - step)[0]
        assert slopes[:, cluster] == pytest.approx(rise / 2e-5, abs=1e-7)


def test_intervals_hold_the_truth():
    truth, found, other = made(20_000, 0, better=0.3)
    real, ahead = (judge(truth, each, threshold=0.5, draws=2) for each in (found, other))
    assert real.average_precision.value is not None
    assert ahead.average_precision.value is not None
    held = [0, 0]
    for seed in range(100):
        _, first = ranked(*(seen := made(40, 1 + seed, better=0.3))[:2])
        _, second = ranked(seen[0], seen[2])
        alone = average_precision_interval(first, seed=seed, draws=300)
        less = average_precision_interval(first, second, seed=seed, draws=300)
        assert alone is not None
        assert less is not None
        held[0] += alone.low <= real.average_precision.value <= alone.high
        held[1] += less.low <= real.average_precision.value - ahead.average_precision.value <= less.high
    assert min(held) >= 88  # fewer come by chance in 1 of 100 sets of intervals that hold 95 %


def test_a_better_detector_is_ahead_and_the_difference_has_a_sign():
    truth, better, worse = made(200, 5, better=0.6)
    found = compare(truth, better, worse, thresholds=(0.5, 0.5))
    back = compare(truth, worse, better, thresholds=(0.5, 0.5))
    for name in ("f1", "average_precision"):
        here, there = getattr(found, name), getattr(back, name)
        each = [getattr(judge(truth, links, threshold=0.5, draws=2), name).value for links in (better, worse)]
        assert here.value == pytest.approx(each[0] - each[1])
        assert here.interval.low > 0
        assert (there.value, there.interval.high) == (-here.value, pytest.approx(-here.interval.low, abs=0.02))
        assert there.interval.high < 0


def test_each_threshold_is_of_its_own_detector():
    truth, better, worse = made(50, 6)
    found = compare(truth, better, worse, thresholds=(0.3, 0.8)).f1.value
    wanted = [judge(truth, of, threshold=at, draws=2).f1.value for of, at in ((better, 0.3), (worse, 0.8))]
    assert wanted[0] is not None
    assert wanted[1] is not None
    assert found == pytest.approx(wanted[0] - wanted[1])


def test_a_pair_is_surer_than_two_detectors_apart():
    truth, better, worse = made(200, 5, better=0.6)

    def width(interval: Interval | None) -> float:
        assert interval is not None
        return interval.high - interval.low

    apart = [width(judge(truth, each, threshold=0.5).average_precision.interval) for each in (better, worse)]
    paired = width(compare(truth, better, worse, thresholds=(0.5, 0.5)).average_precision.interval)
    assert paired < 0.8 * np.hypot(*apart)


def test_a_detector_is_not_better_than_itself():
    truth, found, _ = made(40, 7)
    same = compare(truth, found, found, thresholds=(0.5, 0.5))
    assert (same.f1.value, same.f1.interval) == (0.0, None)
    assert (same.average_precision.value, same.average_precision.interval) == (0.0, None)


def test_figures_lie_in_their_intervals_and_a_seed_repeats_them():
    truth, found, _ = made(60, 8)
    figures = judge(truth, found, threshold=0.6)
    assert figures == judge(truth, found, threshold=0.6)
    assert figures != judge(truth, found, threshold=0.6, seed=1)
    assert (figures.by, figures.clusters) == ("user", 60)
    for name, each in as_dict(figures).items():
        if isinstance(each, dict) and each["value"] is not None:
            low, high = each["interval"]
            assert 0 <= low <= each["value"] <= high <= 1, name


def test_sessions_are_drawn_where_users_are_few():
    truth, found, _ = made(60, 8)
    few = replace(truth, user=truth.user % 19)
    assert (judge(few, found, threshold=0.6, draws=50).by, judge(few, found, threshold=0.6, draws=50).clusters) == (
        "session", 60,
    )  # fmt: skip
    assert judge(replace(truth, user=truth.user % 20), found, threshold=0.6, draws=50).clusters == 20


def test_all_right_still_has_an_interval():
    truth, found, _ = made(30, 9)
    right = replace(found, probability=(truth.rephrase[found.source] >= 0).astype(np.float64))
    figures = judge(truth, right, threshold=0.5)
    assert figures.precision.interval is not None
    assert 0.8 < figures.precision.interval.low < figures.precision.interval.high == 1.0
    assert figures.pointing.interval is not None
    assert figures.pointing.interval.low < figures.pointing.interval.high
    for each in (figures.f1, figures.average_precision):  # users do not differ
        assert (each.value, each.interval) == (1.0, None)


def test_the_same_recall_in_every_draw_is_no_interval():
    truth, found, _ = made(30, 9)
    _, ranking = ranked(truth, replace(found, probability=(truth.rephrase[found.source] >= 0).astype(np.float64)))
    assert recall_at_precision_intervals(ranking, (0.9,), draws=50) == [None]


def test_a_thousand_draws_of_five_thousand_sources_take_little_time():
    truth, found, other = made(560, 10)
    begun = time.perf_counter()
    assert judge(truth, found, threshold=0.5, draws=1_000).sources > 4_800
    compare(truth, found, other, thresholds=(0.5, 0.5), draws=1_000)
    assert time.perf_counter() - begun < 10  # it takes 2 s


# A detector's links


@dataclass(frozen=True)
class Fixed(RephraseDetector):
    """Gives every batch the same links."""

    links: Links
    threshold: float = 0.5

    def score(self, batch: pa.RecordBatch, p_success: Floats) -> Links:
        return self.links


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (links((0, 2, 0.5)), "none of the later turns of its session"),  # another session
        (links((1, 0, 0.5)), "none of the later turns of its session"),
        (links((0, 9, 0.5)), "none of the later turns of its session"),
        (links((-1, 1, 0.5)), "none of the later turns of its session"),
        (links((0, 1, 0.5), (0, 1, 0.5)), "a source twice, or not in order"),
        (links((2, 3, 0.5), (0, 1, 0.5)), "a source twice, or not in order"),
        (links((0, 1, 1.5)), "not from 0 to 1"),
        (links((0, 1, float("nan"))), "not from 0 to 1"),
    ],
)
def test_links_that_are_none(given: Links, said: str):
    sessions = [session(turn("t0"), turn("t1")), session(turn("t2"), turn("t3"))]
    with pytest.raises(DetectorError, match=said):
        predict(sessions, Fixed(given))


def talk(users: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    """An annotated log: a user fails, says it again with one word changed, and goes on; some say something else."""
    chance = random.Random(seed)
    songs = ["imagine dragons", "the smiths", "bohemian rhapsody", "stairway to heaven", "back in black"]
    records: list[dict[str, Any]] = []

    def add(user: str, text: str, of: str | None, **more: Any) -> str:
        at = 1_772_000_000.0 + 20 * len(records)
        gold = {"rephrase_of": of, **({"rephrase_kind": "command"} if of else {})}
        records.append({"turn_id": f"t{len(records):05}", "user_id": user, "timestamp": at, "text": text,
                        "session_id": "1", "gold": gold, **more})  # fmt: skip
        return str(records[-1]["turn_id"])

    for number in range(users):
        user = f"user {number}"
        for _ in range(4):
            song = chance.choice(songs)
            source = add(user, f"please play {song} loud", None, response="Sorry, I don't know that.")
            if chance.random() < 0.7:
                add(user, f"play {song} loud now", source, response="Here you are.")
            add(user, chance.choice(["what time is it", "turn off the lights", "weather"]), None, response="It is so.")
    return records


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def dialogues(path: Path, gap: float | None = None) -> Dialogues:
    return read_dialogues(read_log(path, limit=0.0, keep_gold=True), gap)


def test_chunks_make_no_difference(tmp_path: Path):
    read = dialogues(write(tmp_path / "log.jsonl", talk()))
    assert len({each.session_id for each in read.sessions}) == 1 < len(read.sessions)  # all users share one name
    done: list[int] = []
    (whole,) = predict(read.sessions, LexicalDetector())
    parts, again = predict(read.sessions, LexicalDetector(), LexicalDetector(), told=done.append, at_once=25)
    alone = joined([replace(each, source=each.source + at, target=each.target + at) for at, each in _apart(read)])
    assert len(whole)
    assert sum(done) == len(read.turns)
    assert len(done) > 3
    for name in ("source", "target", "probability", "kind"):
        for other in (parts, again, alone):
            assert getattr(other, name).tolist() == getattr(whole, name).tolist()


def _apart(read: Dialogues) -> list[tuple[int, Links]]:
    starts = np.cumsum([0, *(len(each.turns) for each in read.sessions)]).tolist()
    return [(at, predict([each], LexicalDetector())[0]) for at, each in zip(starts, read.sessions, strict=False)]


def test_sessions_of_a_log(tmp_path: Path):
    records = [{"turn_id": f"t{n}", "user_id": "u", "timestamp": n * 100.0, "text": "x"} for n in (2, 0, 1, 9)]
    path = write(tmp_path / "log.jsonl", [*records, records[0]])
    read = dialogues(path)
    assert [each.turn_id for each in read.turns] == ["t2", "t0", "t1", "t9"]
    assert [[each.turn_id for each in one.turns] for one in read.sessions] == [["t0", "t1", "t2", "t9"]]
    assert (read.repeated, read.users) == (1, 1)
    assert [len(one.turns) for one in dialogues(path, 300.0).sessions] == [3, 1]
    with pytest.raises(ValueError, match="a session gap of 0 seconds"):
        dialogues(path, 0)


def test_a_bad_record_stops_it(tmp_path: Path):
    path = write(tmp_path / "log.jsonl", [*talk(2), {"turn_id": "x", "text": "x"}])
    with pytest.raises(CaseError, match=r"1 of \d+ records break the log format: missing_field"):
        dialogues(path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(LogError, match="holds no records"):
        dialogues(tmp_path / "empty.jsonl")


# The command


def invoke(*arguments: object, detector: str = "lexical") -> Result:
    return CliRunner().invoke(app, ["detect", *map(str, arguments), "--detector", detector])


def test_the_command_measures_what_the_library_does(tmp_path: Path):
    path = write(tmp_path / "log.jsonl", talk())
    told = invoke(path, "--json", "--against", "lexical", "--threshold", "0.4", "--seed", "3")
    assert told.exit_code == 0
    document = json.loads(told.stdout)
    read = dialogues(path)
    truth, (found,) = truth_of(read.sessions), predict(read.sessions, LexicalDetector())
    wanted = as_dict(judge(truth, found, threshold=0.4, seed=3))
    assert wanted["rephrases"] > 60
    assert wanted["recall"]["value"] > 0.5
    assert document["detectors"][0] == json.loads(json.dumps({"name": "lexical", **wanted}))
    assert document["detectors"][1]["threshold"] == 0.5  # its own
    assert document["difference"]["average_precision"]["value"] == 0.0
    assert document["dialogues"] == {
        "turns": len(read.turns), "sessions": 30, "users": 30, "annotated": len(read.turns),
        "measured": len(read.turns) - 30, "out_of_reach": 0, "repeated": 0,
    }  # fmt: skip


def test_the_command_tells_people(tmp_path: Path):
    records = talk()
    records[3]["gold"]["rephrase_of"] = "nobody"
    del records[40]["gold"]
    told = invoke(write(tmp_path / "log.jsonl", [*records, records[0]]), "--against", "lexical", "--credit", "source")
    assert told.exit_code == 0
    for words in (
        "Average precision", "30 users with a measured source", "out of reach", "1 record with a turn_id that came",
        "whichever turn is named", "lexical less lexical, F1: +0.0 points",
    ):  # fmt: skip
        assert words in told.stdout


def test_predictions_have_every_turn_in_the_order_of_the_log(tmp_path: Path):
    records = talk(5)
    random.Random(1).shuffle(records)
    path, out = write(tmp_path / "log.jsonl", records), tmp_path / "new" / "found.jsonl"
    assert invoke(path, "--predictions", out).exit_code == 0
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [each["source"] for each in written] == [record["turn_id"] for record in records]
    assert all(list(each) == ["source", "rephrase", "probability", "kind"] for each in written)
    read = dialogues(path)
    (found,) = predict(read.sessions, LexicalDetector())
    names = [each.turn_id for one in read.sessions for each in one.turns]
    best = {names[a]: (names[b], p) for a, b, p in zip(found.source, found.target, found.probability, strict=True)}
    for each in written:
        target, p = best.get(each["source"], (None, 0.0))
        assert each["probability"] == p
        assert each["rephrase"] == (target if p >= 0.5 else None)
        assert (each["kind"] is None) == (each["rephrase"] is None)
    assert any(0 < each["probability"] < 0.5 for each in written)
    assert any(each["rephrase"] for each in written)
    assert [file.name for file in out.parent.iterdir()] == ["found.jsonl"]


def test_without_annotations_there_are_predictions_only(tmp_path: Path):
    records = [{key: value for key, value in record.items() if key != "gold"} for record in talk(3)]
    path, out = write(tmp_path / "log.jsonl", records), tmp_path / "found.jsonl"
    refused = invoke(path)
    assert refused.exit_code == 3
    assert "none of" in refused.stderr
    assert "has gold.rephrase_of" in refused.stderr.replace("\n", " ")
    told = invoke(path, "--predictions", out)
    assert told.exit_code == 0
    assert "No figures: none of" in told.stdout
    assert len(out.read_text(encoding="utf-8").splitlines()) == len(records)
    assert json.loads(invoke(path, "--predictions", out, "--json").stdout)["detectors"] == []


def test_sessions_of_one_turn_cannot_be_measured(tmp_path: Path):
    records = [{**record, "session_id": record["turn_id"]} for record in talk(3)]
    refused = invoke(write(tmp_path / "log.jsonl", records))
    assert refused.exit_code == 3
    assert "no turn has enough annotated turns right after it" in refused.stderr.replace("\n", " ")


def test_other_bad_input_ends_with_a_code(tmp_path: Path):
    path = write(tmp_path / "log.jsonl", talk(3))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    assert invoke(tmp_path / "empty.jsonl").exit_code == 3
    assert invoke(tmp_path / "none.jsonl").exit_code == 3
    assert invoke(path, "--threshold", "1.5").exit_code == 2
    assert invoke(path, "--session-gap", "-1").exit_code == 2
    assert invoke(path, "--reach", "0").exit_code == 2
    assert invoke(path, "--predictions", tmp_path / "folder").exit_code == 2
    assert invoke(path, "--predictions", path).exit_code == 2
    assert invoke(path, "--predictions", path / "in a file").exit_code == 2
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(talk(3))
    assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []


def test_a_detector_that_is_not_there_ends_with_a_code(tmp_path: Path):
    pytest.importorskip("rephrase_detection.loading")
    path = write(tmp_path / "log.jsonl", talk(3))
    told = invoke(path, detector=str(tmp_path / "no such detector"))
    assert told.exit_code == 4
    assert "The detector cannot be used" in told.stderr
    assert invoke(path, "--against", tmp_path).exit_code == 4


def test_empty_long_and_many_turns(tmp_path: Path):
    records = talk(3)
    count = len(records)
    for number, record in enumerate(records):
        record |= {"user_id": "one", "timestamp": 1_772_000_000.0 + 20 * number}
    filler = [
        {"turn_id": f"x{n:04}", "user_id": "one", "session_id": "1", "timestamp": 1_772_100_000.0 + n,
         "text": "" if n % 7 == 0 else f"command {n}", "gold": {"rephrase_of": None}}
        for n in range(500)
    ]  # fmt: skip
    filler[10]["text"] = " ".join(f"word{n}" for n in range(2_000))
    filler[11]["text"] = filler[10]["text"]
    out = tmp_path / "found.jsonl"
    told = invoke(write(tmp_path / "log.jsonl", records + filler), "--json", "--predictions", out)
    assert told.exit_code == 0
    document = json.loads(told.stdout)
    assert document["dialogues"]["sessions"] == 1
    assert document["dialogues"]["measured"] == count + 499
    assert document["detectors"][0]["rephrases"] == sum(bool(each["gold"]["rephrase_of"]) for each in records)
    assert document["detectors"][0]["precision"]["interval"] is None  # one session
    written = {each["source"]: each for each in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    assert len(written) == count + 500
    assert (written["x0007"]["rephrase"], written["x0007"]["probability"]) == (None, 0.0)  # empty

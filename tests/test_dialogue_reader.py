"""Reading logs: known answers, what is written is read back, and every kind of damage."""

import gzip
import json
import random
from dataclasses import asdict
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogue import LogError, TooManyRejects, parse_lines, read_log
from dialogue.turn import Asr, Gold, Hypothesis, Nlu, Outcome, Signals, Turn

PLAIN = {"turn_id": "t1", "user_id": "u", "timestamp": 5.0, "text": "play maj and dragons"}
FULL = PLAIN | {
    "timestamp": "1970-01-01T00:00:05Z",
    "asr": {"confidence": 0.5, "nbest": [{"text": "play maj and dragons", "score": -1.5}]},
    "nlu": {"domain": "music", "intent": "play", "slots": {"artist": "maj"}, "confidence": 1},
    "signals": {"barge_in": True, "rating": -1},
    "outcome": "failure",
    "gold": {"rephrase_of": None, "rewrite": []},
}
READ = Turn(
    "t1",
    "u",
    5.0,
    "play maj and dragons",
    asr=Asr(0.5, (Hypothesis("play maj and dragons", -1.5),)),
    nlu=Nlu("music", "play", {"artist": "maj"}, 1.0),
    signals=Signals(barge_in=True, rating=-1),
    outcome=Outcome.FAILURE,
    gold=Gold(rewrite=(), annotated=frozenset({"rephrase_of", "rewrite"})),
)


def lines(*records):
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def read(*paths, **options):
    reader = read_log(paths, **options)
    return [turn for turns in reader for turn in turns], reader.report


def numbered(n, start=0):
    return [PLAIN | {"turn_id": f"t{i}"} for i in range(start, start + n)]


def test_a_record_by_hand(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines(FULL))
    assert read(log, keep_gold=True)[0] == [READ]
    (turn,), report = read(log)
    assert turn.gold is None
    assert (report.records, report.accepted, report.rejected, report.files) == (1, 1, {}, (str(log),))


@pytest.mark.parametrize(
    "moment",
    [5.0, "1970-01-01T00:00:05Z", datetime(1970, 1, 1, 0, 0, 5), datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)],
)
def test_parquet_with_structs_and_any_timestamp(tmp_path, moment):
    log = tmp_path / "log.parquet"
    second = PLAIN | {"turn_id": "t2", "timestamp": moment, "asr": {"confidence": 0.25}}
    table = pa.Table.from_pylist([FULL | {"timestamp": moment}, second, PLAIN | {"timestamp": moment}])
    pq.write_table(table, log)
    turns, _ = read(log)
    assert turns[0] == Turn(**{f: getattr(READ, f) for f in READ.__slots__ if f != "gold"})
    assert turns[1] == Turn("t2", "u", 5.0, PLAIN["text"], asr=Asr(0.25))
    assert turns[2] == Turn("t1", "u", 5.0, PLAIN["text"])


def test_parquet_with_json_strings_and_maps(tmp_path):
    log = tmp_path / "log.parquet"
    row = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in FULL.items()}
    pq.write_table(pa.Table.from_pylist([row, row | {"nlu": "{"}]), log)
    turns, report = read(log, keep_gold=True, limit=1)
    assert (turns, report.rejected) == ([READ], {"wrong_type:nlu": 1})
    slots = pa.array(
        [{"intent": "play", "slots": [("artist", "maj")]}],
        pa.struct([("intent", pa.string()), ("slots", pa.map_(pa.string(), pa.string()))]),
    )
    pq.write_table(pa.Table.from_pylist([PLAIN]).append_column("nlu", slots), log)
    assert read(log)[0][0].nlu == Nlu(intent="play", slots={"artist": "maj"})


SOUND = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OPTIONAL = st.none() | SOUND
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | SOUND, lambda v: st.lists(v, max_size=2), max_leaves=3
)
TURNS = st.builds(
    Turn,
    turn_id=SOUND.filter(bool),
    user_id=SOUND.filter(bool),
    timestamp=st.floats(-1e10, 1e10),
    text=SOUND,
    session_id=OPTIONAL,
    end_timestamp=st.none() | st.floats(0, 1e10),
    asr=st.none() | st.builds(Asr, st.floats(0, 1), st.lists(st.builds(Hypothesis, SOUND)).map(tuple)),
    nlu=st.none() | st.builds(Nlu, domain=OPTIONAL, slots=st.dictionaries(SOUND, VALUES, max_size=3)),
    response=OPTIONAL,
    signals=st.none() | st.builds(Signals, engaged_s=st.floats(0, 1e6), rating=st.integers(-1, 1)),
    outcome=st.none() | st.sampled_from(Outcome),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(TURNS, min_size=1, max_size=5))
def test_what_is_written_is_read_back_from_every_kind_of_file(tmp_path, turns):
    records = [asdict(turn) for turn in turns]
    (tmp_path / "log.jsonl").write_bytes(lines(*records))
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(lines(*records)))
    objects = ("asr", "nlu", "signals", "outcome", "context", "served", "gold")
    rows = [r | {k: r[k] and json.dumps(r[k]) for k in objects if k != "outcome"} for r in records]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    for name in ("log.jsonl", "log.jsonl.gz", "log.parquet"):
        assert read(tmp_path / name)[0] == turns


@given(st.integers(0, 25), st.integers(1, 7))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_are_read_in_order_and_blocks_lose_nothing(tmp_path, split, chunk):
    records = numbered(25)
    whole, a, b = (tmp_path / name for name in ("whole.jsonl", "a.jsonl", "b.jsonl"))
    whole.write_bytes(lines(*records))
    a.write_bytes(lines(*records[:split]))
    b.write_bytes(lines(*records[split:]))
    assert read(a, b, chunk=chunk)[0] == read(whole)[0]
    assert max(map(len, read_log(whole, chunk=chunk))) == chunk


def test_a_directory_stands_for_its_logs_by_name(tmp_path):
    for name, record in zip(
        ("b.jsonl", "a.jsonl", "rejects.jsonl", ".hidden.jsonl"), numbered(4), strict=True
    ):
        (tmp_path / name).write_bytes(lines(record))
    (tmp_path / "notes.txt").write_text("x")
    turns, _ = read(tmp_path, rejects=tmp_path / "rejects.jsonl")
    assert [turn.turn_id for turn in turns] == ["t1", "t0"]


BAD = [
    (b"{", "not_json"),
    (b"\0\0\0", "not_json"),
    (b"[1]", "not_an_object"),
    (b'{"turn_id": "\xff"}', "not_utf8"),
    (json.dumps(PLAIN | {"text": "\ud800"}), "not_utf8"),
    (json.dumps(PLAIN | {"text": "x" * 6000}), "too_long"),
    ({k: v for k, v in PLAIN.items() if k != "user_id"}, "missing_field:user_id"),
    (PLAIN | {"text": None}, "missing_field:text"),
    (PLAIN | {"turn_id": 7}, "wrong_type:turn_id"),
    (PLAIN | {"turn_id": ""}, "out_of_range:turn_id"),
    (PLAIN | {"timestamp": "noon"}, "bad_timestamp:timestamp"),
    (PLAIN | {"timestamp": 10**300}, "bad_timestamp:timestamp"),
    (PLAIN | {"asr": {"confidence": 2}}, "out_of_range:asr.confidence"),
    (PLAIN | {"asr": {"nbest": [{"score": 1}]}}, "missing_field:asr.nbest.text"),
    (PLAIN | {"outcome": "meh"}, "out_of_range:outcome"),
    (PLAIN | {"signals": {"rating": "1"}}, "wrong_type:signals.rating"),
    (PLAIN | {"gold": {"success": "yes"}}, "wrong_type:gold.success"),
]  # fmt: skip


def as_bytes(record):
    return (
        record
        if isinstance(record, bytes)
        else (record if isinstance(record, str) else json.dumps(record)).encode()
    )


@pytest.mark.parametrize(("record", "reason"), BAD)
def test_every_bad_record_has_its_reason(record, reason):
    turns, (reject,) = parse_lines([as_bytes(record)], 7, "log", max_record_bytes=5000)
    assert (turns, reject.reason, reject.line, reject.file) == ([], reason, 7, "log")
    assert reject.detail
    assert reject.record == as_bytes(record).decode("utf-8", "replace")[:2000]


def test_rejects_are_written_with_line_and_reason(tmp_path):
    log, rejects = tmp_path / "log.jsonl", tmp_path / "rejects.jsonl"
    log.write_bytes(b"\xef\xbb\xbf" + lines(PLAIN, b"", b"{", b"  ", PLAIN, b'{"a": 1}'))
    turns, report = read(log, rejects=rejects, limit=0.5, chunk=2)
    assert len(turns) == 2
    assert (report.records, report.rejected) == (4, {"missing_field:turn_id": 1, "not_json": 1})
    first, second = map(json.loads, rejects.read_text().splitlines())
    assert (first["file"], first["line"], first["reason"], first["record"]) == (str(log), 3, "not_json", "{")
    assert second["line"] == 6
    log.write_bytes(lines(PLAIN))
    assert read(log, rejects=rejects)[1].rejects_path is None
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_thirty_percent_broken_lines_stop_the_reading(tmp_path):
    log, rejects = tmp_path / "log.jsonl", tmp_path / "rejects.jsonl"
    log.write_bytes(lines(*numbered(7), b"{", b"{", b"[]"))
    with pytest.raises(TooManyRejects) as stop:
        read(log, rejects=rejects)
    for part in (
        "3 of 10 records (30.0%)",
        "not_json (2), not_an_object (1)",
        str(rejects),
        "limit above 0.3000",
    ):
        assert part in str(stop.value)
    assert len(rejects.read_text().splitlines()) == 3
    assert len(read(log, limit=0.3)[0]) == 7


def test_the_limit_is_checked_early(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"{\n" * 30_000)
    with pytest.raises(TooManyRejects, match=r"10,000 of 10,000 records"):
        read(log)


def test_a_reading_given_up_leaves_no_rejects(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines(b"{", *numbered(30)))
    for _ in read_log(log, rejects=tmp_path / "rejects.jsonl", chunk=10):
        break
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_truncated_gzip_says_what_is_whole(tmp_path):
    log = tmp_path / "log.jsonl.gz"
    draw = random.Random(0)
    whole = gzip.compress(lines(*[PLAIN | {"text": str(draw.random())} for _ in range(2000)]))
    log.write_bytes(whole[: len(whole) // 2])
    got = []
    with pytest.raises(LogError, match=r"log.jsonl.gz .*after [\d,]+ whole records .*zcat") as stop:
        got.extend(turn for turns in read_log(log, chunk=100) for turn in turns)
    assert 500 < len(got) < 2000
    assert f"after {len(got):,} whole records" in str(stop.value)


def test_logs_that_cannot_be_read(tmp_path):
    def fails(name, content, match):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LogError, match=match):
            read(tmp_path / name)

    fails("empty.jsonl", b"", "holds no records")
    fails("blank.jsonl", b"\n\n", "holds no records")
    fails("log.csv", b"a,b", r"Unknown kind of log: .*log\.csv.*\.jsonl, \.jsonl\.gz, \.parquet")
    fails("not.jsonl.gz", b"{}", "after 0 whole records .*export it again")
    fails("not.parquet", b"{}", "after 0 whole records .*export it again")
    with pytest.raises(LogError, match=r"No such log: .*absent\.jsonl"):
        read(tmp_path / "absent.jsonl")
    (tmp_path / "bare").mkdir()
    with pytest.raises(LogError, match="No log files in directory"):
        read(tmp_path / "bare")
    with pytest.raises(LogError, match="one of the logs"):
        read(tmp_path / "empty.jsonl", rejects=tmp_path / "empty.jsonl")
    with pytest.raises(LogError, match="No log was named"):
        read()


def test_parquet_without_a_required_column(tmp_path):
    log = tmp_path / "log.parquet"
    pq.write_table(pa.table({"turn_id": ["t"], "user": ["u"], "text": ["x"]}), log)
    with pytest.raises(LogError, match=r"no column user_id, timestamp; its columns are turn_id, user, text"):
        read(log)


@pytest.mark.parametrize("text", ["\0", "😀👩‍👩‍👧", "שלום \u202eעולם", "\u2028\u2029\x85", "é" * 500_000])
def test_any_text_is_read_as_it_is(tmp_path, text):
    log = tmp_path / "log.jsonl"
    for ascii_only in (True, False):
        log.write_bytes(json.dumps(PLAIN | {"text": text}, ensure_ascii=ascii_only).encode())
        assert read(log)[0][0].text == text


def test_a_line_far_too_long_is_skipped_and_the_next_is_read(tmp_path):
    log = tmp_path / "log.jsonl"
    exact = json.dumps(PLAIN)
    log.write_bytes(lines(b"x" * 9_000_000, exact.encode(), (exact + " ").encode()))
    turns, report = read(log, max_record_bytes=len(exact), limit=1)
    assert ([turn.turn_id for turn in turns], report.rejected) == (["t1"], {"too_long": 2})


def test_progress_reaches_the_end(tmp_path):
    a, b = tmp_path / "a.jsonl.gz", tmp_path / "b.parquet"
    a.write_bytes(gzip.compress(lines(*numbered(100))))
    pq.write_table(pa.Table.from_pylist(numbered(100)), b)
    reader = read_log([a, b], chunk=30)
    seen = [reader.bytes_read for _ in reader]
    assert seen == sorted(seen)
    assert reader.bytes_read == reader.bytes_total == a.stat().st_size + b.stat().st_size


def test_work_is_mapped_over_blocks(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines(*numbered(5)))
    assert list(read_log(log, chunk=2).map(len)) == [2, 2, 1]

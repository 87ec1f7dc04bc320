"""Contextual rewrites: the published examples with their contrasts, what is not found, and the arrays."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.context_tokens import Previous, context_tokens
from retrieval import FolderError
from rewrite import (
    Bundle,
    DecayConfig,
    EngineConfig,
    GateConfig,
    LearnConfig,
    LogConfig,
    Reason,
    RewriteEngine,
    Source,
    learn,
)
from rewrite.bundle import write_manifest
from rewrite.contextual import ALONE, SMOOTHING, ContextCounts, ContextualEntries, ContextualEntry
from rewrite.posterior import Beta, exceeds
from rewrite.serving import ServingArrays
from tests.logs import SORRY, Record, record, write_log

FIXTURES = Path(__file__).parents[1] / "fixtures"
ON, OFF = {"device_state": {"oven": "on"}}, {"device_state": {"oven": "off"}}
SCREEN, SPEAKER = {"device_type": "screen"}, {"device_type": "speaker"}
ALARM = Previous("clock", "stop_alarm", "stop the alarm", 8.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("context") / "bundle"
    learn([FIXTURES / "context.jsonl", FIXTURES / "log.jsonl"], out)
    return out


@pytest.fixture(scope="module")
def arrays(bundle: Path) -> ServingArrays:
    return ServingArrays.load(bundle / "index")


def answer(arrays: ServingArrays, text: str, context: dict[str, Any], previous: Previous | None = None) -> str | None:
    """What is said instead; the text itself where it is left alone, None where context says nothing."""
    row = arrays.texts.get(text)
    found = arrays.contextual.find(row, context_tokens(context, previous))
    return None if found is None else text if found.target == ALONE else arrays.texts.key(found.target)


def rows(bundle: Path) -> list[dict[str, Any]]:
    return list(Bundle.open(bundle).rewrites("contexts"))


def test_the_script_writes_the_log(tmp_path: Path):
    subprocess.run([sys.executable, FIXTURES / "make_context.py", tmp_path], check=True)
    assert (tmp_path / "context.jsonl").read_bytes() == (FIXTURES / "context.jsonl").read_bytes()


TEMPERATURE, GAMES, BREW = "what is the temperature", "play hunger games", "start brewing"


@pytest.mark.parametrize(
    ("text", "context", "previous", "wanted"),
    [
        (TEMPERATURE, ON, None, "what is the oven temperature"),
        (TEMPERATURE, OFF, None, TEMPERATURE),
        (TEMPERATURE, {}, None, None),
        (GAMES, SCREEN, None, "play the hunger games movie"),
        (GAMES, SPEAKER, None, "play the hunger games audiobook"),
        (GAMES, {"has_screen": True}, None, "play the hunger games movie"),
        (GAMES, {"device_type": "car"}, None, None),
        (BREW, {}, ALARM, "start brewing coffee"),
        (BREW, {}, ALARM._replace(seconds=4_000.0), None),
        (BREW, {}, ALARM._replace(intent="tell_time"), None),
        (BREW, {}, None, None),
        ("play music", ON | SCREEN, ALARM, None),
        ("what's the weather in wilkerson", ON | SCREEN, ALARM, None),
    ],
)
def test_the_published_examples(arrays, text, context, previous, wanted):
    assert answer(arrays, text, context, previous) == wanted


def test_an_own_correction_that_context_explains_is_known_to_depend_on_it(arrays):
    texts = (TEMPERATURE, "what is the oven temperature", "play jazz music")
    row, oven, jazz = map(arrays.texts.get, texts)
    assert arrays.contextual.depends(row, oven)
    assert not arrays.contextual.depends(arrays.texts.get("play music"), jazz)


def test_nothing_else_depends_on_context(bundle):
    assert {row["source"] for row in rows(bundle)} == {TEMPERATURE, GAMES, BREW}
    assert all(row["source_users"] >= 5 and row["chance"] >= 0.9 and row["matters"] >= 0.975 for row in rows(bundle))


def test_a_request_fits_where_it_works(arrays):
    movie, book, timer = (
        arrays.texts.get(f"play the hunger games {form}") if form else arrays.texts.get("set a timer for ten minutes")
        for form in ("movie", "audiobook", "")
    )
    lift = arrays.context_counts.lift([movie, book, timer], context_tokens(SCREEN))
    assert lift[0] > 0.2 > -0.2 > lift[1]
    assert abs(lift[2]) < abs(lift[0])
    assert arrays.context_counts.lift([movie], ["no:such"]).tolist() == [0.0]


# Made-up logs


def scene(
    first: int, text: str, users: int, context: Record, then: str | None = None, *, at: float = 0.0
) -> list[Record]:
    """Each user says it once; where `then` is given it fails, and is said again so ten seconds later."""
    good: Record = {"response": "Here you are.", "signals": {"engaged_s": 90.0}, "context": context}
    out = []
    for user in range(users):
        who, when = f"{text[:3]}{first}-{user:02}", at + 8_000.0 * user + first
        number = first + 2 * user
        if then is None:
            out.append(record(number, text, who, when, **good))
        else:
            out.append(record(number, text, who, when, response=SORRY, context=context))
            out.append(record(number + 1, then, who, when + 10, **good))
    return out


def learned(folder: Path, records: list[Record], **options: Any) -> Path:
    learn(write_log(folder.with_suffix(".jsonl"), records), folder, **options)
    return folder


def test_where_the_table_rewrites_for_most_a_context_that_works_is_left_alone(tmp_path: Path):
    log = [
        *scene(0, "open the blind", 25, {"activity": "home"}, "open the blinds"),
        *scene(1_000, "open the blind", 9, {"activity": "office"}),
        *scene(2_000, "open the blinds", 6, {}),
    ]
    bundle = learned(tmp_path / "b", log)
    assert [row["source"] for row in Bundle.open(bundle).rewrites()] == ["open the blind"]
    arrays = ServingArrays.load(bundle / "index")
    assert answer(arrays, "open the blind", {"activity": "office"}) == "open the blind"
    assert answer(arrays, "open the blind", {"activity": "home"}) is None  # what the table does anyway


def test_few_users_and_one_loud_user_are_no_evidence(tmp_path: Path):
    loud = [each | {"user_id": "loud"} for each in scene(1_000, "heat it", 40, ON, "heat the oven")]
    log = [*scene(0, "heat it", 12, OFF), *scene(5_000, "heat the oven", 8, {}), *loud,
           *scene(2_000, "heat it", 3, ON, "heat the oven")]  # fmt: skip
    assert rows(learned(tmp_path / "b", log)) == []


def test_no_meaning_is_flipped_whatever_the_context(tmp_path: Path):
    log = [*scene(0, "turn on the light", 14, ON, "turn off the light"), *scene(1_000, "turn on the light", 14, OFF)]
    assert [row["target"] for row in rows(learned(tmp_path / "b", log)) if row["target"]] == []


def confounded(seed: int = 3) -> list[Record]:
    """The oven is mostly on in the evening; only the oven matters."""
    chance, log = random.Random(seed), []
    for user in range(40):
        on = user % 2 == 0
        evening = chance.random() < (0.75 if on else 0.25)
        context = {**(ON if on else OFF), "local_hour": 19 if evening else 12}
        log += scene(100 * user, "how hot is it", 1, context, "how hot is the oven" if on else None, at=5_000.0 * user)
    return log


def test_what_goes_along_with_the_reason_is_no_reason(tmp_path: Path):
    found = rows(learned(tmp_path / "b", confounded()))
    assert {(row["token"], row["target"]) for row in found} == {
        ("state:oven=on", "how hot is the oven"), ("state:oven=off", None),
    }  # fmt: skip


def chances(seed: int) -> list[Record]:
    """Requests that fail as often in every context, and contexts at random."""
    chance, numbers, log = random.Random(seed), itertools.count(), []
    for text, user in itertools.product(range(20), range(16)):
        context = {
            "device_type": chance.choice(["screen", "speaker"]), "local_hour": chance.randrange(24),
            "device_state": {"oven": chance.choice(["on", "off"]), "tv": chance.choice(["on", "off"])},
        }  # fmt: skip
        fails, at = chance.random() < 0.2 + 0.03 * text, chance.uniform(0, 9e5)
        how: Record = {"response": SORRY} if fails else {"response": "Ok.", "signals": {"engaged_s": 60.0}}
        log.append(record(next(numbers), f"play song{text} alpha", f"u{user:02}", at, context=context, **how))
        if fails:
            good = {"response": "Ok.", "signals": {"engaged_s": 60.0}, "context": context}
            log.append(record(next(numbers), f"play song{text} beta", f"u{user:02}", at + 9, **good))
    return log


def test_chance_is_not_taken_for_context(tmp_path: Path):
    assert rows(learned(tmp_path / "b", chances(1))) == []


KEPT = ("own_contexts", "own_context_hops", "own_served_contexts")


def test_log_by_log_is_all_at_once_and_what_is_on_is_held(tmp_path: Path):
    records = [json.loads(line) for line in (FIXTURES / "context.jsonl").read_text(encoding="utf-8").splitlines()]
    cut = sorted(each["timestamp"] for each in records)[len(records) // 2][:10]
    halves = [[each for each in records if (each["timestamp"] < cut) is early] for early in (True, False)]
    still = LearnConfig(log=LogConfig(session_gap_s=600.0), decay=DecayConfig(None, None))
    whole = learned(tmp_path / "whole", records, config=still)
    first = learned(tmp_path / "first", halves[0], config=still)
    both = learned(tmp_path / "both", halves[1], config=still, previous=first)
    for name in KEPT:
        tables = [pq.read_table(each / "counts" / f"{name}.parquet") for each in (whole, both)]
        keys = [(field.name, "ascending") for field in tables[0].schema if str(field.type) == "string"]
        keys += [("grade", "ascending")] if "grade" in tables[0].schema.names else []
        one, other = (each.sort_by(keys).to_pylist() for each in tables)
        assert one == other, name
    told = [[(row["source"], row["token"], row["target"]) for row in rows(each)] for each in (whole, both)]
    assert told[0] == told[1]


def test_a_bundle_made_before_there_were_contexts_is_learned_on_from_and_served(tmp_path: Path, bundle: Path):
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    for name in KEPT:
        (old / "counts" / f"{name}.parquet").unlink()
    (old / "contexts.parquet").unlink()
    shutil.rmtree(old / "index" / "context")
    manifest = json.loads((old / "manifest.json").read_text(encoding="utf-8"))
    gone = [name for name in manifest["files"] if not (old / name).exists()]
    assert len(gone) > 10
    told = Bundle.open(bundle).manifest
    write_manifest(
        old, created=told.created, parameters=told.parameters, log=told.log, span=told.span, counts=told.counts,
        detector=told.detector,
    )  # fmt: skip
    arrays = ServingArrays.load(old / "index")
    assert len(arrays.contextual) == 0
    assert arrays.context_counts.lift([0, 1], ["device:screen"]).tolist() == [0.0, 0.0]
    later = [each | {"timestamp": each["timestamp"] + 3e6} for each in scene(0, TEMPERATURE, 12, OFF)]
    after = learned(tmp_path / "after", later, previous=old)
    assert pq.read_table(after / "counts" / "own_contexts.parquet").num_rows == 12


def test_nothing_in_the_open_names_what_few_said_or_had(tmp_path: Path):
    secret = {"device_state": {"vault": "open"}, "activity": "hiding"}
    log = [*scene(0, "heat it", 12, OFF), *scene(1_000, "heat it", 12, ON, "heat the oven"),
           *scene(3_000, "heat it", 4, secret, "heat the vault")]  # fmt: skip
    bundle = learned(tmp_path / "b", log, config=LearnConfig(gate=GateConfig(min_users=5)))
    open_files = [bundle / "contexts.parquet", *(bundle / "index" / "context").rglob("*.npy")]
    assert rows(bundle)
    assert all(b"vault" not in each.read_bytes() and b"hiding" not in each.read_bytes() for each in open_files)


# The arrays


def entry(source: int, token: str, target: int, strength: float) -> ContextualEntry:
    return ContextualEntry(source, token, target, 0.9, 0.5, 12, 0.99, strength)


ENTRIES = [entry(4, "hour:night", 7, 1.0), entry(4, "state:oven=on", 9, 6.0), entry(4, "device:car", ALONE, 3.0),
           entry(2, "device:car", 5, 2.0), entry(2, "hour:night", ALONE, 2.0)]  # fmt: skip


def test_of_entries_that_fit_the_strongest_is_found(tmp_path: Path):
    ContextualEntries.build(ENTRIES).save(tmp_path / "e")
    entries = ContextualEntries.load(tmp_path / "e")
    assert entries.find(4, {"hour:night"}).target == 7
    assert entries.find(4, {"hour:night", "device:car"}).target == ALONE
    assert entries.find(4, {"hour:night", "device:car", "state:oven=on"}).target == 9
    assert entries.find(2, {"hour:night", "device:car"}).target == ALONE  # as strong: left alone
    assert entries.find(4, frozenset()) is None
    assert entries.find(3, {"hour:night"}) is None
    assert entries.find(4, {"hour:day"}) is None
    assert entries.find(4, {"hour:night"}).score == pytest.approx(0.9)
    assert (entries.depends(4, 9), entries.depends(4, 8), entries.depends(3, 9)) == (True, False, False)


told_entries = st.tuples(st.integers(0, 5), st.sampled_from("abcd"), st.integers(-1, 9), st.floats(0, 9))


@given(st.lists(told_entries, max_size=20), st.integers(0, 5), st.sets(st.sampled_from("abcde")))
def test_find_is_what_a_plain_search_finds(told: list[tuple[int, str, int, float]], row: int, tokens: set[str]):
    one_each = {each[:2]: each for each in told}
    entries = [entry(*each) for each in one_each.values()]
    fit = [each for each in entries if each.source == row and each.token in tokens]
    found = ContextualEntries.build(entries).find(row, tokens)
    if not fit:
        assert found is None
    else:
        best = max(np.float32(each.strength) for each in fit)
        assert found is not None
        assert np.float32(found.strength) == best
        assert (found.token, found.target) in {(each.token, each.target) for each in fit}


def test_damaged_arrays_are_refused(tmp_path: Path):
    ContextualEntries.build(ENTRIES).save(tmp_path / "e")
    (tmp_path / "e" / "target.npy").unlink()
    with pytest.raises(FolderError, match="target"):
        ContextualEntries.load(tmp_path / "e")
    ContextCounts.build(3, [(0, "device:car", 1.0)]).save(tmp_path / "c")
    with pytest.raises(FolderError, match="3 rows"):
        ContextCounts.load(tmp_path / "c", 4)
    with pytest.raises(ValueError, match="below 3"):
        ContextCounts.build(3, [(3, "device:car", 1.0)])


COUNTS = [(0, "device:car", 30.0), (0, "device:screen", 10.0), (2, "device:screen", 40.0), (2, "hour:day", 8.0)]


def test_the_lift_by_hand(tmp_path: Path):
    ContextCounts.build(3, COUNTS).save(tmp_path / "c")
    counts = ContextCounts.load(tmp_path / "c", 3)
    car = 31 / 82  # of all successes with a device, one added to each token
    wanted = [math.log((30 + SMOOTHING * car) / (40 + SMOOTHING) / car), 0.0,
              math.log(SMOOTHING * car / (40 + SMOOTHING) / car)]  # fmt: skip
    assert counts.lift([0, 1, 2], {"device:car", "hour:night"}).tolist() == pytest.approx(wanted, abs=1e-6)
    assert counts.lift(np.array([2, 0]), {"device:car"}).tolist() == pytest.approx(wanted[::-2], abs=1e-6)
    assert counts.lift([], {"device:car"}).shape == (0,)
    both = counts.lift([0], {"device:car", "hour:day"})
    assert both[0] == pytest.approx(wanted[0], abs=1e-6)  # one hour alone is known: it tells nothing


def test_the_chance_that_one_rate_exceeds_another_by_hand():
    """Of Beta(1, 1) and Beta(2, 1): P(x > y) = 1 / 3. Of equals: one half. Of far ones: 1."""
    x, y = Beta([1.0, 3.0, 200.0], [1.0, 4.0, 1.0]), Beta([2.0, 3.0, 1.0], [1.0, 4.0, 200.0])
    assert exceeds(x, y).tolist() == pytest.approx([1 / 3, 0.5, 1.0], abs=1e-3)
    assert exceeds(y, x).tolist() == pytest.approx([2 / 3, 0.5, 0.0], abs=1e-3)


# Asked of an engine


@pytest.fixture(scope="module")
def answered(bundle: Path) -> list[tuple[Any, Any]]:
    spec = spec_from_file_location("context_example", FIXTURES.parent / "examples" / "context.py")
    assert spec is not None
    assert spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    return list(example.answers(bundle))


def test_the_example_answers_every_published_case_with_its_contrast(answered):
    assert [(each.said, each.where, decision.text) for each, decision in answered] == [
        (each.said, each.where, each.wanted) for each, _ in answered
    ]
    reasons = Counter(decision.reason for _, decision in answered)
    assert (reasons[Reason.CONTEXTUAL], reasons[Reason.OWN_CORRECTION], reasons[Reason.OWN_REQUEST]) == (4, 2, 2)


def test_a_contextual_rewrite_says_which_token_and_is_logged_as_served(answered):
    decision = next(decision for each, decision in answered if each.where == "the oven is on")
    assert decision.evidence["context"] == "state:oven=on"
    assert decision.source is Source.PRECOMPUTED
    assert decision.served["rewrite"] == "what is the oven temperature"


def test_contextual_rewrites_are_held_back_by_an_engine_that_explores(bundle: Path, tmp_path: Path):
    shutil.copytree(bundle, tmp_path / "b")
    engine = RewriteEngine.load(tmp_path / "b", config=EngineConfig(explore=0.5, seed=1, live=False))
    found = Counter(engine.rewrite(TEMPERATURE, context=ON).reason for _ in range(200))
    assert set(found) == {Reason.CONTEXTUAL, Reason.HELD_BACK}
    assert 60 < found[Reason.CONTEXTUAL] < 140


@pytest.mark.parametrize("context", [[], "oven", {"device_state": [1]}, {"device_state": {1: 2, "oven": None}}])
def test_a_careless_context_changes_nothing(bundle: Path, tmp_path: Path, context: Any):
    engine = RewriteEngine.load(bundle, config=EngineConfig(live=False))
    assert engine.rewrite(TEMPERATURE, context=context).text == TEMPERATURE
    assert engine.rewrite(TEMPERATURE, context=context).reason is not Reason.FAULT


def test_what_depends_on_context_is_no_habit(tmp_path: Path):
    """Somebody who only ever bakes corrected it three times; with the oven off, or unknown, it is left alone."""
    baker = [each | {"user_id": "baker"} for each in scene(9_000, "how hot is it", 3, ON, "how hot is the oven")]
    log = [*scene(0, "how hot is it", 12, ON, "how hot is the oven"), *scene(1_000, "how hot is it", 14, OFF), *baker]
    engine = RewriteEngine.load(learned(tmp_path / "b", log), config=EngineConfig(live=False))
    assert [row["user_id"] for row in engine.bundle.rewrites("corrections") if row["user_id"] == "baker"] == ["baker"]
    answers = [engine.rewrite("how hot is it", "baker", context).text for context in (ON, OFF, None)]
    assert answers == ["how hot is the oven", "how hot is it", "how hot is it"]

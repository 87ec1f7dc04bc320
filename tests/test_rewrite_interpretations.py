"""From logged interpretations to states: what helps, what is too coarse to, and what is missing from the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewrite import Bundle, learn
from tests.logs import Record, retries, write_log

MAJ, IMAGINE = "play maj and dragons", "play imagine dragons"
BEE, BBC = "play the news from bee bee sea", "play the news from the bbc"


def taken(records: list[Record], meanings: dict[str, dict[str, Any]], every: int = 1) -> list[Record]:
    """The records with what NLU made of each text, on every so-manieth of them."""
    return [
        each | {"nlu": meanings[each["text"]]} if place % every == 0 and each["text"] in meanings else each
        for place, each in enumerate(records)
    ]


def play(title: str) -> dict[str, Any]:
    return {"domain": "music", "intent": "play", "slots": {"title": title}}


def learned(tmp_path: Path, records: list[Record]) -> Bundle:
    learn(write_log(tmp_path / "log.jsonl", records), tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def table(bundle: Bundle) -> dict[str, str]:
    return {row["source"]: row["target"] for row in bundle.rewrites()}


def meant(bundle: Bundle) -> set[str]:
    return {row["text"] for row in bundle.rewrites("states") if row["kind"] == "meant"}


def two_scenes() -> list[Record]:
    return [*retries(MAJ, IMAGINE), *retries(BEE, BBC, first=5_000, at=500_000.0)]


def test_interpretations_are_states(tmp_path: Path):
    meanings = {MAJ: play("maj and dragons"), IMAGINE: play("imagine dragons")}
    bundle = learned(tmp_path, taken(retries(MAJ, IMAGINE), meanings))
    assert meant(bundle) == {MAJ, IMAGINE}
    assert table(bundle) == {MAJ: IMAGINE}


def test_two_wordings_of_one_meaning_add_up(tmp_path: Path):
    put = "put imagine dragons on"
    log = [*retries(MAJ, IMAGINE, users=8), *retries(MAJ, put, users=6, first=5_000, name="other", at=500_000.0)]
    same = play("imagine dragons")
    bundle = learned(tmp_path, taken(log, {MAJ: play("maj and dragons"), IMAGINE: same, put: same}))
    (row,) = bundle.rewrites()
    assert row["share"] == pytest.approx(1.0, abs=0.01)  # of all who went on, in either wording
    assert row["route_users"] == 14
    (tmp_path / "text").mkdir()
    shares = [row["share"] for row in learned(tmp_path / "text", log).rewrites("candidates")]
    assert max(shares) < 0.7  # as texts they are rivals


def test_an_intent_without_its_slots_is_no_state(tmp_path: Path):
    intent = {"domain": "music", "intent": "play", "slots": {}}
    bundle = learned(tmp_path, taken(retries(MAJ, IMAGINE), {MAJ: intent, IMAGINE: intent}))
    assert meant(bundle) == set()  # what fails and what works are not one
    assert table(bundle) == {MAJ: IMAGINE}


def test_one_interpretation_for_all_that_is_not_understood_is_no_state(tmp_path: Path):
    fallback = {"domain": "other", "intent": "fallback", "slots": {}}
    meanings = {MAJ: fallback, BEE: fallback, IMAGINE: play("imagine dragons"), BBC: play("the bbc")}
    bundle = learned(tmp_path, taken(two_scenes(), meanings))
    assert meant(bundle) == {IMAGINE, BBC}  # both fail alike, but go on to different places
    assert table(bundle) == {MAJ: IMAGINE, BEE: BBC}


@pytest.mark.parametrize("every", [2, 3, 5])
def test_turns_without_an_interpretation_have_the_usual_one_of_their_text(tmp_path: Path, every: int):
    meanings = {MAJ: play("maj and dragons"), IMAGINE: play("imagine dragons"), BEE: play("b"), BBC: play("the bbc")}
    whole = learned(tmp_path, taken(two_scenes(), meanings))
    rows = list(whole.rewrites())
    (tmp_path / "part").mkdir()
    part = learned(tmp_path / "part", taken(two_scenes(), meanings, every))
    for mine, other in zip(part.rewrites(), rows, strict=True):
        assert (mine["source"], mine["target"], mine["route_users"]) == (
            other["source"], other["target"], other["route_users"],
        )  # fmt: skip
        assert mine["share"] == pytest.approx(other["share"], abs=0.01)


def test_a_text_that_is_mostly_taken_for_what_it_means_gains_by_the_rest(tmp_path: Path):
    # Of those who say it two in five are heard wrong, and say it differently; nobody whom it serves would lose.
    mumbled, clear = "play imagin dragons", IMAGINE
    right, wrong = play("imagine dragons"), play("magic dragons")
    served = [each | {"nlu": right, "outcome": "success", "response": "Here."} for each in
              retries(mumbled, "stop", users=30, times=1, name="fine", first=9_000, at=9e5)[::2]]  # fmt: skip
    failed = taken(retries(mumbled, clear, users=20, times=1), {mumbled: wrong, clear: right})
    others = retries("x", clear, users=30, times=1, name="more", first=20_000, at=2e6)[1::2]
    more = [each | {"nlu": right} for each in others]
    (row,) = (row for row in learned(tmp_path, [*served, *failed, *more]).rewrites("candidates"))
    assert (row["source"], row["target"]) == (mumbled, clear)
    assert row["alike"] > 0.9
    assert row["rewritten"] > row["alone"] + 0.2
    assert row["reason"] == "kept"

"""The layers: whose requests they propose, known answers first, then separation, then what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import (
    BruteForceIndex,
    Candidate,
    DuplicateKeyError,
    GlobalLayer,
    HistoryEntry,
    InputError,
    Layer,
    NgramEncoder,
    PersonalLayer,
)

REQUESTS = [
    "weather in wilkerson california",
    "weather in wilkerson washington",
    "play imagine dragons",
    "play dragon tales",
    "stop",
]
ENCODER = NgramEncoder.fit(REQUESTS)
TABLE = ENCODER.encode(REQUESTS)
QUERY = ENCODER.encode_one("weather in wilkerson")
HISTORIES = [
    HistoryEntry("ann", 4, 9, 1_700_000_000.5),
    HistoryEntry("ann", 0, 3, 1_600_000_000.0),
    HistoryEntry("bob", 2, 1, 1_500_000_000.0),
]


def test_the_personal_layer_knows_this_users_wilkerson() -> None:
    (candidate,) = PersonalLayer.build(TABLE, HISTORIES).search("ann", QUERY, k=3, floor=0.3)
    assert (candidate.row, candidate.layer) == (0, Layer.PERSONAL)
    assert candidate.similarity == TABLE.score(QUERY, np.array([0]))[0]


def test_the_global_layer_answers_in_rows_of_the_table() -> None:
    found = GlobalLayer.build(TABLE, np.array([1, 3, 4])).search(QUERY, k=3, floor=0.3)
    assert [(candidate.row, candidate.layer) for candidate in found] == [(1, Layer.GLOBAL)]
    any_index = GlobalLayer(BruteForceIndex(TABLE, np.array([1, 3, 4])))
    assert any_index.search(QUERY, k=3, floor=0.3) == found


def test_a_history_is_sorted_by_row_and_keeps_its_figures() -> None:
    layer = PersonalLayer.build(TABLE, HISTORIES)
    history = layer.history("ann")
    assert history.rows.tolist() == layer.rows_of("ann").tolist() == [0, 4]
    assert history.counts.tolist() == [3, 9]
    assert history.last_seen.tolist() == [1_600_000_000.0, 1_700_000_000.5]


def test_a_user_not_known_has_nothing() -> None:
    layer = PersonalLayer.build(TABLE, HISTORIES)
    assert layer.rows_of("eve").tolist() == layer.search("eve", QUERY, 3, 0.0) == []
    assert PersonalLayer.build(TABLE, []).search("ann", QUERY, 3, 0.0) == []


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.sets(st.integers(0, 4)), max_size=5), st.text(max_size=3))
def test_a_search_stays_within_the_users_own_rows(histories: dict[str, set[int]], stranger: str) -> None:
    entries = (HistoryEntry(user, row, 1, 0.0) for user, rows in histories.items() for row in rows)
    layer = PersonalLayer.build(TABLE, entries)
    for user in [*histories, stranger]:
        own = np.array(sorted(histories.get(user, ())), np.int64)
        wanted = BruteForceIndex(TABLE, own).search(QUERY, 5, 0.0)
        pairs = zip(wanted.rows.tolist(), wanted.scores.tolist(), strict=True)
        assert layer.search(user, QUERY, 5, 0.0) == [
            Candidate(row, score, Layer.PERSONAL) for row, score in pairs
        ]
        assert layer.rows_of(user).tolist() == own.tolist()


def test_saved_and_loaded_they_answer_the_same(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "table")
    table = type(TABLE).load(tmp_path / "table")
    personal, everyone = PersonalLayer.build(TABLE, HISTORIES), GlobalLayer.build(TABLE, np.array([1, 2]))
    personal.save(tmp_path / "personal")
    everyone.save(tmp_path / "global")
    loaded = PersonalLayer.load(tmp_path / "personal", table)
    assert loaded.search("ann", QUERY, 3, 0.0) == personal.search("ann", QUERY, 3, 0.0) != []
    assert loaded.history("bob").counts.tolist() == [1]
    assert (
        GlobalLayer.load(tmp_path / "global", table).search(QUERY, 3, 0.0)
        == everyone.search(QUERY, 3, 0.0)
        != []
    )


def test_a_row_twice_in_a_history_is_refused() -> None:
    with pytest.raises(DuplicateKeyError, match="row 4 came twice for user 'ann'"):
        PersonalLayer.build(TABLE, [*HISTORIES[:2], HISTORIES[0]])


def test_a_user_in_two_places_is_refused() -> None:
    with pytest.raises(DuplicateKeyError, match="'ann' came at rows 0 and 2"):
        PersonalLayer.build(TABLE, [*HISTORIES, HistoryEntry("ann", 1, 1, 0.0)])


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_outside_the_table_is_refused(row: int) -> None:
    with pytest.raises(InputError, match=r"the table has rows 0\.\.4"):
        PersonalLayer.build(TABLE, [HistoryEntry("ann", row, 1, 0.0)])

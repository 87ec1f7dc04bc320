"""The key table: known answers, then agreement with a dict, then what it refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import DuplicateKeyError, InputError, KeyTable

KEYS = ["play jazz", "", "stop", "spiel für elise", "שלום", "🎸", "a\0b", "a"]


def poor_hash(raw: bytes) -> int:
    """Three values only, the greatest among them, so that most keys collide."""
    return (0, 7, 2**64 - 1)[len(raw) % 3]


def constant_hash(_: bytes) -> int:
    return 2**63


def test_a_key_gives_its_position_and_a_position_its_key() -> None:
    table = KeyTable.build(KEYS)
    assert [table.get(key) for key in KEYS] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [table.key(row) for row in range(8)] == KEYS
    assert len(table) == 8
    assert table.get("play") == table.get("a\0") == table.get("play jazz ") == -1


def test_the_hash_is_the_same_on_every_machine() -> None:
    # blake2b of nothing with an 8-byte digest is e4a6a0577479b2b4, here read with the low byte first
    assert int(KeyTable.build([""]).hashes[0]) == 0xB4B2797457A0A6E4


def test_half_a_surrogate_pair_is_a_key_like_any_other() -> None:
    table = KeyTable.build(["\ud83d", "\ude00"])
    assert (table.get("\ude00"), table.key(0)) == (1, "\ud83d")


def test_colliding_keys_are_told_apart(tmp_path: Path) -> None:
    KeyTable.build(KEYS, hash=constant_hash).save(tmp_path)
    table = KeyTable.load(tmp_path, hash=constant_hash)
    assert [table.get(key) for key in KEYS] == list(range(8))
    assert table.get("play rock") == -1


@given(
    st.lists(st.text(), unique=True), st.lists(st.text()), st.sampled_from([poor_hash, constant_hash, None])
)
def test_it_agrees_with_a_dict(keys: list[str], others: list[str], hash) -> None:
    table = KeyTable.build(iter(keys), hash) if hash else KeyTable.build(iter(keys))
    rows = {key: row for row, key in enumerate(keys)}
    assert [table.get(key) for key in keys + others] == [rows.get(key, -1) for key in keys + others]
    assert [table.key(row) for row in range(len(table))] == keys


def test_many_keys_fill_many_buckets(tmp_path: Path) -> None:
    KeyTable.build(f"request {n}" for n in range(20_000)).save(tmp_path)
    table = KeyTable.load(tmp_path)
    assert [table.get(f"request {n}") for n in range(20_000)] == list(range(20_000))
    assert {table.get(f"request {n}") for n in range(20_000, 40_000)} == {-1}


def test_an_empty_table_has_no_key(tmp_path: Path) -> None:
    KeyTable.build([]).save(tmp_path)
    table = KeyTable.load(tmp_path)
    assert (len(table), table.get(""), table.get("a")) == (0, -1, -1)


@pytest.mark.parametrize("hash", [poor_hash, constant_hash])
def test_a_key_given_twice_is_refused_by_name(hash) -> None:
    with pytest.raises(DuplicateKeyError, match=r"'stop' came at rows 1 and 3"):
        KeyTable.build(["play", "stop", "next", "stop", "shop"], hash)


@pytest.mark.parametrize("row", [-1, 8])
def test_a_row_outside_the_table_is_refused(row: int) -> None:
    with pytest.raises(InputError, match=rf"row {row} came, the table has rows 0\.\.7"):
        KeyTable.build(KEYS).key(row)


def test_saving_over_a_mapped_table_leaves_its_reader_whole(tmp_path: Path) -> None:
    KeyTable.build(KEYS).save(tmp_path)
    before = KeyTable.load(tmp_path)
    KeyTable.build(["other"]).save(tmp_path)
    assert (before.get("stop"), KeyTable.load(tmp_path).get("other")) == (2, 0)

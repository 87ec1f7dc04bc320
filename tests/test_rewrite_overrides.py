"""A person's word: what it changes, what it outlives, and what is refused."""

import json

import pytest

from rewrite.errors import BundleError, DamagedBundle, NewerBundle
from rewrite.overrides import FILE, Overrides


def test_the_last_word_on_a_source_holds():
    word = Overrides().pin("a", "A").pin("b", "B").block("a")
    assert (word.pinned, word.blocked) == ({"b": "B"}, {"a"})
    word = word.pin("a", "Z").clear("b")
    assert (word.pinned, word.blocked) == ({"a": "Z"}, set())


def test_newer_words_stand_over_older_ones():
    older = Overrides({"a": "old", "b": "old", "c": "old"}, frozenset({"d", "e"}))
    newer = Overrides({"a": "new", "d": "new"}, frozenset({"b"}))
    merged = newer.over(older)
    assert merged.pinned == {"a": "new", "c": "old", "d": "new"}
    assert merged.blocked == {"b", "e"}


def test_what_is_saved_is_read_back_and_readable(tmp_path):
    word = Overrides({"play 🎵": 'say "hi"\n\0', "شغل": "موسيقى"}, frozenset({"z", "y"}))
    word.save(tmp_path)
    assert Overrides.load(tmp_path) == word
    raw = (tmp_path / FILE).read_text(encoding="utf-8")
    assert "🎵" in raw
    assert json.loads(raw)["blocked"] == ["y", "z"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_file_means_no_word(tmp_path):
    assert Overrides.load(tmp_path) == Overrides()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b'{"version": 1, "pinned": {"a": "b"}',
        b"[]",
        b"null",
        b'{"version": 1}',
        b'{"version": 1, "pinned": {"a": 1}, "blocked": []}',
        b'{"version": 1, "pinned": ["a"], "blocked": []}',
        b'{"version": 1, "pinned": {}, "blocked": "abc"}',
        b'{"version": 1, "pinned": {}, "blocked": {"a": 1}}',
        b'{"version": 1, "pinned": {}, "blocked": [null]}',
        b'\xff{"version": 1, "pinned": {}, "blocked": []}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_refused_with_a_remedy(tmp_path, raw):
    (tmp_path / FILE).write_bytes(raw)
    with pytest.raises(DamagedBundle, match=r"overrides\.json .*Mend it by hand, or delete it"):
        Overrides.load(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(DamagedBundle, match="not readable"):
        Overrides.load(tmp_path)


def test_a_newer_version_is_refused(tmp_path):
    (tmp_path / FILE).write_text('{"version": 2, "pinned": {}, "blocked": [], "suggested": {}}')
    with pytest.raises(NewerBundle, match=r"version 2.* up to 1: upgrade"):
        Overrides.load(tmp_path)


def test_half_a_character_is_refused_and_the_file_stays(tmp_path):
    word = Overrides().block("a")
    word.save(tmp_path)
    with pytest.raises(BundleError, match="half a character"):
        word.pin("a", "\ud800").save(tmp_path)
    assert Overrides.load(tmp_path) == word


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(BundleError, match="could not be written"):
        Overrides().block("a").save(tmp_path / "gone")

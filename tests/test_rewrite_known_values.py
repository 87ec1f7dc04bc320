"""No known value of a slot for another."""

from __future__ import annotations

import pytest

from rewrite.known_values import exchanges_value

KNOWN = {
    ("song", "thriller"), ("song", "killer queen"), ("artist", "taylor"), ("artist", "taylor swift"),
    ("city", "new york"), ("city", "york"), ("currency", "usd"), ("currency", "cad"),
}  # fmt: skip


def known(slot: str, value: str) -> bool:
    return (slot, value) in KNOWN


@pytest.mark.parametrize(
    ("said", "slots", "exchanged"),
    [
        ("play thriller", [("song", "killer queen")], True),
        ("play killa queen", [("song", "killer queen")], False),  # what was heard is no value of the slot
        ("play thriller", [("artist", "taylor")], False),  # nor of this one
        ("play taylor", [("artist", "taylor swift")], True),  # a longer value is another
        ("play taylor swift", [("artist", "taylor")], True),
        ("play taylors", [("artist", "taylor")], False),  # only spelled otherwise
        ("weather in new york", [("city", "new york")], False),  # "york" is a part of what is kept
        ("from usd to usd", [("currency", "cad; usd")], True),  # one of two gave way
        ("from cad to usd", [("currency", "cad; usd")], False),
        ("play thriller", [], False),
        ("", [("song", "thriller")], False),
    ],
)
def test_a_known_value_stays(said: str, slots: list[tuple[str, str]], exchanged: bool):
    assert exchanges_value(said.split(), slots, known) is exchanged

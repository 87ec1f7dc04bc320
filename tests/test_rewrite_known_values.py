"""No known value of a slot for another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def values(text: str) -> frozenset[tuple[str, str]]:
    """Known values as "slot: value, value; slot: ..."."""
    slots = (each.split(":") for each in text.split(";"))
    return frozenset((slot.strip(), value.strip()) for slot, held in slots for value in held.split(","))


MANY = values(
    "artist: taylor, taylor swift, queen, queen latifah, the doors, the who, duran duran, air, air supply;"
    "song: thriller, killer, four, for you, one, yesterday, apart, a part of me;"
    "food: pasta, pasta al dente, pizza, eggs, tuna, rice, fried rice, ice cream, cream, food, food court;"
    "date: march twenty first, march thirty first, march, twenty first, today, tomorrow, friday, this friday, may,"
    " may fifth, next, next week, this week, next weeks, christmas;"
    "time: six am, six pm, six, seven, nine, ten, half past nine, noon, eight, eighty;"
    "place: york, new york, russia, alaska, boston, austin, kitchen, hall, georgia, canada, california, theater;"
    "event: wedding, wedding anniversary, meeting, meetings, election, election results, dentist's appointment;"
    "person: ann, anna, jon, john, john's, john miller, mary, mari, ann lee, phil, fill;"
    "thing: rain coat, raincoat, evening raincoat, audio book, home town, to rain, going to rain, rain, doors, door,"
    " nice, nike;"
    "currency: u s d, usd, cad, euro, euros, us dollar, dollar, dollars"
)


def holds(slot: str, value: str) -> bool:
    return (slot, value) in MANY


@pytest.mark.parametrize(
    ("said", "target", "slots"),
    [
        # another value, near as it may sound
        ("play thriller", "play killer", "song: killer"),
        ("recipe for eggs", "recipe for tuna", "food: tuna"),
        ("wake me at six pm", "wake me at six am", "time: six am"),
        ("call ann", "call anna", "person: anna"),
        ("call mary", "call ann lee", "person: ann lee"),
        ("weather in boston", "weather in austin", "place: austin"),
        ("on march twenty first", "on march thirty first", "date: march thirty first"),
        ("play four", "play for you", "song: for you"),
        ("play a part of me", "play apart", "song: apart"),
        ("wake me at eight", "wake me at eighty", "time: eighty"),
        ("remind me this week", "remind me next week", "date: next week"),
        # longer, shorter
        ("play taylor", "play taylor swift", "artist: taylor swift"),
        ("play taylor swift", "play taylor", "artist: taylor"),
        ("play queen", "play queen latifah", "artist: queen latifah"),
        ("play queen please", "play queen latifah", "artist: queen latifah"),
        ("cook pasta", "cook pasta al dente", "food: pasta al dente"),
        ("cook rice", "cook fried rice", "food: fried rice"),
        ("remind me friday", "remind me this friday", "date: this friday"),
        ("weather in york", "weather in new york", "place: new york"),
        ("weather in new york", "weather in york", "place: york"),
        ("play the doors", "play doors", "artist: doors"),
        ("from dollars", "from us dollar", "currency: us dollar"),
        ("mail from john's", "mail from john miller", "person: john miller"),
        ("do i need a raincoat", "do i need an evening rain coat", "thing: evening rain coat"),
        ("play duran duran", "play duran", "artist: duran"),
        ("take my evening raincoat", "take my rain coat", "thing: rain coat"),
        ("from u s d to cad", "from us dollars to cad", "currency: us dollars; cad"),
        # its place is taken, though it is still said
        ("play queen", "play queen by adele", "artist: adele"),
        # one of two gave way
        ("from usd to usd", "from cad to usd", "currency: cad; usd"),
        ("how far is canada from georgia", "how far is california from georgia", "place: california georgia"),
        # said twice
        ("is it going to rain", "is it going to going to rain", "thing: going to rain"),
        ("is it going to going to rain", "is it going to rain", "thing: going to rain"),
        ("skip to next", "skip to next to next", "date: next to next"),
        ("pizza pizza", "pasta pizza", "food: pasta"),
        # spelled otherwise, and both are known
        ("call jon", "call john", "person: john"),
        ("call john", "call jon", "person: jon"),
        ("call phil", "call fill", "person: fill"),
        ("call fill", "call phil", "person: phil"),
        ("play nice", "play nike", "thing: nike"),
        ("play nike", "play nice", "thing: nice"),
    ],
)  # fmt: skip
def test_a_value_that_was_said_is_not_given_up(said: str, target: str, slots: str):
    assert exchanges_value(said.split(), laid(slots), holds, target.split())


@pytest.mark.parametrize(
    ("said", "target", "slots"),
    [
        # spelled, joined, split otherwise
        ("take my rain coat", "take my raincoat", "thing: raincoat"),
        ("take my raincoat", "take my rain coat", "thing: rain coat"),
        ("play my audio book", "play my audiobook", "thing: audiobook"),
        ("my home town", "my hometown", "thing: hometown"),
        ("find a theater", "find a theatre", "place: theatre"),
        ("call phil", "call phill", "person: phill"),
        ("show my meetings", "show my meeting", "event: meeting"),
        ("today s weather", "today's weather", "date: today's"),
        ("a dentist appointment", "a dentist's appointment", "event: dentist's appointment"),
        ("next week manager s meeting", "next weeks managers meeting", "date: next weeks; event: managers meeting"),
        # still said, and what came beside it took the place of a word like it
        ("my wedding anniversary president", "my wedding anniversary presents", "event: wedding anniversary presents"),
        ("a wedding album", "a wedding albums", "event: wedding albums"),
        ("find the food card", "find the food court", "food: food court"),
        ("play taylor unk", "play taylor swift", "artist: taylor swift"),
        ("play taylor swiff", "play taylor swift", "artist: taylor swift"),
        ("stock home to boston", "stockholm to boston", "place: stockholm boston"),
        # still said, with no value in its slot but what was said
        ("can you read russia from alaska", "can you see russia from alaska", "place: russia alaska"),
        ("when is christmas on tv this year", "when is christmas this year", "date: this year"),
        ("on twenty twenty first", "on twenty first", "date: twenty first"),
        ("play duran duran", "play duran duran", "artist: duran duran"),
        ("kitchen kitchen lights", "kitchen lights", "place: kitchen"),
    ],
)  # fmt: skip
def test_a_value_that_is_still_said_is_kept(said: str, target: str, slots: str):
    assert not exchanges_value(said.split(), laid(slots), holds, target.split())


def laid(slots: str) -> list[tuple[str, str]]:
    """Slots as "slot: value; value; slot: value"."""
    found: list[tuple[str, str]] = []
    for part in slots.split(";"):
        name, told, value = part.rpartition(":")
        if told:
            found.append((name.strip(), value.strip()))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}; {value.strip()}")
    return found


FEW = settings(max_examples=200, deadline=None)
WORDS = "play the new taylor swift queen in for rain coat to next on friday".split()
sentences = st.lists(st.sampled_from(WORDS), max_size=8)
HELD = "taylor;taylor swift;queen;new;rain coat;to next;next;friday".split(";")
slotted = st.lists(st.sampled_from(HELD), max_size=2)


@FEW
@given(sentences, slotted)
def test_a_text_exchanges_nothing_for_itself(said: list[str], held: list[str]) -> None:
    assert not exchanges_value(said, [("slot", "; ".join(held))], lambda slot, value: True, said)


@FEW
@given(
    st.lists(st.sampled_from("play some of the".split()), max_size=3),
    st.permutations(["taylor", "taylor swift", "queen", "queen latifah", "new order", "duran duran", "duran"]),
    st.lists(st.sampled_from("at home now".split()), max_size=3),
)
def test_one_known_value_never_gives_way_to_another(before: list[str], two: list[str], after: list[str]) -> None:
    one, other = ([*before, *value.split(), *after] for value in two[:2])
    every = frozenset(two)
    slots = [("artist", two[1])]
    assert exchanges_value(one, slots, lambda slot, value: value in every, other)
    assert exchanges_value(one, slots, lambda slot, value: value in every)


@FEW
@given(sentences, slotted, sentences)
def test_no_value_is_exchanged_where_none_is_known(said: list[str], held: list[str], target: list[str]) -> None:
    assert not exchanges_value(said, [("slot", "; ".join(held))], lambda slot, value: False, target)

"""The guard of likely candidates: known words give way to known words, meanings never to other meanings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue.contrasts import ENGLISH
from rewrite.alignment import changes
from rewrite.decision import Reason
from rewrite.dense_guard import clear_values, dense_guard

POLARITY, NUMBER, WORD, VALUE = (
    Reason.GUARD_POLARITY, Reason.GUARD_NUMBER, Reason.GUARD_WORD, Reason.GUARD_VALUE,
)  # fmt: skip


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("what's the whether in new york", "what's the weather in new york", None),
        ("play maj and dragons", "play imagine dragons", None),
        ("what s the time in city now", "whats the time in sydney now", None),
        ("call yellow cup", "call yellow cab", None),
        ("read me the latest international", "read me the latest international news", None),
        ("turn of the light", "turn off the light", None),
        ("set it too two", "set it to two", None),
        ("set it to to", "set it to two", None),
        ("olly turn on the light", "turn on the light", None),
        # said twice in a row, or but begun
        ("details on purchase purchase to order", "details on purchase order", None),
        ("on twenty twenty first", "on twenty first", None),
        ("get me march match highlights", "get me match highlights", None),
        ("get me march highlights", "get me highlights", POLARITY),
        ("get me south mouth highlights", "get me mouth highlights", POLARITY),
        ("channel five five", "channel five", NUMBER),
        ("on twenty twenty", "on twenty", NUMBER),
        ("do not not call", "do not call", POLARITY),
        ("show my my card", "show your my card", POLARITY),
        ("set a alarm alarm", "set a reminder alarm", POLARITY),
        # compared, not bounded
        ("warmer forty", "warmer than forty", None),
        ("rather jazz", "rather than jazz", WORD),
        ("any other jazz", "any other than jazz", WORD),
        ("forty", "more than forty", POLARITY),
        # turned round
        ("turn on the light", "turn off the light", POLARITY),
        ("turn the light", "turn on the light", POLARITY),
        ("from monday to friday", "from friday to friday", POLARITY),
        ("post it on my phone on facebook", "post it off my phone on facebook", POLARITY),
        ("don't call bob and don't call ann", "call bob and don't call ann", POLARITY),
        ("add salted butter", "add unsalted butter", POLARITY),
        ("at two and four pm", "at two am and four pm", POLARITY),
        ("calendar item", "delete calendar item", POLARITY),
        ("unk twenty percent", "decrease twenty percent", POLARITY),
        ("turn left at the corner", "turn right at the corner", POLARITY),
        ("shut all but the window", "shut the window", WORD),
        ("events at easter", "events at valentine's", POLARITY),
        ("wake me at six am", "wake me at six pm", POLARITY),
        ("a film after noon", "a film afternoon", POLARITY),
        ("now here to eat", "nowhere to eat", POLARITY),
        ("five miles", "five kilometers", POLARITY),
        ("i may call", "i may not call", POLARITY),
        # numbers
        ("wake me at fifteen", "wake me at fifty", NUMBER),
        ("turn it down", "turn it ten", NUMBER),
        ("set it to two", "set it to", NUMBER),
        ("from five to ten", "from ten to five", NUMBER),
        ("on the first", "on the third", NUMBER),
        ("on the twenty first", "on the twenty", NUMBER),
        ("play four", "play fore fun", NUMBER),
        # words
        ("from boston to denver", "from denver to boston", WORD),
        ("from this account to that one", "from that account to this one", WORD),
        ("email ann", "email bob", WORD),
        ("play jazz", "play only jazz", WORD),
        ("gate b", "gate d", WORD),
        ("what is on", "what is on the best radio station around seattle washington", WORD),
    ],
)
def test_repairs_and_flips(source: str, target: str, reason: Reason | None) -> None:
    assert dense_guard(source, target) is reason


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        # negations
        ("tell mom i havent eaten", "tell mom i have eaten", POLARITY),
        ("tell mom i wasn t there", "tell mom i was there", POLARITY),
        ("tell mom i wasnt there", "tell mom i was there", POLARITY),
        ("tell bob we werent there", "tell bob we were there", POLARITY),
        ("tell bob he hasnt paid", "tell bob he has paid", POLARITY),
        ("tell bob i hadnt paid", "tell bob i had paid", POLARITY),
        ("tell bob he mustnt come", "tell bob he must come", POLARITY),
        ("tell bob he neednt come", "tell bob he need come", POLARITY),
        ("tell bob it aint mine", "tell bob it is mine", POLARITY),
        ("add hardly any salt", "add any salt", POLARITY),
        ("tell bob i barely slept", "tell bob i slept", POLARITY),
        # questions and commands
        ("is the heating off", "heating off", WORD),
        ("is bluetooth on", "bluetooth on", WORD),
        ("did i turn off the oven", "turn off the oven", WORD),
        ("can i cancel my order", "cancel my order", WORD),
        ("please can i cancel my order", "could you please cancel my order", WORD),
        ("how do i delete my account", "delete my account", WORD),
        ("should i sell my stock", "sell my stock", WORD),
        ("remind me to cancel the order", "cancel the order", WORD),
        ("have i turned off the oven", "i turned off the oven", None),
        ("what is the weather", "whats the weather", None),
        ("what's the weather", "tell me the weather", None),
        ("what is the weather", "tell me what is the weather", None),
        ("what's the weather", "watch the weather", None),
        ("can you cancel my order", "please cancel my order", None),
        ("how many hours is it", "in how many hours is it", None),
        ("do i need to know the time", "i need to know the time", None),
        # persons
        ("tell bob i owe you money", "tell bob you owe me money", WORD),
        ("tell ann are you coming", "tell ann you are coming", WORD),
        ("tell ann he likes us", "tell ann we like him", POLARITY),
        # numbers and what bounds them
        ("wake me at ten to seven", "wake me at ten past seven", NUMBER),
        ("add point five grams", "add five grams", NUMBER),
        ("turn it up to ten", "turn it up by ten", NUMBER),
        ("flights under three hundred", "flights for three hundred", NUMBER),
        ("flights over three hundred", "flights for three hundred", NUMBER),
        ("set heat to seventy", "set heat two seventy", NUMBER),
        ("volume to five", "volume two five", NUMBER),
        ("timer for ten minutes", "timer four ten minutes", NUMBER),
        ("wake me this week", "wake me next week", POLARITY),
        ("plans this weekend", "plans next weekend", POLARITY),
        ("meet this monday", "meet next monday", POLARITY),
        ("wake me every other day", "wake me every day", WORD),
        ("wake me at midday", "wake me at midnight", POLARITY),
        ("make it biweekly", "make it weekly", POLARITY),
        # beginnings
        ("un mute the tv", "mute the tv", POLARITY),
        ("un block bob", "block bob", POLARITY),
        ("dis connect the phone", "connect the phone", POLARITY),
        ("de activate the alarm", "activate the alarm", POLARITY),
        ("un subscribe me", "subscribe me", POLARITY),
        ("pizza with out cheese", "pizza with cheese", POLARITY),
        ("un mute the tv", "unmute the tv", None),
        ("pizza with out cheese", "pizza without cheese", None),
        ("unzip the file", "zip the file", POLARITY),
        ("unban bob", "ban bob", POLARITY),
        ("untag bob", "tag bob", POLARITY),
        ("undo it", "do it", POLARITY),
        ("wake me til dawn", "wake me until dawn", None),
        ("attach the file", "detach the file", POLARITY),
        ("promote bob", "demote bob", POLARITY),
        ("useful herbs", "useless herbs", POLARITY),
        ("harmful herbs", "harmless herbs", POLARITY),
        ("shorten the list", "lengthen the list", POLARITY),
        ("permit pets", "prevent pets", POLARITY),
        # opposites, and what bounds
        ("who was hired", "who was fired", POLARITY),
        ("who is the winner", "who is the loser", POLARITY),
        ("play king", "play queen", POLARITY),
        ("call my nephew", "call my niece", POLARITY),
        ("resume the list", "remove the list", POLARITY),
        ("restore the list", "remove the list", POLARITY),
        ("renew the list", "remove the list", POLARITY),
        ("boost the bass", "cut the bass", POLARITY),
        ("expand the list", "collapse the list", POLARITY),
        ("keep the call", "drop the call", POLARITY),
        ("delete the song", "repeat the song", POLARITY),
        ("set day mode", "set night mode", POLARITY),
        ("burger hold the onions", "burger the onions", WORD),
        ("cease operating lights", "operating lights", WORD),
        ("take it apart", "take it", WORD),
    ],
)
def test_repairs_and_flips_either_way(one: str, other: str, reason: Reason | None) -> None:
    assert dense_guard(one, other) is reason
    assert dense_guard(other, one) is reason


@pytest.mark.parametrize(
    ("source", "target", "clear", "reason"),
    [
        ("weather in austin", "weather in boston", "austin", VALUE),
        ("call anna", "call ann", "anna", VALUE),
        ("call jon", "call john", "jon", None),
        ("play queen", "play queen latifah", "queen", VALUE),
        ("play west life", "play westlife", "west life", None),
        ("play next i want you", "play next i need you", "i want you", VALUE),
        ("what's the whether in boston", "what's the weather in boston", "boston", None),
        ("set a meeting at ten", "set a meeting at last ten years", "ten", POLARITY),
    ],
)
def test_what_was_said_clearly_stays(source: str, target: str, clear: str, reason: Reason | None) -> None:
    assert dense_guard(source, target, clear=frozenset({clear})) is reason


def test_clear_values() -> None:
    assert clear_values({"place": "New York; Boston", "date": ""}) == {"new york", "boston"}
    assert clear_values({"place": "New York; Bosten"}, lambda slot, value: value == "new york") == {"new york"}


def test_the_floor_is_the_callers() -> None:
    assert dense_guard("play coast", "play post", floor=0.3) is None
    assert dense_guard("play coast", "play post", floor=0.9) is WORD


def test_pieces_join_and_split() -> None:
    (change,) = changes("play maj and dragons".split(), "play imagine dragons".split(), 0.35)
    assert [(piece.gone, piece.came) for piece in change.pieces] == [(("maj", "and"), ("imagine",))]
    assert (change.before, change.after, change.dropped, change.added) == ("play", "dragons", (), ())
    (change,) = changes(["call", "zzz"], ["call", "bob"], 0.35)
    assert (change.pieces, change.dropped, change.added) == ((), ("zzz",), ("bob",))


FEW = settings(max_examples=150, deadline=None)
words = st.sampled_from("play call zig krill seven to two on off don't monday in the unk s it boston".split())
texts = st.one_of(st.lists(words, max_size=10).map(" ".join), st.text(max_size=40))
SETS = ENGLISH.sets + ENGLISH.values + ENGLISH.kinds
exchanges = st.sampled_from(SETS).flatmap(
    lambda sides: st.permutations(sides).flatmap(
        lambda two: st.tuples(st.sampled_from(two[0].split()), st.sampled_from(two[1].split()))
    )
)
carriers = st.lists(st.sampled_from("zig zag blub krill farn quince dorf".split()), max_size=4)


@FEW
@given(exchanges, carriers, carriers)
def test_two_sides_are_never_exchanged(pair: tuple[str, str], before: list[str], after: list[str]) -> None:
    one, other = (" ".join([*before, *side.split("_"), *after]) for side in pair)
    assert dense_guard(one, other) is not None


@FEW
@given(texts, texts)
def test_any_text_is_answered_and_none_is_refused_for_itself(one: str, other: str) -> None:
    assert dense_guard(one, one) is None
    dense_guard(one, other, clear=frozenset({other}))


@FEW
@given(carriers, carriers, st.integers(0, 9_999))
def test_a_number_never_comes_or_goes(before: list[str], after: list[str], number: int) -> None:
    short, long = " ".join([*before, *after]), " ".join([*before, str(number), *after])
    assert dense_guard(short, long) is NUMBER
    assert dense_guard(long, short) is NUMBER


@FEW
@given(texts, texts)
def test_what_is_laid_beside_makes_up_both_texts(one: str, other: str) -> None:
    source, target = one.split(), other.split()
    found = changes(source, target, 0.35)
    gone = [word for change in found for piece in change.pieces for word in piece.gone]
    gone += [word for change in found for word in change.dropped]
    came = [word for change in found for piece in change.pieces for word in piece.came]
    came += [word for change in found for word in change.added]
    assert len(source) - len(gone) == len(target) - len(came)
    assert sorted([word for word in source if word not in gone]) == [w for w in sorted(source) if w not in gone]

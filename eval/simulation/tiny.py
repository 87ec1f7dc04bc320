"""A population small enough to be read, for when there are no recordings: `records()` is as recorded attempts are.

One line with the frame, then one line a sentence: the sentence, and after each bar a form in which it was heard. A
form that ends with "!" was not understood; "x2" before a form counts it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TABLE = """
music/play artist=imagine dragons
    play imagine dragons | x2 play imagine dragons | play maj and dragons! | play imagine dragon!
    put on imagine dragons | x3 put on imagine dragons
music/play artist=prince
    play songs by prince | x3 play songs by prince | play songs by prints!
music/play artist=queen
    play songs by queen | x4 play songs by queen
music/play song=we don't talk about bruno
    play we don't talk about bruno | x2 play we don't talk about bruno
    play we don't talk | x2 play we don't talk!
music/play song=we don't talk anymore
    play we don't talk anymore | x3 play we don't talk anymore
radio/play station=sirius channel 53
    play sirius channel 53 | x2 play sirius channel 53
    play sirius x m chill | x2 play sirius x m chill!
news/play source=bbc
    play the news from the bbc | x2 play the news from the bbc | play the news from bee bee sea!
    what does the bbc say | x2 what does the bbc say
weather/ask place=wilkerson washington
    what's the weather in wilkerson washington | x2 what's the weather in wilkerson washington
    what's the weather in wilkerson | x2 what's the weather in wilkerson!
weather/ask place=wilkerson california
    what's the weather in wilkerson california | x2 what's the weather in wilkerson california
    what's the weather in wilkerson | what's the weather in wilkerson!
weather/ask place=seattle
    what's the weather in seattle | x3 what's the weather in seattle | what's the weather and seattle!
home/on device=kitchen light
    turn on the kitchen light | x3 turn on the kitchen light | turn on the kitten light!
    kitchen light on | x2 kitchen light on
home/off device=kitchen light
    turn off the kitchen light | x3 turn off the kitchen light | turn of the kitten light!
alarm/set time=seven am
    set an alarm for seven am | x3 set an alarm for seven am
    wake me up at seven | wake me up at seven! | wake me up at seven am
alarm/set time=eight am
    set an alarm for eight am | x3 set an alarm for eight am | set an alarm for ate am!
timer/set length=ten minutes
    set a timer for ten minutes | x3 set a timer for ten minutes | set a time or for ten minutes!
call/make contact=mom
    call mom | x4 call mom
call/make contact=tom
    call tom | x4 call tom
lists/add item=milk
    add milk to my shopping list | x3 add milk to my shopping list | add mill to my shopping list!
    put milk on the list | x2 put milk on the list
traffic/ask place=work
    how is the traffic to work | x3 how is the traffic to work | how is the traffic to walk!
home/start device=fountain pump
    start the fountain pump | x4 start the fountain pump!
"""


def records() -> Iterator[dict[str, Any]]:
    """One record for each time that a sentence was heard."""
    frame: dict[str, Any] = {}
    for number, line in enumerate(TABLE.strip().splitlines()):
        if not line.startswith(" "):
            frame = _frame(line)
            continue
        sentence, *heard = (part.strip() for part in line.split("|"))
        for form in heard:
            times, text = (int(form[1]), form[3:]) if form[0] == "x" and form[1].isdigit() else (1, form)
            understood = not text.endswith("!")
            gold = {"text": sentence, "frame": frame, "success": understood}
            nlu = frame if understood else None
            yield from [{"goal_id": str(number), "text": text.rstrip("!"), "nlu": nlu, "gold": gold}] * times


def _frame(line: str) -> dict[str, Any]:
    name, _, slot = line.partition(" ")
    domain, intent = name.split("/")
    key, _, value = slot.partition("=")
    return {"domain": domain, "intent": intent, "slots": {key: value}}

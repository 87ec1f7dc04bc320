"""Does a flipped meaning ever get through? A million flips of real requests, each in both directions, past the guards.

    python benchmarks/meaning_flips.py DATA [--flips 1000000] [--every 20] [--seed 0] [--json]

DATA holds the folders slurp, queries and dstc2 in the turn-log format. A flip is a request and the same request turned
round; the word lists here are this program's own, not those of the guards. Kinds:

    polarity    a word gives way to its opposite (on / off, louder / quieter)
    negation    "don't", "never" or "not" comes in; the other direction takes it out
    number      a number, time, amount or ordinal becomes another, in words or digits
    date        a day, month or part of the day becomes another
    kind        a room, colour, unit, device or person becomes another
    entity      the value of a slot becomes another value of that slot; the request's own slot values are `clear`
    swap        two values of one slot change places, or "from A to B" becomes "from B to A"

A flip whose two sides say the same ("7 am" / "seven am", "train" / "trains") is none and left out. Reported are the
pairs that each guard lets through, by kind, and examples of them; the other guards see every EVERY-th flip. "Words
alone" is `dense_guard` with nothing `clear`. With data of misheard requests (slurp/attempts.jsonl) the
share of real repairs that pass `dense_guard` is told as well: on the half of sentences that chose its floors, and on
the other.

"As served" is what an engine with a trained retriever asks of a candidate whose interpretation is known: no known
value of a slot for another (`exchanges_value`), and `dense_guard`. `count` takes any callable that says whether a
target would be served, so that an engine can stand in for a guard.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from dialogue.canonical import Canonicaliser
from rewrite.dense_guard import clear_values, dense_guard
from rewrite.guards import FILLERS, layer_guard, table_guard
from rewrite.known_values import exchanges_value
from rewrite.loops import same_request

canonical = Canonicaliser()

OPPOSITES = tuple(
    tuple(pair.split("/"))
    for pair in (
        "on/off up/down open/close opens/closes opened/closed lock/unlock locked/unlocked start/stop starts/stops"
        " begin/end add/remove adds/removes adding/removing increase/decrease raise/lower more/less most/least hot/cold"
        " hotter/colder hottest/coldest warmer/cooler warm/cool before/after arrive/leave arrives/leaves"
        " arrival/departure"
        " mute/unmute like/dislike likes/dislikes love/hate enable/disable enabled/disabled activate/deactivate"
        " brighten/dim brighter/dimmer louder/quieter loud/quiet softer/louder high/low higher/lower highest/lowest"
        " left/right first/last next/previous forward/backward inside/outside indoor/outdoor upstairs/downstairs"
        " with/without"
        " always/never all/none everything/nothing everyone/nobody show/hide accept/decline accept/reject answer/ignore"
        " connect/disconnect upload/download import/export buy/sell send/receive lend/borrow deposit/withdraw"
        " credit/debit include/exclude follow/unfollow subscribe/unsubscribe block/unblock save/delete create/delete"
        " keep/discard pause/resume play/stop set/cancel order/cancel early/late earlier/later big/small bigger/smaller"
        " biggest/smallest long/short longer/shorter longest/shortest fast/slow faster/slower fastest/slowest old/new"
        " older/newer oldest/newest cheap/expensive cheaper/dearer cheapest/dearest nearest/farthest closest/furthest"
        " good/bad better/worse best/worst happy/sad true/false yes/no public/private north/south east/west"
        " northern/southern eastern/western above/below over/under minimum/maximum min/max incoming/outgoing in/out"
        " inbound/outbound push/pull win/lose heating/cooling heat/cool sunny/rainy wet/dry strong/weak"
        " safe/dangerous healthy/unhealthy legal/illegal possible/impossible available/unavailable read/unread"
        " male/female friend/enemy full/empty same/different easy/hard easier/harder rich/poor clean/dirty sweet/sour"
        " fresh/stale sharp/blunt thick/thin wide/narrow deep/shallow heavy/light old/young asleep/awake"
        " married/divorced"
        " celsius/fahrenheit from/to many/few every/no until/since if/unless mild/spicy vegetarian/meat"
        " today/yesterday start/finish turn_on/turn_off switch_on/switch_off pick_up/hang_up log_in/log_out"
        " check_in/check_out zoom_in/zoom_out"
    ).split()
)
DATES = (
    "monday tuesday wednesday thursday friday saturday sunday",
    "mondays tuesdays wednesdays thursdays fridays saturdays sundays",
    "january february march april may june july august september october november december",
    "morning afternoon evening night", "today tomorrow yesterday tonight", "noon midnight",
    "weekday weekend", "spring summer autumn winter", "christmas easter halloween thanksgiving",
)  # fmt: skip
KINDS = (
    "kitchen bedroom bathroom garage hallway basement attic office garden living_room dining_room",
    "red orange yellow green blue purple pink white black brown",
    "seconds minutes hours days weeks months years", "second minute hour day week month year",
    "miles kilometers meters feet", "dollars euros pounds yen", "dollar euro pound yen rupee", "celsius fahrenheit",
    "light fan heater tv oven", "lights fans curtains", "timer alarm reminder", "timers alarms reminders",
    "my your his her their", "me him her them", "he she they", "mom dad brother sister wife husband son daughter",
    "mother father aunt uncle grandma grandpa", "english french german spanish italian japanese chinese russian",
    "indian chinese italian mexican thai french korean greek turkish", "train bus plane car taxi",
    "walking driving cycling",
    "breakfast lunch dinner", "email text call", "grams kilograms ounces pounds", "cups tablespoons teaspoons liters",
    "percent degrees", "song album playlist podcast audiobook", "coffee tea", "sugar salt", "dog cat",
)  # fmt: skip
UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million"
).split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " twentieth thirtieth"
).split()
AMOUNTS = "half quarter double triple".split()
#: "one" and "second" are no numbers after these: "the next one", "wait a second".
NO_NUMBER = frozenset(
    "this that next last previous another other any every no which first new good each a the some only".split()
)
HALF_DAY = re.compile(rf"(?:\d|\b(?:{'|'.join(UNITS)}|o'clock)) ?(am|pm)\b")
BRITISH = re.compile(r"(?<=[bt])re$")
ENDING = re.compile(r"(?<=\w\w)(?:ie|y)?'?s?'?$")
QUESTIONS = re.compile(r"\b(is|are|was|were|do|does|did|can|could|will|would|should|have|has)\b(?!')")

Slots = tuple[tuple[str, str], ...]
#: Whether (what is said, the target, what is clear of the first, the slots of the second) would be served.
Served = Callable[[str, str, frozenset[str], Slots], bool]


@dataclass(frozen=True, slots=True)
class Request:
    """A canonical text with its interpretation; slots canonical. `told`: the data say what its slots are."""

    text: str
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domain: str | None = None
    intent: str | None = None
    told: bool = False

    @property
    def values(self) -> frozenset[str]:
        return frozenset(value for values in self.slots.values() for value in values)


@dataclass(frozen=True, slots=True)
class Flip:
    """Two requests that mean different things; what is clear of each when it is the one that was said."""

    kind: str
    one: str
    other: str
    clear_one: frozenset[str] = frozenset()
    clear_other: frozenset[str] = frozenset()
    slots_one: Slots = ()
    slots_other: Slots = ()


@dataclass
class Tally:
    """How many pairs of each kind a guard saw and let through, and some of those."""

    seen: Counter[str] = field(default_factory=Counter)
    through: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))


def requests_of(folder: Path) -> list[Request]:
    """The distinct requests of the data, in a fixed order; of a text that occurs twice the one with more slots."""
    found: dict[str, Request] = {}
    for record in _records(folder):
        frame = record.get("gold", {}).get("frame") or record.get("nlu") or {}
        text = canonical(record.get("gold", {}).get("text") or record.get("text") or "")
        slots = {
            name: values
            for name, value in (frame.get("slots") or {}).items()
            if (values := tuple(part for each in value.split(";") if _holds(text, part := canonical(each))))
        }
        if text and len(slots) >= len(found.get(text, Request(text)).slots):
            found[text] = Request(text, slots, frame.get("domain"), frame.get("intent"), "slots" in frame)
    return [found[text] for text in sorted(found)]


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for name in (
        "slurp/sentences.jsonl", "slurp/attempts.jsonl", "queries/hwu.jsonl", "queries/clinc150.jsonl",
        "dstc2/train.jsonl.gz", "dstc2/dev.jsonl",
    ):  # fmt: skip
        path = folder / name
        if path.exists():
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def _holds(text: str, value: str) -> bool:
    return bool(value) and f" {value} " in f" {text} "


def _put(text: str, value: str, other: str) -> str:
    return f" {text} ".replace(f" {value} ", f" {other} ", 1).strip()


def flips(requests: Sequence[Request], number: int, seed: int = 0, each: int | None = None) -> Iterator[Flip]:
    """Distinct flips, at most `number`: all that word lists make (a sample where too many), then entities.

    With `each`, at most so many of one kind and request, drawn at random; of entities as many as are left.
    """
    draw = random.Random(seed)
    seen: set[int] = set()
    left = number
    for kind, make in (("polarity", _opposite), ("date", _dated), ("kind", _other_kind), ("swap", _swapped),
                       ("number", _renumbered), ("negation", _negated)):  # fmt: skip
        room = min(left, max(number // 6, 1))
        made = (
            Flip(kind, request.text, other)
            for request in draw.sample(requests, len(requests))
            for other in _some(make(request, draw), each, draw)
            if _new(seen, request.text, other)
        )
        for flip in islice(made, room):
            left -= 1
            yield flip
    yield from _entities(requests, left, seen, draw)


def _some(texts: Iterable[str], each: int | None, draw: random.Random) -> Iterable[str]:
    if each is None:
        return texts
    made = list(texts)
    return draw.sample(made, min(each, len(made)))


def _new(seen: set[int], one: str, other: str) -> bool:
    """Whether a pair is a flip that was not made before."""
    first, second = sorted((one, other))
    mark = int.from_bytes(blake2b(f"{first}\0{second}".encode(), digest_size=8).digest())
    if mark in seen or says_the_same(one, other):
        return False
    seen.add(mark)
    return True


def says_the_same(one: str, other: str) -> bool:
    """Whether two texts are one request in other words or another spelling: then they are no flip."""
    return _one_request(one, other) or _one_request(_bare(one), _bare(other))


def _one_request(one: str, other: str) -> bool:
    return same_request(one, other) or one.replace(" ", "") == other.replace(" ", "")


def _bare(text: str) -> str:
    """A text without plural and possessive endings and words said twice: "train" and "trains" are no two values.

    Nor are "theatre" and "theater".
    """
    words = [word if word in FILLERS else BRITISH.sub("er", ENDING.sub("", word)) for word in text.split()]
    return " ".join(word for place, word in enumerate(words) if word != "s" and words[place - 1 : place] != [word])


def _exchanged(request: Request, sets: Iterable[Sequence[str]]) -> Iterator[str]:
    for words in sets:
        for word in words:
            said = word.replace("_", " ")
            if _holds(request.text, said):
                yield from (_put(request.text, said, other.replace("_", " ")) for other in words if other != word)


def _opposite(request: Request, _: random.Random) -> Iterator[str]:
    return _exchanged(request, OPPOSITES)


def _dated(request: Request, _: random.Random) -> Iterator[str]:
    yield from _exchanged(request, [words.split() for words in DATES])
    for match in HALF_DAY.finditer(request.text):
        other = "pm" if match[1] == "am" else "am"
        yield f"{request.text[: match.start(1)]}{other}{request.text[match.end(1) :]}"


def _other_kind(request: Request, _: random.Random) -> Iterator[str]:
    return _exchanged(request, [words.split() for words in KINDS])


def _renumbered(request: Request, draw: random.Random) -> Iterator[str]:
    words = request.text.split()
    for place, word in enumerate(words):
        if word in ("one", "second") and (not place or words[place - 1] in NO_NUMBER):
            continue
        others: list[str] = []
        for group in (UNITS, ORDINALS, AMOUNTS):
            if word in group:
                others = [other for other in group if other != word and other != "second"]
        if digits := re.search(r"\d+", word):
            value = int(digits[0])
            near = {value + step for step in (-10, -5, -1, 1, 5, 10)} | {draw.randrange(1, 60), value * 10}
            others = [word.replace(digits[0], str(other), 1) for other in near - {value} if other >= 0]
        for other in draw.sample(others, min(len(others), 30)):
            yield " ".join([*words[:place], other, *words[place + 1 :]])


def _negated(request: Request, _: random.Random) -> Iterator[str]:
    words = request.text.split()
    if _is_negated(words):
        return
    if match := QUESTIONS.search(request.text):
        yield f"{request.text[: match.end()]} not{request.text[match.end() :]}"
        yield f"{request.text[: match.end()]}n't{request.text[match.end() :]}"
    else:
        yield from (f"{start} {request.text}" for start in ("don't", "do not", "never", "dont", "please don't"))


def _is_negated(words: Sequence[str]) -> bool:
    """Whether the request says no already: two negations are none to turn round."""
    no = "not no never without none nothing nobody neither nor cannot dont cant wont doesnt isnt minus negative except"
    return any(word in no.split() or word.endswith("n't") or word == "nt" for word in words)


def _swapped(request: Request, _: random.Random) -> Iterator[str]:
    text = request.text
    for values in request.slots.values():
        for one, other in combinations(dict.fromkeys(values), 2):
            if f" {one} " not in f" {other} " and f" {other} " not in f" {one} ":
                yield _put(_put(_put(text, one, "\0"), other, one), "\0", other)
    if match := re.search(r"\bfrom (\S+(?: \S+)?) to (\S+(?: \S+)?)$", text):
        yield f"{text[: match.start()]}from {match[2]} to {match[1]}"


def _entities(requests: Sequence[Request], number: int, seen: set[int], draw: random.Random) -> Iterator[Flip]:
    """Values put in the place of others of the same slot, drawn at random until there are enough."""
    pool: dict[str, list[str]] = {
        name: sorted(values) for name, values in _values(requests).items() if len(values) > 1
    }
    fit = [each for each in requests if any(name in pool for name in each.slots)]
    for _ in range(20 * number if fit else 0):
        if number <= 0:
            return
        request = draw.choice(fit)
        name = draw.choice([name for name in request.slots if name in pool])
        value, other = draw.choice(request.slots[name]), draw.choice(pool[name])
        changed = _put(request.text, value, other)
        if value != other and _new(seen, request.text, changed):
            number -= 1
            clear = request.values, request.values - {value} | {other}
            yield Flip("entity", request.text, changed, *clear, _slots(request), _slots(request, value, other))


def _slots(request: Request, value: str = "", other: str = "") -> Slots:
    """The slots of a request, or of the same with another value."""
    return tuple(
        (name, "; ".join(other if value and each == value else each for each in values))
        for name, values in request.slots.items()
    )


def _values(requests: Iterable[Request]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        for name, values in request.slots.items():
            found[name].update(values)
    return found


def count(flips: Iterable[Flip], served: Mapping[str, Served], *, every: Mapping[str, int]) -> dict[str, Tally]:
    """Sends each flip both ways past each way of serving; `every` n-th only where named."""
    tallies = {name: Tally() for name in served}
    for number, flip in enumerate(flips):
        for name, serves in served.items():
            if number % every.get(name, 1) == 0:
                _try(flip, serves, tallies[name])
    return tallies


def _try(flip: Flip, serves: Served, tally: Tally) -> None:
    for said, target, clear, slots in (
        (flip.one, flip.other, flip.clear_one, flip.slots_other),
        (flip.other, flip.one, flip.clear_other, flip.slots_one),
    ):
        tally.seen[flip.kind] += 1
        if serves(said, target, clear, slots):
            tally.through[flip.kind] += 1
            if len(tally.examples[flip.kind]) < 1_000:
                tally.examples[flip.kind].append((said, target))


def guards(known: frozenset[str], values: Mapping[str, Iterable[str]]) -> dict[str, Served]:
    """The guards as ways of serving whatever they let through.

    `known` are the words of working requests, `values` the values that their slots have.
    """
    held = {name: frozenset(each) for name, each in values.items()}

    def online(said: str, target: str, clear: frozenset[str], slots: Slots) -> bool:
        if not slots:
            return dense_guard(said, target, clear=clear) is None
        if exchanges_value(said.split(), slots, lambda slot, value: value in held.get(slot, ()), target.split()):
            return False
        return dense_guard(said, target) is None

    return {
        "as served": online,
        "dense_guard": lambda said, target, clear, _: dense_guard(said, target, clear=clear) is None,
        "words alone": lambda said, target, *_: dense_guard(said, target) is None,
        "layer_guard": lambda said, target, *_: layer_guard(said, target, known.__contains__, may_add=False) is None,
        "table_guard": lambda said, target, *_: table_guard(said, target) is None,
    }


def repairs(folder: Path) -> dict[str, dict[str, float]]:
    """The share of misheard requests that failed whose right text `dense_guard` would let through.

    By half of the sentences (by a hash of their id): "chosen" set the floors. "reached": some recording of the sentence
    succeeded, so that its text may be known. "slots clear": with all slot values of the request as heard as clear.
    """
    path = folder / "slurp" / "attempts.jsonl"
    if not path.exists():
        return {}
    attempts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    reached = {each["goal_id"] for each in attempts if each["gold"]["success"]}
    found: dict[str, list[bool]] = defaultdict(list)
    clear: dict[str, list[bool]] = defaultdict(list)
    for each in attempts:
        said, meant = canonical(each["text"]), canonical(each["gold"]["text"])
        if each["gold"]["success"] or said == meant or not said:
            continue
        half = "chosen" if blake2b(each["goal_id"].encode(), digest_size=8).digest()[0] % 2 == 0 else "other"
        for part in (half, f"{half}, reached") if each["goal_id"] in reached else (half,):
            found[part].append(dense_guard(said, meant) is None)
            values = clear_values(each["nlu"].get("slots", {}))
            clear[part].append(dense_guard(said, meant, clear=values) is None)
    return {
        part: {
            "pairs": len(passed),
            "passed": sum(passed) / len(passed),
            "slots clear": sum(clear[part]) / len(passed),
        }
        for part, passed in sorted(found.items())
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--flips", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=20, help="flips per one that the other guards see")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    requests = requests_of(options.data)
    known = frozenset(word for request in requests for word in request.text.split())
    served = guards(known, _values(requests))
    others = dict.fromkeys(list(served)[2:], options.every)
    tallies = count(flips(requests, options.flips, options.seed), served, every=others)
    answer = {
        "requests": len(requests),
        "flips": sum(tallies["as served"].seen.values()) // 2,
        "guards": {name: _told(tally, options.examples) for name, tally in tallies.items()},
        "repairs": repairs(options.data),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    if options.json:
        json.dump(answer, sys.stdout, indent=1)
    else:
        _print(answer)
    return answer


def _told(tally: Tally, examples: int) -> dict[str, Any]:
    return {
        kind: {
            "pairs": seen,
            "through": tally.through[kind],
            "examples": tally.examples[kind][:: max(1, len(tally.examples[kind]) // max(examples, 1))][:examples],
        }
        for kind, seen in tally.seen.items()
    }


def _print(answer: Mapping[str, Any]) -> None:
    print(f"{answer['requests']:,} requests, {answer['flips']:,} flips, both ways, {answer['seconds']} s")
    for name, kinds in answer["guards"].items():
        print(f"\n{name}: {sum(each['through'] for each in kinds.values()):,} through")
        for kind, each in kinds.items():
            print(f"  {kind:10} {each['through']:>9,} of {each['pairs']:>9,}")
            for said, target in each["examples"] if name in ("as served", "dense_guard") else ():
                print(f"      {said} -> {target}")
    for part, shares in answer["repairs"].items():
        print(f"\nreal repairs, {part}: {shares}")


if __name__ == "__main__":
    main()

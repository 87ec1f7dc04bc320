"""Does an engine ever serve a flipped meaning? Real requests asked of an engine that knows their flips, but not them.

    python benchmarks/flips_served.py DATA --retriever DIR [--asked 40000] [--rounds 2] [--seed 0]
                                      [--unread none|same] [--json] [--quick]

DATA and the kinds of flips as in `benchmarks/meaning_flips.py`; DIR a folder made by `rewrite train-retriever`. Guards
alone say too little: what is served depends on what is found, how it is ranked and where the thresholds are. So this
asks a whole engine, in the hardest place for it: the nearest request that it knows is nearly always a flip of what it
is asked. Each round makes a bundle of its own, in which every request is known to work for everyone:

    as it is    a real request is asked; the index holds flips of it, of one kind, up to four
    turned      a flip of a real request is asked; the index holds the request, and other flips of it

What is asked is never in the index: else the gate for known requests would answer, and nothing would be tried.

Each request that is known has its own interpretation: that of the data where the text occurs there, and otherwise that
of the request it was made of with the values that were changed, where the change is within values. What a request
with another verb or with "don't" is read as, the data do not say: those have none, or, with `--unread same`, that of
the request they were made of, as from an NLU that does not hear the difference. Each request is asked "alone", without
a reading by NLU, and, where its own interpretation is known, "read", with it.

Answers are counted by action and reason, by kind. What is served or suggested is judged:

    flip           the request, or a flip of it: another meaning
    other          another request, which is read otherwise in the data
    same reading   another request, which the data read just the same ("play jazz" / "put on jazz")
    same words     the same but for fillers, spelling and how numbers are written ("7 am" / "seven am"), unless the
                   data read one as another intent ("in the north" / "is it in the north"): that is other
    not told       the data do not say how the one or the other is read

The first two are faults of a rewrite; of the last, look at the examples. "Past the guards" counts the answers whose
first candidate is a flip that no guard refused, so that only the ranking stood before it. Values are known to the
guards from the index alone, as they are to any engine; that nothing may lead into or out of calls, orders and the like
is the engine's default, and holds here as well. A greeting ("hello+inform") makes no other meaning.

Deterministic for a seed, as long as an index has at most 50,000 requests (some 25,000 asked a round). A round of 20,000
takes some five minutes on one core: half to encode the index, half to ask.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meaning_flips import Flip, Request, canonical, flips, requests_of, says_the_same  # benchmarks/meaning_flips.py
from measure import told  # benchmarks/measure.py
from online_world import write_bundle  # benchmarks/online_world.py
from rapidfuzz.distance import Levenshtein

from rewrite import Action, Decision, EngineConfig, Reason, RewriteEngine
from rewrite.retriever import Retriever

#: Of each request: flips of one kind in an index. Of each one that is asked: requests drawn, and flips made.
EACH, BASES, MADE = 4, 0.8, 3
AS_IT_IS = 5 / 8  # share of the requests drawn that are asked as they are; of the others flips are asked
PER_ROUND, QUICK = 20_000, 400
NO_READING = "null"  # stands where a text has no interpretation, and is read as none
ALTERNATIVES = 3
SCORES = ("similarity", "right", "alone", "score")


@dataclass(frozen=True, slots=True)
class Reading:
    """An interpretation; `told`: the data say what its slots are, and not its intent alone."""

    domain: str | None
    intent: str | None
    slots: tuple[tuple[str, str], ...]
    told: bool

    @classmethod
    def of(cls, request: Request) -> Reading | None:
        if request.domain is None and request.intent is None:
            return None
        slots = ((name, "; ".join(values)) for name, values in request.slots.items())
        intent = request.intent and request.intent.removeprefix("hello+")
        return cls(request.domain, intent, tuple(sorted(slots)), request.told)

    @property
    def name(self) -> tuple[str | None, str | None]:
        return self.domain, self.intent

    @property
    def key(self) -> str:
        return json.dumps([self.domain, self.intent, dict(self.slots)], ensure_ascii=False, separators=(",", ":"))

    @property
    def nlu(self) -> dict[str, Any]:
        return {"domain": self.domain, "intent": self.intent, "slots": dict(self.slots)}


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is asked: what its flips in the index differ in, and which way round it is."""

    text: str
    kind: str
    way: str
    reading: Reading | None  # what NLU makes of it


@dataclass
class World:
    """What is asked and known in a round, and how all of that is related.

    `read` holds what the data say of a text, `shown` what the engine is told; `family` the requests that a text is, or
    was made of; `negated` the texts that are those with "don't" and the like.
    """

    read: dict[str, Reading | None] = field(default_factory=dict)
    shown: dict[str, Reading | None] = field(default_factory=dict)
    family: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    negated: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    questions: list[Question] = field(default_factory=list)

    @property
    def index(self) -> dict[str, str]:
        """The texts that are known to work, with the keys of their interpretations."""
        return {text: NO_READING if (told := self.shown[text]) is None else told.key for text in sorted(self.known)}

    def meaning(self, said: str, target: str) -> str:
        """What a target is beside what was said: one of those above."""
        mine, theirs = self.read.get(said), self.read.get(target)
        if said == target or says_the_same(said, target):
            return "other" if mine and theirs and mine.name != theirs.name else "same words"
        related = not self.family[said].isdisjoint(self.family[target])
        if related and not (said in self.negated and target in self.negated):
            return "flip"
        if related:  # "don't" and "do not" before the same
            return "same words"
        if mine is None or theirs is None:
            return "not told"
        if mine.key != theirs.key:
            return "other"
        return "same reading" if mine.told and theirs.told else "not told"


def world_of(
    requests: Sequence[Request], read: Mapping[str, Reading | None], asked: int, seed: int, *, same: bool
) -> World:
    """What one round asks and knows, half of it each way; with `same` the unread are read as what they were made of."""
    draw, world = random.Random(seed), World()
    bases = draw.sample(requests, min(len(requests), math.ceil(BASES * asked)))
    by_text = {request.text: request for request in bases}
    made: dict[str, list[Flip]] = defaultdict(list)
    for flip in flips(bases, MADE * asked, seed, EACH):
        if (changed := replace(flip, other=canonical(flip.other))).other not in ("", flip.one):
            made[flip.one].append(changed)
            _relate(world, by_text[flip.one], changed, read, same=same)
    texts = [request.text for request in bases if request.text in made]
    cut = round(AS_IT_IS * len(texts))
    asked_so = _ask_as_they_are(world, {text: made[text] for text in texts[:cut][: asked // 2]}, draw)
    _ask_turned(world, {text: made[text] for text in texts[cut:]}, asked // 2, draw)
    world.known.difference_update(question.text for question in world.questions)
    world.questions = [
        each
        for each in world.questions
        if each.text not in asked_so or any(flip.other in world.known for flip in asked_so[each.text])
    ]
    return world


def _relate(world: World, base: Request, flip: Flip, read: Mapping[str, Reading | None], *, same: bool) -> None:
    """Notes how a request and its flip are read and related."""
    mine = read[base.text]
    world.read[base.text] = world.shown[base.text] = mine
    world.family[base.text].add(base.text)
    world.family[flip.other].add(base.text)
    if flip.kind == "negation":
        world.negated.add(flip.other)
    theirs = read.get(flip.other) or world.read.get(flip.other) or (mine and _read_as(mine, base, flip))
    world.read[flip.other] = theirs
    world.shown[flip.other] = theirs or world.shown.get(flip.other) or (mine if same else None)


def _read_as(mine: Reading, base: Request, flip: Flip) -> Reading | None:
    """How a flip is read: as the request but for the values that differ; None where more than values do."""
    if flip.slots_other:
        return replace(mine, slots=tuple(sorted(flip.slots_other)))
    slots = changed_slots(base, flip.other)
    return None if slots is None else replace(mine, slots=slots)


def changed_slots(base: Request, other: str) -> tuple[tuple[str, str], ...] | None:
    """The slots of a text that differs from a request within its values; None where it differs elsewhere.

    >>> changed_slots(Request("wake me at six am", {"time": ("six am",)}), "wake me at ten am")
    (('time', 'ten am'),)
    """
    words, theirs = base.text.split(), other.split()
    steps = _changes(words, theirs)
    inside: set[int] = set()
    found: dict[str, list[str]] = defaultdict(list)
    for name, values in base.slots.items():
        for value in values:
            first, last = _span(words, value.split())
            for place, (start, stop, _) in enumerate(steps):
                if first <= start and stop <= last and (start < stop or first < start < last):
                    inside.add(place)
            begin, end = (at + sum(longer for _, stop, longer in steps if stop <= at) for at in (first, last))
            found[name].append(" ".join(theirs[begin:end]))
    if len(inside) < len(steps):
        return None
    return tuple(sorted((name, "; ".join(values)) for name, values in found.items()))


def _changes(words: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int, int]]:
    """Where words give way to others: (first, end, by how much longer); what stands side by side is one change."""
    found: list[tuple[int, int, int]] = []
    for step in Levenshtein.opcodes(words, theirs):
        if step.tag != "equal":
            start, longer = step.src_start, step.dest_end - step.dest_start - step.src_end + step.src_start
            if found and found[-1][1] == start:
                before = found.pop()
                start, longer = before[0], longer + before[2]
            found.append((start, step.src_end, longer))
    return found


def _span(words: Sequence[str], value: Sequence[str]) -> tuple[int, int]:
    """Where the words of a value stand; Request.slots has only those that do."""
    count = len(value)
    first = next(place for place in range(len(words)) if list(words[place : place + count]) == list(value))
    return first, first + count


def _ask_as_they_are(world: World, made: Mapping[str, Sequence[Flip]], draw: random.Random) -> dict[str, list[Flip]]:
    """Asks each request where its flips of one kind are known. Returns those."""
    chosen = {}
    for text, some in made.items():
        kind = draw.choice(sorted({flip.kind for flip in some}))
        chosen[text] = [flip for flip in some if flip.kind == kind][:EACH]
        world.known.update(flip.other for flip in chosen[text])
        world.questions.append(Question(text, kind, "as it is", world.read[text]))
    return chosen


def _ask_turned(world: World, made: Mapping[str, Sequence[Flip]], asked: int, draw: random.Random) -> None:
    """Asks some of the flips where the requests, and the other flips, are known."""
    pool = [flip for some in made.values() for flip in some]
    taken = {id(flip): flip for flip in draw.sample(pool, min(asked, len(pool) // 2 + 1))} if pool else {}
    world.known.update(made)
    world.known.update(flip.other for flip in pool if id(flip) not in taken)
    asked_before = {question.text for question in world.questions} | set(made)
    for flip in taken.values():
        if flip.other not in asked_before:
            asked_before.add(flip.other)
            world.questions.append(Question(flip.other, flip.kind, "turned", world.shown[flip.other]))


@dataclass
class Count:
    """What came of the questions: by (asked how, kind) the actions with reasons, and the meanings of what was served.

    `open` counts first candidates that are flips and that no guard refused, `near` those that are flips at all.
    """

    answers: dict[tuple[str, str], Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))
    meanings: dict[tuple[str, str], Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))
    near: Counter[tuple[str, str]] = field(default_factory=Counter)
    open: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    past: list[dict[str, Any]] = field(default_factory=list)

    def add(self, world: World, question: Question, how: str, decision: Decision) -> None:
        """Counts an answer."""
        place = (how, question.kind)
        self.answers[place][decision.action, decision.reason] += 1
        others = [each.text for each in decision.alternatives]
        first = others[0] if decision.action is Action.PASS and others else decision.text
        if first == question.text:
            return
        meaning = world.meaning(question.text, first)
        flipped = meaning == "flip"
        self.near[place] += flipped
        if decision.action is not Action.PASS:
            self.meanings[place][decision.action, meaning] += 1
        example = _example(world, question, how, decision, first, meaning)
        if decision.action is Action.REWRITE:
            self.examples.append(example)
        if flipped and decision.reason in (Reason.NEAR_GOOD, Reason.UNSURE):
            self.open[place] += 1
            self.past.append(example)


def _example(
    world: World, question: Question, how: str, decision: Decision, target: str, meaning: str
) -> dict[str, Any]:
    mine, theirs = question.reading if how == "read" else None, world.shown[target]
    return {
        "said": question.text, "target": target, "meaning": meaning, "kind": question.kind, "way": question.way,
        "asked": how, "action": str(decision.action), "reason": str(decision.reason), **decision.evidence,
        "said read as": mine and mine.key, "target read as": theirs and theirs.key,
    }  # fmt: skip


def ask(world: World, folder: Path, retriever: Retriever, count: Count) -> None:
    """Asks all questions of a round of an engine that is made for it in `folder`."""
    begun = time.perf_counter()
    path = write_bundle(folder, world.index, retriever)
    told(f"  {len(world.known):,} requests known, {time.perf_counter() - begun:.0f} s")
    config = EngineConfig(deadline_s=10, live=False, alternatives=ALTERNATIVES)
    engine = RewriteEngine.load(path, config=config)
    for number, question in enumerate(world.questions, 1):
        count.add(world, question, "alone", engine.rewrite(question.text))
        if question.reading is not None:
            count.add(world, question, "read", engine.rewrite(question.text, nlu=question.reading.nlu))
        if number % 2_000 == 0:
            told(f"  asked {number:,} of {len(world.questions):,}, {time.perf_counter() - begun:.0f} s")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--retriever", type=Path, required=True, metavar="DIR", help="a trained retriever")
    parser.add_argument("--asked", type=int, default=40_000, help="requests asked in all (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, help=f"indexes made, one after the other (default: one for {PER_ROUND:,} asked)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unread", choices=("none", "same"), default="none", help="how the unread are read: see above")
    parser.add_argument("--examples", type=int, default=20, help="told of each sort (with --json, all)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} requests in one round, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.asked, options.rounds = QUICK, 1
    answer = _run(options)
    if options.json:
        json.dump(answer, sys.stdout, indent=1)
    else:
        print("\n".join(_lines(answer, options.examples)))
    return answer


def _run(options: argparse.Namespace) -> dict[str, Any]:
    begun, retriever = time.perf_counter(), Retriever.load(options.retriever)
    requests = requests_of(options.data)
    read = {request.text: Reading.of(request) for request in requests}
    rounds = options.rounds or math.ceil(options.asked / PER_ROUND)
    count, known, asked = Count(), [], Counter[str]()
    for number in range(rounds):
        told(f"round {number + 1} of {rounds}: {options.asked // rounds:,} questions from {len(requests):,} requests")
        seed = options.seed * 1_000_003 + number
        world = world_of(requests, read, options.asked // rounds, seed, same=options.unread == "same")
        with tempfile.TemporaryDirectory() as folder:
            ask(world, Path(folder) / "bundle", retriever, count)
        known.append(len(world.known))
        asked.update(question.way for question in world.questions)
        faults = [each for each in count.examples if _faulty(each)]
        told(f"  so far {len(count.examples):,} rewritten, {len(faults):,} of them to another meaning")
        told("\n".join(map(_told, faults)))
    return {
        "requests": len(requests), "asked": dict(asked), "known": known, "unread": options.unread,
        "counts": list(_counts(count)), "rewrites to another meaning": sum(_faulty(each) for each in count.examples),
        "rewrites": count.examples, "past the guards": count.past, "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def _faulty(example: Mapping[str, Any]) -> bool:
    return example["meaning"] in ("flip", "other")


def _counts(count: Count) -> Iterator[dict[str, Any]]:
    for (how, kind), answers in sorted(count.answers.items()):
        yield {
            "asked": how, "kind": kind, "calls": sum(answers.values()), "a flip is first": count.near[how, kind],
            "past the guards": count.open[how, kind], "answers": _nested(answers),
            "meanings": _nested(count.meanings[how, kind]),
        }  # fmt: skip


def _nested(counter: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for (first, second), number in counter.most_common():
        found[str(first)][str(second)] = number
    return dict(found)


def _lines(answer: Mapping[str, Any], examples: int) -> Iterator[str]:
    asked = ", ".join(f"{number:,} {way}" for way, number in answer["asked"].items())
    known = ", ".join(f"{number:,}" for number in answer["known"])
    yield f"asked: {asked}; known: {known}; unread: {answer['unread']}; {answer['seconds']} s"
    for each in answer["counts"]:
        yield (
            f"\n{each['asked']}, {each['kind']}: {each['calls']:,} calls, a flip first in {each['a flip is first']:,},"
            f" past the guards {each['past the guards']:,}"
        )
        for action, reasons in each["answers"].items():
            yield f"  {action:8} {sum(reasons.values()):>7,}  {_in_words(reasons)}"
        for action, meanings in each["meanings"].items():
            yield f"  of those {action}: {_in_words(meanings)}"
    yield f"\nrewrites to another meaning: {answer['rewrites to another meaning']:,}"
    for each in sorted(answer["rewrites"], key=lambda each: not _faulty(each))[:examples]:
        yield _told(each)
    yield "\npast the guards, the likeliest first:"
    past: Iterable[dict[str, Any]] = sorted(answer["past the guards"], key=lambda each: -each.get("score", -math.inf))
    yield from map(_told, list(past)[:examples])


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())


def _told(example: Mapping[str, Any]) -> str:
    scores = " ".join(f"{name} {example[name]}" for name in SCORES if name in example)
    return (
        f"  {example['kind']}, {example['asked']}, {example['action']}, {example['meaning']}: {example['said']}"
        f" -> {example['target']}  [{scores}]  {example['said read as']} -> {example['target read as']}"
    )


if __name__ == "__main__":
    main()

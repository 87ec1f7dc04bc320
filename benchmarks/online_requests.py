"""Many made-up requests in real words, what is misheard of them, and a bundle that serves them densely.

A request is a carrier phrase of real requests ("play {} by {}"), filled with names that are made of real words
("silver river", "laura bennett"), and mostly with a tail ("in the kitchen"). Their vectors lie as those of real
requests do, many near one another. What is misheard of them has other words that sound alike, or letters that are
wrong; none of it is stored. Made for load: what is measured on them says nothing about quality.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from measure import told  # benchmarks/measure.py

#: What is asked, "domain.intent: phrases"; {song}, {person}, {place} and {thing} are slots.
_PHRASES = """
music.play: play {song} | play {song} by {person} | put on {song} | i want to hear {song} | play the album {song} |
    can you play {song} for me | start the playlist {song} | play something like {song} | shuffle songs by {person}
    | play the new single by {person}
music.query: who sings {song} | what album is {song} on | how long is {song} | when did {person} release {song} |
    what is the most popular song by {person}
video.play: show me the film {song} | play the trailer of {song} | continue watching {song} | open the series {song}
    | find films with {person}
books.read: read me {song} | read the audiobook {song} by {person} | continue the book {song} | what is {song} about
weather.query: what is the weather like in {place} | will it rain in {place} | how cold is it in {place} | do i need
    an umbrella in {place} | is it windy in {place} | what is the temperature in {place}
travel.route: how do i get to {place} | navigate to {place} | how far is it to {place} | how is the traffic to
    {place} | what is the fastest way to {place} | find a train to {place} | when does the next bus to {place} leave
travel.places: find a restaurant in {place} | where can i get coffee in {place} | show me hotels in {place} | what
    is there to see in {place} | find a museum in {place}
calendar.set: remind me to meet {person} | add lunch with {person} to my calendar | remind me to buy {thing} |
    schedule a meeting with {person} | set a reminder for the {thing}
calendar.query: when do i meet {person} | what do i have planned with {person} | when is the birthday of {person}
lists.add: add {thing} to my shopping list | put {thing} on the list | i need {thing} on the grocery list
lists.remove: take {thing} off my shopping list | remove {thing} from the list
recipe.query: find a recipe with {thing} | how do i cook {thing} | what goes well with {thing} | how many calories
    are in {thing}
news.query: what is the news about {person} | what happened in {place} | read me the news from {place}
facts.query: who is {person} | tell me about {person} | how old is {person} | where was {person} born | how many
    people live in {place} | what is the capital near {place}
home.on: turn on the {thing} lamp | start the {thing} scene | turn on the radio in {place}
home.off: turn off the {thing} lamp | stop the {thing} scene
podcast.play: play the latest episode of {song} | play the podcast {song} | skip to the end of {song} | what is the
    newest episode of {song}
games.play: start the game {song} | play {song} with {person}
"""
_ADJECTIVES = """
silver golden crimson broken quiet lonely midnight summer winter autumn early distant hidden wild gentle burning
frozen paper velvet electric hollow ancient little northern southern eastern western bitter sweet crystal iron
copper marble scarlet emerald purple yellow orange silent restless endless sacred secret second hungry sleepy
dancing falling rising running floating flying singing shining fading shadow morning evening sunday friday painted
stolen promised forgotten foreign empty heavy tender bright dark blue green white black pale red grey cold warm soft
loud slow lazy happy lucky brave proud holy stormy rainy sunny cloudy dusty rusty wooden stone glass cotton sugar
honey lemon cherry
""".split()
_NOUNS = """
river mountain valley ocean island harbour station highway railroad avenue garden meadow forest desert canyon bridge
tower castle palace temple village city kingdom empire garage kitchen window mirror letter story chapter novel poem
dream memory promise secret shadow whisper silence thunder lightning rainbow sunrise sunset moonlight starlight
planet comet satellite rocket engine machine radio signal wire hammer anchor compass lantern candle fire ember smoke
ashes diamond pearl ribbon feather sparrow raven eagle falcon tiger lion panther wolf horse pony rabbit spider
butterfly dragon angel devil sailor soldier doctor teacher dancer painter preacher stranger brother sister mother
father daughter cowboy gypsy pilgrim traveller gardener baker fisherman winter season weekend holiday birthday
carnival circus parade theatre orchestra piano guitar violin trumpet drummer melody chorus anthem lullaby
""".split()
_FIRST = """
laura anna peter michael sarah david emily james olivia henry sophie daniel julia thomas maria oliver lucy robert
helen simon clara martin alice victor nina george rosa philip emma edward irene walter diana frank grace samuel
hannah louis monica carl vera adam joan leon judith bruno wanda felix tessa hugo miriam oscar lydia ralph paula
conrad stella magnus celia erik
""".split()
_LAST = """
bennett parker collins murphy hughes foster coleman barnes griffin sullivan russell hayes wallace jordan reynolds
fisher graham hamilton marshall mcdonald gibson stone porter hunter hicks crawford henry boyd mason morales kennedy
warren dixon ramos burns gordon shaw holmes rice robertson black daniels palmer mills nichols grant knight ferguson
rose hawkins dunn perkins hudson spencer gardner stephens payne pierce berry matthews arnold wagner willis ray
watkins olson carroll duncan snyder hart cunningham bradley lane andrews ruiz harper fox riley armstrong carpenter
weaver greene lawrence elliott chavez sims austin peters kelley franklin lawson fields
""".split()
_PLACES = """
ash oak elm birch cedar maple willow stone white black red green north south east west high low long clear spring
mill bridge lake river hill rock sand salt iron silver gold king queen bishop castle church market grand new old
fair bright deer fox wolf eagle swan crane
""".split()
_ENDS = """
ford ton ville field wood dale port haven bury burgh mouth bridge land stead worth view brook creek falls grove
heights hollow hills harbour springs valley junction park point ridge
""".split()
_THINGS = """
apples bananas carrots onions potatoes tomatoes pepper garlic butter cheese yoghurt cream milk flour rice pasta
noodles bread rolls crackers cereal oatmeal chicken turkey salmon tuna shrimp bacon sausages ham beans lentils peas
corn spinach lettuce cabbage celery mushrooms olives pickles mustard ketchup vinegar honey jam chocolate biscuits
cookies muffins pancakes waffles juice coffee tea soap shampoo towels napkins batteries candles envelopes stamps
""".split()
_TAILS = (
    "", "", "", "", "right away", "now", "in the kitchen", "in the living room", "in the bedroom", "upstairs",
    "tonight", "tomorrow", "tomorrow morning", "this evening", "this weekend", "next week", "again", "for me",
    "on the speaker", "on the tablet", "in the car", "before dinner", "after breakfast", "for the children",
    "on monday", "on friday", "at seven", "at half past eight", "before noon", "with the family",
)  # fmt: skip
_WRONG = dict(zip("aeioubdfgklmnprstv", "eiauopthckrnmblzdf", strict=True))

SHARD = 10_000  # texts encoded as one, kept for a run that goes on
FAILING_ENTRIES = 500  # rewrites of the table
ROWS = 12  # requests of each user's own


@dataclass(frozen=True, slots=True)
class Carrier:
    """A phrase with its interpretation; `slots` are those that it holds, in order."""

    domain: str
    intent: str
    phrase: str
    slots: tuple[str, ...]

    @classmethod
    def all(cls) -> list[Carrier]:
        """Every phrase above."""
        found = []
        for line in _PHRASES.replace("\n    ", " ").strip().splitlines():
            name, phrases = line.split(": ")
            domain, intent = name.split(".")
            for phrase in phrases.split(" | "):
                slots = tuple(part[1:-1] for part in phrase.split() if part.startswith("{"))
                found.append(cls(domain, intent, phrase, slots))
        return found


@dataclass(frozen=True, slots=True)
class Made:
    """A request: its canonical text, and what NLU makes of it."""

    text: str
    domain: str
    intent: str
    slots: dict[str, str]

    @property
    def frame(self) -> str:
        """The key of its interpretation (`dialogue.table.interpretation_key`)."""
        return json.dumps([self.domain, self.intent, dict(sorted(self.slots.items()))], separators=(",", ":"))

    @property
    def nlu(self) -> dict[str, Any]:
        """The interpretation in the log format."""
        return {"domain": self.domain, "intent": self.intent, "confidence": 0.6, "slots": self.slots}


def made(seed: int) -> Iterator[Made]:
    """Requests without end, from a seed; some come again."""
    draw, carriers = Random(seed), Carrier.all()
    while True:
        carrier = draw.choice(carriers)
        slots = {slot: _filler(slot, draw) for slot in carrier.slots}
        text = f"{carrier.phrase.format(**slots)} {draw.choice(_TAILS)}".strip()
        yield Made(text, carrier.domain, carrier.intent, slots)


def _filler(slot: str, draw: Random) -> str:
    if slot == "song":
        start = draw.choice(("", "", "the ", "my ", "no more ", "one "))
        return f"{start}{draw.choice(_ADJECTIVES)} {draw.choice(_NOUNS)}{draw.choice(('', '', 's'))}"
    if slot == "person":
        return f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"
    if slot == "place":
        return f"{draw.choice(_PLACES)}{draw.choice(_ENDS)}"
    start = draw.choice(("", "", "fresh ", "some ", "organic ", "more "))
    return f"{start}{draw.choice(_THINGS)}"


def distinct(count: int, seed: int) -> dict[str, Made]:
    """So many requests by their text."""
    found: dict[str, Made] = {}
    stream = made(seed)
    while len(found) < count:
        for each in islice(stream, count - len(found)):
            found.setdefault(each.text, each)
    return found


def misheard(requests: Sequence[Made], stored: Any, count: int, seed: int) -> Iterator[Made]:
    """Forms of requests as a recogniser may write them: no two the same, none in `stored` (a container of texts).

    Half have known words that sound alike, half have wrong letters; NLU reads the values as they were heard.
    """
    from retrieval.misheard import Confusions

    draw = Random(seed + 1)
    known = Confusions.learned([], (each.text for each in requests[:20_000]))
    told_of: set[str] = set()
    while len(told_of) < count:
        right = draw.choice(requests)
        heard = known.misheard(right.text, draw) if draw.random() < 0.5 else _garbled(right.text, draw)
        if heard and heard not in told_of and heard not in stored:
            told_of.add(heard)
            slots = {name: value for name, value in right.slots.items() if value in heard}
            yield Made(heard, right.domain, right.intent, slots)


def _garbled(text: str, draw: Random) -> str:
    """A longer word or two with a wrong letter."""
    words = text.split()
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.choices(range(len(words)), [len(word) for word in words])[0]
        letters = list(words[place])
        at = draw.randrange(len(letters))
        letters[at] = _WRONG.get(letters[at], "e")
        words[place] = "".join(letters)
    return " ".join(words)


def user_name(number: int) -> str:
    """The id of a user."""
    return f"u{number:06d}"


# The bundle


def write_world(folder: Path, requests: int, users: int, retriever: Path, seed: int = 0, workers: int = 2) -> Path:
    """A bundle in which all requests are known to work, but for a few that the table rewrites; each user has some.

    Vectors are worked out in shards that are kept in `folder`: a run that was ended goes on where it was. `told` says
    how far it is.
    """
    if (folder / "done").exists():
        return folder / "bundle"
    good = distinct(requests, seed)
    wrong = {each.text: each for each in misheard(list(good.values())[:SHARD], good, FAILING_ENTRIES, seed)}
    names, draw = list(good), Random(seed)
    own = {user_name(user): draw.choices(names, k=ROWS) for user in range(users)}
    return world_of(folder, good, wrong, own, retriever, workers)


def world_of(
    folder: Path,
    good: Mapping[str, Made],
    wrong: Mapping[str, Made],
    own: Mapping[str, Sequence[str]],
    retriever: Path,
    workers: int = 2,
) -> Path:
    """The bundle in which `good` are known to work, `wrong` are rewritten, and users have their `own` texts.

    A text that is neither is there for its user alone.
    """
    from rewrite.retriever import Retriever

    texts = sorted({*good, *wrong, *(text for some in own.values() for text in some)})
    _encode(folder / "vectors", texts, retriever, workers)
    told("writing the bundle")
    _write(folder, texts, good, wrong, own, Retriever.load(retriever))
    (folder / "done").touch()
    return folder / "bundle"


def _write(
    folder: Path, texts: list[str], good: Mapping[str, Made], wrong: Mapping[str, Made],
    own: Mapping[str, Sequence[str]], retriever: Any,
) -> None:  # fmt: skip
    import pyarrow as pa

    from retrieval import HistoryEntry
    from rewrite.bundle import write_manifest
    from rewrite.config import LearnConfig
    from rewrite.dense_serving import RETRIEVER
    from rewrite.retriever import carry
    from rewrite.serving import FAILING, GOOD, PUBLIC, TableEntry, build_serving

    bundle, row_of = folder / "bundle", {text: row for row, text in enumerate(texts)}
    kinds = [PUBLIC + GOOD if text in good else PUBLIC + FAILING if text in wrong else 0 for text in texts]
    success = [2_000_000 if text in wrong else 9_500_000 for text in texts]
    columns = {"said": texts, "surface": texts, "weight": [10_000_000] * len(texts), "success": success}
    population = pa.table({**columns, "status": np.array(kinds, np.uint8)})
    targets = np.random.default_rng(0).choice(np.flatnonzero(np.array(kinds) == PUBLIC + GOOD), len(wrong)).tolist()
    sources = sorted(row_of[text] for text in wrong)
    entries = [TableEntry(source, target, 0.9, 0.5, 20) for source, target in zip(sources, targets, strict=True)]
    histories = (
        HistoryEntry(user, row_of[text], 1 + place % 5, 1.7e9 + 1e3 * place)
        for user, some in own.items()
        for place, text in enumerate(dict.fromkeys(some))
    )
    build_serving(bundle / "index", population, entries, histories, [])
    carry(retriever, bundle / RETRIEVER)
    facts = _write_dense(folder, texts, good, entries, retriever)
    counts, parameters = {"requests": len(texts)}, LearnConfig().as_dict()
    write_manifest(bundle, created="", parameters=parameters, log={}, span={}, counts=counts, retriever=facts)


def _write_dense(
    folder: Path, texts: list[str], good: Mapping[str, Made], entries: Sequence[Any], retriever: Any
) -> dict[str, Any]:
    """The dense arrays, from the vectors in the shards."""
    from retrieval import DenseRows, KeyTable
    from rewrite.dense_serving import FOLDER, EarlierVectors, Population, build_dense

    heard_by = np.random.default_rng(1).integers(3, 300, len(texts))
    rows = np.array([row for row, text in enumerate(texts) if text in good], np.int64)
    whole = Population(texts, heard_by, rows, {entry.target: entry.score for entry in entries})
    frames = {text: each.frame for text, each in good.items()}
    shards = [DenseRows.load(path) for path in sorted((folder / "vectors").glob("shard-*"))]
    with tempfile.TemporaryDirectory(dir=folder) as work:  # the shards as one table, from which vectors are taken over
        blocks = (shard.vectors(np.arange(len(shard))) for shard in shards)
        DenseRows.write(Path(work) / "all", blocks, len(texts), retriever.encoder.dim)
        earlier = EarlierVectors(KeyTable.build(texts), DenseRows.load(Path(work) / "all"))
        told("building the index")
        return build_dense(folder / "bundle" / "index" / FOLDER, whole, frames, retriever, earlier)


def _encode(folder: Path, texts: Sequence[str], retriever: Path, workers: int) -> None:
    """One folder of vectors for each shard of the texts, those that are there already left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [(at // SHARD, texts[at : at + SHARD]) for at in range(0, len(texts), SHARD)]
    left = [(folder, number, some, retriever) for number, some in shards if not _place(folder, number).exists()]
    begun, texts_left = time.monotonic(), sum(len(some) for _, _, some, _ in left)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap_unordered(_encode_shard, left), 1):
            some = min(done * SHARD, texts_left)
            told(f"encoded {some:,} of {texts_left:,} texts, {time.monotonic() - begun:.0f} s")


def _encode_shard(task: tuple[Path, int, Sequence[str], Path]) -> None:
    from retrieval import DenseRows
    from retrieval.dual_encoder import DualEncoder
    from rewrite.retriever import ENCODER

    folder, number, texts, retriever = task
    encoder = DualEncoder.load(retriever / ENCODER)
    part = folder / f"part-{number:04d}-{os.getpid()}"
    DenseRows.write(part, encoder.blocks(texts), len(texts), encoder.dim)
    part.rename(_place(folder, number))


def _place(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:04d}"


def untrained_retriever(folder: Path) -> Path:
    """A retriever from a small, untrained encoder with layers as wide as the packaged model's, and no trees at all.

    What it finds means little; the time that it takes is nearly that of a trained one, but for the trees.
    """
    from rewrite.progress import Progress
    from rewrite.retriever import ENCODER, FILE, save
    from rewrite.retriever_training import RetrieverRecipe, train_encoder

    if not (folder / FILE).exists():
        texts = list(distinct(400, 3))
        told("no --retriever came: the packaged encoder as it is, six layers and no trees, stands in for a trained one")
        train_encoder(texts, {}, [], folder / ENCODER, RetrieverRecipe(), Progress())
        save(folder, None, {"trained": False})
    return folder

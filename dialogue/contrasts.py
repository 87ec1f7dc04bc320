"""Words that exclude each other: where one gives way to the other, a request means something else.

`ENGLISH` is what the outcome model and the guards use. The lists hold closed classes only (opposites, days, kinds of
devices): names and titles are for evidence to tell apart. A word may have sides in several sets; exchanging is refused,
adding is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

Side = tuple[int, int]  # (number of the set, number of the side)
SidesByWord = dict[str, tuple[Side, ...]]


class Stance(NamedTuple):
    """What a text says yes and no to."""

    negated: bool
    sides: frozenset[Side]

    def reverses(self, other: Stance) -> bool:
        """Whether one says the opposite of the other: the other side of some set, or a negation more."""
        if self.negated != other.negated:
            return True
        gone = {number for number, _ in self.sides - other.sides}
        return not gone.isdisjoint({number for number, _ in other.sides - self.sides})


NEUTRAL = Stance(False, frozenset())


@dataclass(frozen=True)
class Contrasts:
    """Sets of sides that exclude each other; each side is a string of words that mean the same, `_` joining two words.

    `values` are sets whose words are also never dropped; `kinds` are sets of words so ordinary that they may come in
    where an unknown word stood. The two words of a `neutral` pair have no side ("listen_to", "right_now").
    """

    sets: tuple[tuple[str, ...], ...]
    negations: frozenset[str]
    values: tuple[tuple[str, ...], ...] = ()
    kinds: tuple[tuple[str, ...], ...] = ()
    neutral: frozenset[str] = frozenset()

    def sides(self, words: Sequence[str]) -> frozenset[Side]:
        """The (set, side) of every word, and of every two adjacent words, that belongs to one."""
        return self._found(words, self._sides)

    def opposites(self, words: Sequence[str]) -> frozenset[Side]:
        """The same without `kinds`."""
        return self._found(words, self._opposites)

    def terms(self, words: Sequence[str]) -> list[str]:
        """Every word and every two adjacent words, joined by `_`, that may have a side, in order; neutral ones not."""
        return list(self._terms(words))

    def sides_of(self, terms: Sequence[str]) -> frozenset[Side]:
        """`sides` of words whose `terms` are known already."""
        table = self._sides
        return frozenset(side for term in terms if term in table for side in table[term])

    def opposite_terms(self, terms: Sequence[str]) -> list[str]:
        """Those of the terms that have `opposites`; one that is said twice twice."""
        table = self._opposites
        return [term for term in terms if term in table]

    def said_values(self, words: Sequence[str]) -> dict[Side, str]:
        """The values that the words hold, each with the term that says it."""
        return {side: term for term in self._terms(words) for side in self._values.get(term, ())}

    def negated(self, words: Sequence[str]) -> bool:
        """Whether the words hold a negation; two are no affirmation ("no not that one")."""
        return any(word in self.negations or word.endswith("n't") for word in words)

    def negations_in(self, words: Sequence[str]) -> int:
        """How many negations the words hold."""
        return sum(word in self.negations or word.endswith("n't") for word in words)

    def stance(self, text: str) -> Stance:
        """What a canonical text says yes and no to, by `sets` and negations only.

        A day or a device may be misheard for another, and is then the same request said again; on for off is not.
        """
        words = text.split()
        if self._telling.isdisjoint(words) and "n't" not in text:
            return NEUTRAL
        return Stance(self.negated(words), self._found(words, self._reversals))

    @cached_property
    def _telling(self) -> frozenset[str]:
        return frozenset(part for term in self._reversals for part in term.split("_")) | self.negations

    @cached_property
    def _reversals(self) -> SidesByWord:
        return _sides_by_word(self.sets)

    @cached_property
    def _sides(self) -> SidesByWord:
        return _sides_by_word(self.sets + self.values + self.kinds)

    @cached_property
    def _opposites(self) -> SidesByWord:
        return _sides_by_word(self.sets + self.values)

    @cached_property
    def _values(self) -> SidesByWord:
        return _sides_by_word(self.values)

    def _found(self, words: Sequence[str], table: SidesByWord) -> frozenset[Side]:
        return frozenset(side for term in self._terms(words) for side in table.get(term, ()))

    def _terms(self, words: Sequence[str]) -> Iterator[str]:
        bare = [word.removesuffix("'s") for word in words]
        pairs = [f"{one}_{other}" for one, other in pairwise(bare)]
        joined = [pair in self.neutral for pair in pairs]
        for word, *neutral in zip(bare, [False, *joined], [*joined, False], strict=False):
            if not any(neutral):
                yield word
        yield from pairs


def _sides_by_word(sets: tuple[tuple[str, ...], ...]) -> SidesByWord:
    found: dict[str, tuple[Side, ...]] = {}
    for number, sides in enumerate(sets):
        for side, words in enumerate(sides):
            for word in words.split():
                found[word] = (*found.get(word, ()), (number, side))
    return found


#: What "this", "next" and "last" tell apart.
_SPANS = (
    "week", "weekend", "month", "year", "quarter", "season", "morning", "evening", "summer", "winter", "monday",
    "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip

ENGLISH = Contrasts(
    sets=(
        ("on enable activate", "off disable deactivate"),
        ("up increase raise higher louder brighter warmer hotter maximum",
         "down decrease reduce lower quieter softer dimmer cooler colder minimum"),
        ("open", "close shut"),
        ("lock locked arm", "unlock unlocked disarm"),
        ("start begin resume continue", "stop end quit pause cancel"),
        ("play", "stop pause"),
        ("mute silence", "unmute"),
        ("add insert include", "remove delete erase exclude"),
        ("create make new", "remove delete erase"),
        ("set", "cancel delete unset"),
        ("show", "hide"),
        ("accept answer pick_up", "decline reject ignore hang_up"),
        ("connect pair", "disconnect unpair"), ("upload", "download"), ("deposit", "withdraw"), ("debit", "credit"),
        ("approve", "deny"), ("encrypt encryption", "decrypt decryption"), ("enter", "exit"),
        ("incoming", "outgoing"), ("daily", "weekly", "biweekly fortnightly", "monthly", "yearly annually"),
        ("lend", "borrow"),
        ("plus", "minus", "times", "divided"), ("ii", "iii", "iv", "vi", "vii", "viii"),
        ("milligram milligrams mg", "gram grams", "kilogram kilograms kg"),
        ("cup cups", "spoon spoons", "tablespoon tablespoons", "teaspoon teaspoons", "liter liters litre litres"),
        ("increase", "decrease"), ("import", "export"), ("win", "lose"),
        ("track", "cancel"), ("find track where", "cancel"), ("include", "exclude"),
        ("follow", "unfollow"), ("like", "dislike unlike"), ("subscribe", "unsubscribe"), ("block", "unblock"),
        ("dim", "brighten"), ("save keep", "discard delete"), ("skip", "repeat replay"),
        ("order reorder", "cancel return refund"), ("pickup", "delivery deliver"),
        ("buy purchase", "sell"), ("send", "receive"), ("text message sms", "call phone dial"), ("avoid", "take allow"),
        ("log_in sign_in", "log_out sign_out"), ("zoom_in", "zoom_out"), ("check_in", "check_out"),
        ("more", "less fewer"), ("most", "least"), ("always", "never"), ("all everything", "none nothing"),
        ("hot", "cold"), ("good best", "bad worst"), ("true", "false"), ("yes yeah yep", "no nope"),
        ("right correct", "wrong incorrect"), ("left", "right"), ("with", "without"), ("from", "to"),
        ("before", "after"), ("next", "previous last"), ("first", "last"), ("forward", "back backward rewind"),
        ("inside indoor indoors", "outside outdoor outdoors"), ("upstairs", "downstairs"), ("inbound", "outbound"),
        ("arrive arriving arrival", "leave leaving depart departing departure"),
        ("morning", "afternoon", "evening", "night", "noon midday", "midnight"),
        ("am morning midnight", "pm afternoon evening night tonight noon midday"), ("today", "tonight"),
        ("second seconds", "minute minutes", "hour hours", "day days", "week weeks", "month months", "year years"),
        ("red", "orange", "yellow", "green", "blue", "purple violet", "pink", "white", "black", "brown", "gray grey"),
        ("celsius", "fahrenheit"),
        ("he him his", "she her hers"),
    ),
    values=(
        ("today tonight", "yesterday", "tomorrow", "monday mondays", "tuesday tuesdays", "wednesday wednesdays",
         "thursday thursdays", "friday fridays", "saturday saturdays", "sunday sundays", "weekend weekends"),
        ("january", "february", "march", "april", "june", "july", "august", "september", "october", "november",
         "december"),
        ("north northern", "south southern", "east eastern", "west western", "centre center central",
         "northeast", "northwest", "southeast", "southwest"),
        ("cheap cheaper cheapest inexpensive affordable", "expensive pricey dearer dearest", "moderate moderately"),
        ("kitchen", "bedroom", "bathroom", "garage", "hallway", "basement", "attic", "office", "nursery", "patio porch",
         "living_room lounge", "dining_room", "laundry_room", "garden yard backyard"),
        ("mom mum mother mama", "dad father papa", "brother", "sister", "wife", "husband", "son", "daughter",
         "grandma grandmother", "grandpa grandfather", "aunt", "uncle"),
    ),
    kinds=(
        ("may", "january february march april june july august september october november december"),
        ("me my mine us our ours", "him his he", "her hers she", "them their theirs they"),
        ("my mine our ours", "your yours", "their theirs", "his", "her hers"),
        ("he him his", "she her hers", "they them their theirs"), ("us", "them", "him", "her"),
        ("male man men boy boys husband", "female woman women girl girls wife"), ("happy happier", "sad sadder"),
        ("better", "worse"), ("rich richer", "poor poorer"), ("hard harder hardest difficult", "easy easier easiest"),
        ("biggest largest", "smallest"), ("fastest", "slowest"), ("healthy", "unhealthy"), ("spicy", "mild"),
        ("high", "low"), ("higher", "lower"), ("strong stronger", "weak weaker"), ("sweet", "sour bitter"),
        ("heavy heavier", "light lighter"), ("wide wider", "narrow narrower"), ("deep deeper", "shallow"),
        ("thick thicker", "thin thinner"), ("full", "empty"), ("dirty", "clean"), ("wet", "dry"),
        ("sunny sun sunshine clear", "rainy rain raining", "snowy snow snowing", "cloudy clouds", "windy wind"),
        ("warm warmer warmest", "cool cooler coolest"), ("hot hotter hottest", "cold colder coldest"),
        ("dark darker", "light lighter"), ("safe", "dangerous unsafe"), ("same", "different"), ("early", "late"),
        ("above over", "below under beneath"), ("inside in", "outside out"), ("in", "out"), ("read", "unread"),
        ("asleep", "awake"), ("married", "single divorced"), ("legal", "illegal"),
        ("love loves loved", "hate hates hated"),
        ("likes liked", "dislikes disliked"), ("available", "unavailable"), ("possible", "impossible"),
        ("increases increased increasing rises raised raising",
         "decreases decreased decreasing lowers lowered lowering"),
        ("opens opened opening", "closes closed closing"), ("locks locking", "unlocks unlocked unlocking"),
        ("starts started starting begins began beginning",
         "stops stopped stopping ends ended ending finish finishes finished"),
        ("start begin", "finish stop end"), ("adds added adding", "removes removed removing deletes deleted deleting"),
        ("enabled enabling activated", "disabled disabling deactivated"),
        ("sends sent sending", "receives received receiving"),
        ("arrives arrived", "leaves left departs departed"), ("bought buying", "sold selling"),
        ("minimum min", "maximum max"), ("push", "pull"), ("few", "many"), ("every each", "no"),
        ("some any", "no none"), ("until till", "since"), ("if", "unless"), ("everyone everybody", "nobody no_one"),
        ("weekday weekdays", "weekend weekends"), ("spring", "summer", "autumn fall", "winter"),
        ("christmas", "easter", "halloween", "thanksgiving", "hanukkah", "diwali", "ramadan", "valentine's"),
        ("car cars", "train trains", "bus buses", "plane planes flight flights", "taxi taxis cab cabs", "boat ferry"),
        ("breakfast", "lunch", "dinner", "brunch"), ("email emails e-mail mail", "text texts sms", "call calls phone"),
        ("song songs", "album albums", "playlist playlists", "podcast podcasts", "audiobook audiobooks"),
        ("coffee", "tea"), ("friend friends", "enemy enemies"), ("sugar", "salt"), ("dog dogs", "cat cats"),
        ("percent", "degree degrees"),
        ("meter meters metre metres", "foot feet", "mile miles", "kilometer kilometers", "inch inches", "yard yards"),
        ("gram grams", "ounce ounces", "pound pounds", "kilogram kilograms"),
        ("dollar dollars", "euro euros", "pound pounds", "yen", "rupee rupees", "peso pesos", "franc francs"),
        ("latest newest", "earliest oldest"), ("quickest", "slowest"), ("tallest", "shortest"),
        ("brighter brightest", "darker darkest dimmer dimmest"), ("ascending", "descending"),
        ("arrival arrivals", "departure departures"), ("sunrise", "sunset"), ("entry entrance", "exit"),
        ("online", "offline"), ("winning", "losing"), ("rising", "falling"), ("friend friends", "foe foes"),
        ("buyer buyers", "seller sellers"), ("remember", "forget remove"), ("pin pinned", "unpin unpinned"),
        ("highest", "lowest"), ("nearest closest", "farthest furthest"), ("fast faster", "slow slower"),
        ("long longer longest", "short shorter shortest"), ("loud", "quiet soft"),
        ("big bigger large larger", "small smaller"), ("early earlier", "late later"), ("bright", "dark"),
        ("old older oldest", "new newer newest"), ("heat heating", "cool cooling"), ("bass", "treble"),
        ("explicit", "clean"), ("public", "private"), ("front", "back rear"),
        ("walk walking", "drive driving", "bike cycling", "bus", "train", "flight plane"),
        ("mile miles", "kilometer kilometers kilometre kilometres"), ("dollar dollars", "euro euros", "pound pounds"),
        ("light lights lamp lamps bulb bulbs", "fan fans", "heater heaters", "oven ovens", "tv television",
         "door doors", "window windows", "blind blinds curtain curtains shade shades", "camera cameras"),
        ("timer timers", "alarm alarms", "reminder reminders"),
        ("english british", "irish", "scottish", "welsh", "french", "german", "austrian", "swiss", "spanish", "catalan",
         "italian", "portuguese", "dutch", "belgian", "danish", "swedish", "norwegian", "finnish", "polish", "czech",
         "hungarian", "romanian", "greek", "turkish", "russian", "ukrainian", "arabic", "hebrew", "persian iranian",
         "lebanese", "moroccan", "egyptian", "african", "hindi indian", "chinese mandarin", "cantonese", "japanese",
         "korean", "thai", "vietnamese", "indonesian", "malaysian", "filipino", "australian", "american", "canadian",
         "mexican", "cuban", "jamaican", "brazilian", "argentinian"),
        ("hired hire", "fired fire"), ("winner winners", "loser losers"), ("king kings", "queen queens"),
        ("nephew nephews", "niece nieces"), ("resume restore renew", "remove"), ("boost", "cut"),
        ("expand", "collapse"), ("keep", "drop"), ("delete", "repeat"), ("day_mode", "night_mode"),
        ("attach", "detach"), ("promote promoted", "demote demoted"), ("shorten", "lengthen"),
        ("permit permits", "prevent prevents"), ("useful", "useless"), ("harmful", "harmless"),
        ("helpful", "helpless"), ("careful", "careless"), ("painful", "painless"),
        *((f"this_{each}", f"next_{each}", f"last_{each} previous_{each}") for each in _SPANS),
    ),
    negations=frozenset(
        "not no never minus negative without cannot neither nor nothing none except dont cant wont isnt"
        " doesnt didnt couldnt arent shouldnt wouldnt wasnt werent havent hasnt hadnt mustnt neednt aint mightnt"
        " shant hardly barely scarcely".split()
    ),
    neutral=frozenset(
        "want_to like_to love_to need_to have_to has_to listen_to listening_to how_to able_to got_to trying_to next_to"
        " close_to close_by right_now new_york new_orleans new_zealand new_jersey i'd_like would_like sounds_like"
        " phone_number".split()
    ),
)  # fmt: skip

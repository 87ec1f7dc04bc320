"""Making requests sound misheard: training pairs for a retriever, from requests that are known to work.

What a recogniser does to words is learned from pairs of what was heard and what was meant: which words it takes for
which (`Confusions.observed`), and otherwise words that sound nearly alike; it drops small words, and the first or last
word of a request. Real pairs are few and of few words; made-up ones carry the same kinds of error to all others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from rapidfuzz import process
from rapidfuzz.distance import Indel, Levenshtein

from retrieval.sounds import sound_of

#: Words in a confused run, at most; words that are drawn from, and how many that sound alike each word has.
LONGEST_RUN, ALIKE = 3, 12
#: Least likeness in sound of a word that is heard for another, and the most words of a vocabulary.
LEAST_ALIKE, VOCABULARY = 0.6, 20_000
#: Of made-up errors: shares that take an observed confusion where there is one, drop a word, and cut an end.
OBSERVED, DROPPED, CUT = 0.6, 0.12, 0.08
#: Share of made-up requests with a second error, and with a third.
MORE = 0.4


@dataclass(frozen=True, slots=True)
class Confusions:
    """What is heard for what.

    observed    run of words meant -> runs heard for it, each as often as it was
    vocabulary  words that may be heard, the commonest first
    """

    observed: dict[str, list[str]]
    vocabulary: tuple[str, ...]
    _alike: dict[str, list[str]] = field(default_factory=dict)
    _sounds: list[str] = field(default_factory=list)

    @classmethod
    def learned(cls, pairs: Iterable[tuple[str, str]], texts: Iterable[str]) -> Confusions:
        """From pairs (heard, meant) of canonical texts, and texts whose words may be heard."""
        observed: dict[str, list[str]] = defaultdict(list)
        words: Counter[str] = Counter()
        for heard, meant in pairs:
            words.update(heard.split())
            for one, other in confused(meant.split(), heard.split()):
                observed[one].append(other)
        for text in texts:
            words.update(text.split())
        vocabulary = tuple(word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:VOCABULARY])
        return cls(dict(observed), vocabulary)

    def misheard(self, text: str, draw: Random) -> str:
        """A form of a canonical text in which some words are others; the text itself where nothing can be confused."""
        words = text.split()
        errors = 1 + (draw.random() < MORE) + (draw.random() < MORE * MORE)
        for _ in range(errors):
            words = self._once(words, draw)
        return " ".join(words)

    def _once(self, words: list[str], draw: Random) -> list[str]:
        if not words:
            return words
        kind = draw.random()
        if len(words) > 2 and kind < CUT:
            return words[1:] if draw.random() < 0.5 else words[:-1]
        if len(words) > 2 and kind < CUT + DROPPED:
            place = min(range(len(words)), key=lambda at: (len(words[at]) + 3 * draw.random(), at))
            return words[:place] + words[place + 1 :]
        runs = [
            (at, size) for size in range(1, LONGEST_RUN + 1) for at in range(len(words) - size + 1)
            if " ".join(words[at : at + size]) in self.observed
        ]  # fmt: skip
        if runs and draw.random() < OBSERVED:
            at, size = draw.choice(runs)
            heard = draw.choice(self.observed[" ".join(words[at : at + size])]).split()
            return [*words[:at], *heard, *words[at + size :]]
        at = draw.choices(range(len(words)), [len(word) for word in words])[0]
        alike = self._alike_of(words[at])
        if not alike:
            return words
        return [*words[:at], draw.choice(alike), *words[at + 1 :]]

    def _alike_of(self, word: str) -> list[str]:
        if word not in self._alike:
            if not self._sounds:
                self._sounds.extend(map(sound_of, self.vocabulary))
            found = process.extract(
                sound_of(word), self._sounds, scorer=Indel.normalized_similarity, score_cutoff=LEAST_ALIKE,
                limit=3 * ALIKE,
            )  # fmt: skip
            ranked = sorted(
                ((score + Indel.normalized_similarity(word, self.vocabulary[at]), at) for _, score, at in found),
                key=lambda item: (-item[0], item[1]),
            )
            self._alike[word] = [self.vocabulary[at] for _, at in ranked if self.vocabulary[at] != word][:ALIKE]
        return self._alike[word]


def confused(meant: Sequence[str], heard: Sequence[str]) -> list[tuple[str, str]]:
    """The runs of words that were heard otherwise, (meant, heard), from an alignment word by word; short ones only."""
    runs = []
    for change in Levenshtein.opcodes(meant, heard):
        if change.tag == "replace":
            one, other = meant[change.src_start : change.src_end], heard[change.dest_start : change.dest_end]
            if len(one) <= LONGEST_RUN and len(other) <= LONGEST_RUN:
                runs.append((" ".join(one), " ".join(other)))
    return runs

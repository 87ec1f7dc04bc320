"""Canonical text: one spelling for requests that differ only in form. Everything that looks a text up uses it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

#: Punctuation that carries meaning and is kept wherever it stands.
_KEPT = frozenset("%&@#$€£¥+°")
#: Punctuation that is kept between digits only ("7:30", "3.5", "1/2", "5*3").
_BETWEEN_DIGITS = ".:,/*=<>^"
_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼ`´＇"), "'")

_ABBREVIATION = re.compile(r"\b([^\W\d_])\.(?=[^\W\d_]\b)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LOOSE_SEPARATOR = re.compile(rf"(?<!\d)[{_BETWEEN_DIGITS}]|[{_BETWEEN_DIGITS}](?!\d)")
_LOOSE_APOSTROPHE = re.compile(r"(?<!\w)'|'(?!\w)")
_OPERATOR = re.compile(r"(?<=\d)\s+([*=<>^])\s+(?=\d)")
_SUBTRACTION = re.compile(r"(?<=\d)\s+-\s+(?=\d)")
_LOOSE_MINUS = re.compile(r"-(?!\d)|(?<=[^\s])-")


class _Folding(dict[int, str]):
    """Character -> what stands for it: itself, an apostrophe, or a space. Filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        kept = category[0] in "LMNS" or character in _KEPT or character in _BETWEEN_DIGITS + "-"
        folded = _APOSTROPHES.get(code) or (character if kept else " ")
        if character in "|~":
            folded = " "
        self[code] = folded
        return folded


_FOLDING = _Folding()

DEFAULT_WAKE_WORDS = (
    "alexa", "hey alexa", "hey google", "ok google", "okay google", "hey siri", "hey cortana", "hey mycroft",
)  # fmt: skip
DEFAULT_POLITENESS = ("please", "could you please", "can you please", "would you please")


def fold(text: str) -> str:
    """Text in Unicode NFKC, without case and punctuation, single-spaced. Idempotent; linear in the length."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    else:
        text = text.lower()
    text = text.translate(_FOLDING)
    if "." in text:
        text = _ABBREVIATION.sub(r"\1", text)
    if "," in text:
        text = _THOUSANDS.sub("", text)
    if " - " in text:
        text = _SUBTRACTION.sub(" minus ", text)
    if any(separator in text for separator in _BETWEEN_DIGITS):
        text = _OPERATOR.sub(r"\1", text)
        text = _LOOSE_SEPARATOR.sub(" ", text)
    if "'" in text:
        text = _LOOSE_APOSTROPHE.sub(" ", text)
    if "-" in text:
        text = _LOOSE_MINUS.sub(" ", text)
    return " ".join(text.split())


@dataclass(frozen=True)
class Canonicaliser:
    """Folds a text and strips wake words from its start and politeness from both ends, if anything is left.

    >>> Canonicaliser()("Alexa, please play  IMAGINE Dragons!")
    'play imagine dragons'
    """

    wake_words: tuple[str, ...] = DEFAULT_WAKE_WORDS
    politeness: tuple[str, ...] = DEFAULT_POLITENESS

    @cached_property
    def _lead(self) -> re.Pattern[str] | None:
        return _phrases(self.wake_words + self.politeness, r"^(?:(?:{})\s+)+(?=\S)")

    @cached_property
    def _tails(self) -> tuple[str, ...]:
        return tuple(f" {phrase}" for phrase in _folded(self.politeness))

    def __call__(self, text: str) -> str:
        folded = fold(text)
        if self._lead is not None:
            folded = self._lead.sub("", folded)
        return folded[: self._end(folded)]

    def _end(self, folded: str) -> int:
        """Where the politeness at the end begins. Step by step: a regular expression is quadratic in a run of it."""
        end = len(folded)
        while tail := next((tail for tail in self._tails if folded.endswith(tail, 0, end)), None):
            end -= len(tail)
        return end


def _phrases(phrases: Iterable[str], pattern: str) -> re.Pattern[str] | None:
    folded = _folded(phrases)
    return re.compile(pattern.format("|".join(map(re.escape, folded)))) if folded else None


def _folded(phrases: Iterable[str]) -> list[str]:
    """The phrases, the longest first."""
    return sorted({fold(phrase) for phrase in phrases} - {""}, key=lambda phrase: (-len(phrase), phrase))

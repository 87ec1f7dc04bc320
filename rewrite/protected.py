"""Requests that spend, speak to others, open, or destroy: a layer's rewrite never leads into or out of them by default.

A wrong song costs a moment; a wrong order, call, message or open door does not. Such requests are known by the name of
their interpretation (domain and intent, as the log has them) and by the words that they begin with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

#: What may stand before the verb of a request.
_OPENERS = frozenset(
    "please can could would will you i i'd i'll we let's let us want wanna need like to go ahead and just help me"
    " hey hi ok okay so now then uh um oh olly siri alexa google computer kindly try".split()
)
_QUESTIONS = frozenset(
    "what what's when when's how how's did do does is are was were who who's where where's why".split()
)
#: Names of interpretations of which it is kept whether they are protected.
MOST_NAMES = 4_096
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

_DOORS = frozenset(
    "door doors garage gate gates lock locks safe house home front back car trunk window windows".split()
)
_ALARMS = frozenset("security system burglar camera cameras".split())
_BELONGINGS = frozenset("account accounts profile user users device devices data history everything backup".split())
_ANY: frozenset[str] = frozenset()


def _verbs(words: str, objects: frozenset[str] = _ANY) -> dict[str, frozenset[str]]:
    return dict.fromkeys(words.split(), objects)


@dataclass(frozen=True)
class ProtectedIntents:
    """What is protected. All words in lower case.

    `names` are words of an interpretation's name that protect it ("order" in takeaway|order), unless one of `harmless`
    stands beside it ("order_status"). `verbs` are the first words of requests, each with the words of which one must
    follow somewhere, or none. Right after the verb a word of `harmless` makes it a noun ("order status"). `phrases`
    protect a text that holds one and does not begin as a question. With `within` a rewrite from one request to another
    of the same protected interpretation is let through ("call jon", "call john").
    """

    names: frozenset[str] = frozenset(
        "buy buying purchase purchasing order ordering reorder checkout pay payment paying transfer donate subscribe"
        " book booking ticket taxi uber call calling dial text message messaging sms sendemail sendmessage send reply"
        " post tweet unlock disarm opendoor open_door open_garage delete_account close_account remove_account"
        " factory_reset reset_settings reserve reservation rental makecall sendmail".split()
    )
    harmless: frozenset[str] = frozenset(
        "status query history number log list confirm confirmation info information of from read check checks suggest"
        " suggestion reviews cancel balance due date search find show volume"
        " minimum min".split()
    )
    verbs: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: (
            _verbs("buy purchase order reorder pay wire donate subscribe book reserve hire rent")
            | _verbs("call dial phone ring facetime redial text message sms email mail send reply respond forward")
            | _verbs("tweet post unlock disarm")
            | _verbs("transfer", frozenset("money dollars euros pounds account funds savings checking $".split()))
            | _verbs("open", _DOORS)
            | _verbs("deactivate disable", _ALARMS)
            | _verbs("delete erase remove close wipe", _BELONGINGS)
            | _verbs("reset", frozenset("factory settings device everything".split()))
        )
    )
    phrases: tuple[str, ...] = (
        "phone call", "an uber", "a taxi", "a cab", "an email to", "a text to", "a message to", "a reservation",
        "unlock the", "disarm the", "open the garage", "pay my", "pay the", "delete my account", "close my account",
    )  # fmt: skip
    within: bool = False

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"_{name}_" for name in sorted(self.names))

    @cached_property
    def _phrases(self) -> tuple[str, ...]:
        return tuple(f" {phrase} " for phrase in self.phrases)

    @cached_property
    def _judged(self) -> dict[str, bool]:
        """What `name` said of the names that it was asked for; an assistant has few."""
        return {}

    def name(self, interpretation: str) -> bool:
        """Whether the name of an interpretation, "domain|intent" or of any other form, is protected."""
        known = self._judged.get(interpretation)
        if known is None:
            if len(self._judged) >= MOST_NAMES:
                self._judged.clear()
            known = self._judged[interpretation] = self._names_one(interpretation)
        return known

    def _names_one(self, interpretation: str) -> bool:
        parts = [part.lower() for part in _WORDS.findall(interpretation)]
        if not self.harmless.isdisjoint(parts):
            return False
        joined = f"_{'_'.join(parts)}_"
        return any(name in joined for name in self._names)

    def text(self, canonical: str) -> bool:
        """Whether a canonical text begins as a protected request, goes on to one after "and", or holds a phrase."""
        words = canonical.split()
        if words and words[0] not in _QUESTIONS:
            padded = f" {canonical} "
            for phrase in self._phrases:
                if phrase in padded:
                    return True
        if self._begins(words, 0):
            return True
        if "and" not in words and "then" not in words:
            return False
        return any(self._begins(words, place + 1) for place, word in enumerate(words) if word in ("and", "then"))

    def _begins(self, words: Sequence[str], place: int) -> bool:
        if place < len(words) and words[place] in _QUESTIONS:
            return False
        while place < len(words) and words[place] in _OPENERS:
            place += 1
        if place >= len(words) or words[place] not in self.verbs:
            return False
        objects, rest = self.verbs[words[place]], words[place + 1 :]
        return not (rest and rest[0] in self.harmless) and (not objects or not objects.isdisjoint(rest))


DEFAULT = ProtectedIntents()


def protects(
    said: str,
    target: str,
    said_intent: str | None = None,
    target_intent: str | None = None,
    protected: ProtectedIntents = DEFAULT,
) -> bool:
    """Whether a rewrite between two canonical texts leads into or out of what is protected.

    Either is protected by its interpretation, where that is known, or by its words: what a request was understood as
    may be as wrong as what was heard.
    """
    if protected.within and said_intent is not None and said_intent == target_intent:
        return False
    return (
        (said_intent is not None and protected.name(said_intent))
        or (target_intent is not None and protected.name(target_intent))
        or protected.text(said)
        or protected.text(target)
    )

"""The closed sets of reasons in words for people. A test holds each table equal to its set."""

from __future__ import annotations

from collections.abc import Mapping

ACTIONS: Mapping[str, str] = {
    "rewrite": "Rewritten",
    "suggest": "Suggested",
    "pass": "Left alone",
}

#: rewrite.decision.Reason
REASONS: Mapping[str, str] = {
    "pinned": "a person pinned this rewrite",
    "learned": "many users corrected the request this way",
    "contextual": "in this context, most users meant this",
    "own_correction": "this user corrected it this way before",
    "own_request": "it is known to fail, and close to a request of this user's own that works",
    "near_good": "it looks like a broken form of a request that is known to work",
    "blocked": "a person blocked rewrites of it",
    "known_good": "it is known to work as it is",
    "not_failing": "it was said before, and is not known to fail",
    "held_back": "the engine explores: a rewrite that is known, or on trial, was not served this time",
    "no_candidate": "nothing close to it is known",
    "ambiguous": "two known requests are about as close",
    "unsure": "the closest known request is not likely enough to be what was meant",
    "guard_polarity": "the closest known request means something else (on for off, today for tomorrow)",
    "guard_number": "the closest known request has another number, time or amount",
    "guard_word": "the closest known request replaces a word that was understood",
    "guard_value": "the closest known request replaces a name or another value that was said clearly",
    "guard_protected": "the closest known request, or this one, buys, calls, sends, unlocks, deletes or the like",
    "guard_loop": "the closest known request is what just failed, or is itself rewritten",
    "empty": "nothing was said",
    "too_long": "it is longer than any request that is stored",
    "deadline": "no time was left to look further",
    "fault": "something broke inside",
}

#: What the guards of a pair say of one that a person pins
DOUBTS: Mapping[str, str] = {
    "guard_polarity": "TARGET means something else than SOURCE (on for off, today for tomorrow, a negation)",
    "guard_number": "TARGET has another number, time or amount than SOURCE",
}

#: rewrite.gate.GateReason
VERDICTS: Mapping[str, str] = {
    "kept": "kept",
    "too_few_users": "too few users said it, said the rewrite, or went from one to the other",
    "good_already": "the request works as it is",
    "held": "on before, and still likelier better than not",
    "many_tests": "better, but not surely so among as many pairs as were judged",
    "other_chosen": "another rewrite was chosen, of the request or of this text",
    "suspended": "turned bad while it was live, not long ago",
    "not_better": "not surely better than leaving the request alone",
    "often_wrong": "better than leaving the request alone, but too often not what was meant",
    "other_goal": "too few users for words that may as well be another wish",
    "guarded": "would flip a meaning or change a number",
    "failed_live": "did not help while it was live",
}

#: dialogue.sessions.BoundaryMethod
METHODS: Mapping[str, str] = {
    "given": "as given",
    "before": "as in the earlier bundle",
    "two_gaussians": "estimated: the silences fall into two heaps",
    "three_gaussians": "estimated: the silences fall into three heaps",
    "too_few_gaps": "the usual one: too few silences to estimate it",
    "one_gaussian": "the usual one: the silences form one heap",
    "no_valley": "the usual one: no valley parts the silences",
    "out_of_range": "the usual one: the silences part nowhere between 30 s and 2 h",
}

#: dialogue.parse.Reason, and the duplicates that the mining job finds
REJECTS: Mapping[str, str] = {
    "not_json": "not JSON",
    "not_an_object": "JSON, but not an object",
    "not_utf8": "not UTF-8",
    "too_long": "too long for a turn",
    "missing_field": "a required field is missing",
    "wrong_type": "a value of the wrong type",
    "out_of_range": "a value out of range",
    "bad_timestamp": "no timestamp",
    "duplicate_turn_id": "a turn id that came before",
}


def reject_in_words(reason: str) -> str:
    """`missing_field:user_id` in words."""
    kind, _, field = reason.partition(":")
    return REJECTS.get(kind, kind) + (f": {field}" if field else "")

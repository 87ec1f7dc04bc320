"""The assistant: what it does with a text, what it answers, and the line of its log that shows it.

It never knows what was meant. Where NLU is wrong it either does the wrong thing and says so cheerfully (a *silent*
failure, for certain texts always) or notices, and apologises or asks back. What it cannot take as anything, it notices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum, auto
from zlib import crc32

import numpy as np

from eval.simulation.arms import Answer
from eval.simulation.customers import BEGINNING, Customers, hashed, uniform
from eval.simulation.knobs import AssistantKnobs
from eval.simulation.population import NOT_UNDERSTOOD, Population

DEVICES = (("speaker", "false"), ("speaker", "false"), ("screen", "true"), ("phone", "true"), ("car", "false"))
APOLOGIES = (
    "Sorry, I don't know how to help with that.",
    "Sorry, I couldn't find that.",
    "Sorry, something went wrong.",
    "Sorry, I didn't catch that.",
)
QUESTIONS = ("Could you say that again?", "Did you mean something else?", "What would you like me to do?")
#: Seconds of speech for each letter, and of an answer.
LETTER_S, ANSWER_S = 0.07, 2.0
#: Mean confidence in a text that works, the half width around it, and the mean seconds of use by outcome.
CONFIDENT, CONFIDENCE_SPREAD = 0.9, 0.1
USED_S, DROPPED_S = 45.0, 3.0


class Chance(IntEnum):
    """What each of a turn's random numbers decides."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return count

    WORDING = auto()
    WORDING_PICK = auto()
    VOICE = auto()
    VOICE_PICK = auto()
    HOLD = auto()
    BARGE_IN = auto()
    CANCEL = auto()
    OUTCOME = auto()
    OUTCOME_WRONG = auto()
    ENGAGED = auto()
    SECONDS = auto()
    RATED = auto()
    ASR = auto()
    NLU = auto()
    REPLY = auto()
    REACTION = auto()
    GAP = auto()
    FOLLOW_UP = auto()
    LOOKALIKE = auto()
    LOOKALIKE_PICK = auto()


@dataclass(frozen=True, slots=True)
class Heard:
    """What the assistant makes of a text, with the pieces of JSON that a line of the log needs."""

    text: str
    frame: int
    silent: bool
    seconds: float  # how long it takes to say
    text_json: str
    nlu_json: str | None  # without its end, where the confidence goes; None: not understood
    reply: str


class Assistant:
    """Answers texts and writes what a log would show. Lines depend on nothing but the arguments."""

    def __init__(self, customers: Customers) -> None:
        self._population: Population = customers.population
        self._knobs: AssistantKnobs = customers.knobs.assistant
        self._seed = customers.seed
        self._propensity = 1 - customers.knobs.learning.holdback
        users = np.arange(len(customers.robot))
        device = (customers.trait("device", users) * len(DEVICES)).astype(np.int64)
        self._context = [f'"context":{{"device_type":"{DEVICES[d][0]}","has_screen":{DEVICES[d][1]}' for d in device]
        self._heard: dict[str, Heard] = {}

    def hears(self, text: str) -> Heard:
        """What the assistant makes of a text; looked up once."""
        if text not in self._heard:
            self._heard[text] = self._takes(text)
        return self._heard[text]

    def line(
        self,
        number: int,
        user: int,
        time: float,
        said: Heard,
        would: bool,
        sent: Heard,
        answer: Answer | None,
        success: bool,
        row: list[float],
    ) -> str:
        """The turn as one line of the log, in the format of docs/log-format.md."""
        knobs = self._knobs
        silent = sent.silent and not success
        parts = [
            f'{{"turn_id":"t{number:010d}","user_id":"u{user:07d}","timestamp":{time:.3f},"text":{sent.text_json}',
            f'"end_timestamp":{time + said.seconds:.3f}',
            f'"asr":{{"confidence":{self._confidence(would, row[Chance.ASR]):.2f}}}',
        ]
        if sent.nlu_json:
            parts.append(f'"nlu":{sent.nlu_json},"confidence":{self._confidence(success, row[Chance.NLU]):.2f}}}')
        parts.append(f'"response":{self._reply(sent, success or silent, row)}')
        if signals := self._signals(success, row):
            parts.append(f'"signals":{{{signals}}}')
        if row[Chance.OUTCOME] < knobs.outcome_known:
            told = (success or silent) != (row[Chance.OUTCOME_WRONG] < knobs.outcome_wrong)
            parts.append('"outcome":"success"' if told else '"outcome":"failure"')
        hour = int((time - BEGINNING) % 86_400.0 // 3_600)
        parts.append(f'{self._context[user]},"local_hour":{hour}}}')
        if answer:
            propensity = answer.propensity * (1.0 if answer.held_back else self._propensity)
            parts.append(
                f'"served":{{"original":{said.text_json},"rewrite":{sent.text_json},"source":"{answer.source}",'
                f'"rewrite_id":"{answer.rewrite_id}","propensity":{propensity:.6g}}}'
            )
        return ",".join(parts) + "}\n"

    def _takes(self, text: str) -> Heard:
        frame = self._population.frame_of(text)
        drawn = uniform(hashed(self._seed, "silent", np.array([crc32(text.encode())])))[0]
        nlu, reply = None, ""
        if frame != NOT_UNDERSTOOD:
            told = self._population.frames[frame]
            nlu = json.dumps(told, separators=(",", ":"))[:-1]
            reply = f"OK, {told['intent']}: {', '.join(map(str, told['slots'].values())) or told['domain']}."
        silent = frame != NOT_UNDERSTOOD and bool(drawn < self._knobs.silent)
        return Heard(text, frame, silent, 0.4 + LETTER_S * len(text), json.dumps(text), nlu, json.dumps(reply))

    def _reply(self, sent: Heard, content: bool, row: list[float]) -> str:
        if content:
            return sent.reply if sent.nlu_json else '"OK."'
        share = row[Chance.REPLY]
        if share < self._knobs.clarify:
            return f'"{QUESTIONS[int(share / self._knobs.clarify * len(QUESTIONS))]}"'
        return f'"{APOLOGIES[int(share * 1_000) % len(APOLOGIES)]}"'

    def _signals(self, success: bool, row: list[float]) -> str:
        knobs, found = self._knobs, []
        if row[Chance.BARGE_IN] < (knobs.barge_in_noise if success else knobs.barge_in):
            found.append('"barge_in":true')
        if row[Chance.CANCEL] < (knobs.cancel_noise if success else knobs.cancel):
            found.append('"cancelled":true')
        if row[Chance.ENGAGED] < knobs.engagement_known:
            mean = USED_S if success else DROPPED_S
            found.append(f'"engaged_s":{-mean * float(np.log1p(-row[Chance.SECONDS])):.1f}')
        if row[Chance.RATED] < knobs.rated:
            found.append(f'"rating":{1 if success else -1}')
        return ",".join(found)

    def _confidence(self, success: bool, share: float) -> float:
        mean = CONFIDENT if success else CONFIDENT - self._knobs.confidence_gap
        return min(0.99, max(0.01, mean + CONFIDENCE_SPREAD * (2 * share - 1)))

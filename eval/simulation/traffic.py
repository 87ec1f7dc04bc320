"""One round of traffic: sessions become turns, turns become lines of the log and rows of the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from eval.simulation.arms import Answer, Server
from eval.simulation.assistant import ANSWER_S, Assistant, Chance, Heard
from eval.simulation.customers import ROWS, Customers, Session
from eval.simulation.population import Goal, Recording, Sentence
from eval.simulation.truth import End, Kind, Noted, Pair, Said

FOLLOW_UPS = ("thank you", "stop", "volume up", "thanks", "volume down")
#: A silence is its median times the odds of a uniform number to the power of this (log-logistic).
GAP_SHAPE = 0.35
ROBOT_GAP_S = 3.0
#: Least silence between two sessions of one customer, in seconds.
REST_S = 3_600.0
#: Turns between two words to the listener.
TOLD_EVERY = 500


@dataclass(slots=True)
class _Sitting:
    """A session while it lasts."""

    user: int
    clock: float
    chance: NDArray[np.float64]
    turns: int = 0

    def row(self) -> list[float]:
        """The random numbers of the turn to come."""
        row: list[float] = self.chance[self.turns % ROWS].tolist()
        return row


@dataclass(frozen=True, slots=True)
class _Utterance:
    """What is said: which sentence of which goal, and the recording that is heard."""

    of: int  # the goal whose words they are
    sentence: int
    recording: Recording


class _Enough(Exception):
    """The round has its turns."""


class Traffic:
    """The turns of one round. `first` is the number of its first turn in the whole simulation."""

    def __init__(
        self, customers: Customers, round_: int, servers: Sequence[Server], arm_of: NDArray[np.int64], first: int
    ) -> None:
        self.noted = Noted()
        self._customers, self._round, self._first = customers, round_, first
        self._servers = [servers[arm] for arm in arm_of.tolist()]
        self._assistant = Assistant(customers)
        self._goals: tuple[Goal, ...] = customers.population.goals
        self._hopeless = [not goal.satisfiable for goal in self._goals] + [False]  # the last: a follow-up's
        self._voice, self._patience = customers.voice.tolist(), customers.patience.tolist()
        self._robot, self._learned = customers.robot.tolist(), customers.learned.tolist()
        self._habits = customers.habits(round_).tolist()
        self._flips = customers.flips(round_)
        flipping = customers.trait("flip", np.arange(len(arm_of))) < customers.knobs.preferences.flip_users
        self._flipping = flipping.tolist()
        knobs = customers.knobs.reactions
        weights = np.array([knobs.repeat, knobs.rephrase, knobs.switch, knobs.abandon])
        self._repeat, self._rephrase, self._switch, _ = (np.cumsum(weights) / weights.sum()).tolist()
        self._free: dict[int, float] = {}
        self._visit = self._session = 0

    def run(self, turns: int, log: TextIO, unseen: TextIO | None, told: Callable[[int], None]) -> Noted:
        """So many turns, written to `log`; those of users who are not learned from to `unseen`."""
        self._log, self._unseen, self._turns, self._told = log, unseen or log, turns, told
        try:
            for session in self._customers.sessions(self._round):
                self._sit(session)
        except _Enough:
            told(turns % TOLD_EVERY)
        return self.noted

    def _sit(self, session: Session) -> None:
        self._session += 1
        start = max(session.start, self._free.get(session.user, 0.0))
        sitting = _Sitting(session.user, start, session.chance)
        if self._robot[session.user]:
            self._repeat_like_a_robot(sitting)
        else:
            self._come_for(sitting, session.wants)
        self._free[session.user] = sitting.clock + REST_S

    def _repeat_like_a_robot(self, sitting: _Sitting) -> None:
        goal, row = self._habits[sitting.user][0], sitting.row()
        utterance = self._says(sitting.user, goal, self._own_sentence(sitting.user, goal), row)
        for _ in range(self._customers.knobs.traffic.robot_turns):
            self._visit += 1
            success = self._turn(sitting, goal, Kind.ROBOT, utterance, sitting.row())
            self._end(End.REACHED if success else End.LEFT)
            sitting.clock += ROBOT_GAP_S

    def _come_for(self, sitting: _Sitting, wants: list[int]) -> None:
        """Visit after visit, until all is done or the customer leaves."""
        before: int | None = None  # the goal that was just reached
        wishes = self._customers.knobs.preferences
        left = list(reversed(wants))
        while left:
            goal, row = left.pop(), sitting.row()
            if before is not None and row[Chance.LOOKALIKE] < wishes.lookalike:
                alike = self._customers.population.lookalikes[before]
                goal = alike[int(row[Chance.LOOKALIKE_PICK] * len(alike))] if alike else goal
            end = self._pursue(sitting, goal)
            before = goal if end is End.REACHED else None
            if end is End.LEFT:
                return
            # A session that is out of random numbers begins again with the first: on and on, if none says to leave.
            if end is End.SWITCHED and not left and sitting.turns < ROWS:
                own = self._habits[sitting.user]
                left.append(own[int(row[Chance.LOOKALIKE_PICK] * len(own))])

    def _pursue(self, sitting: _Sitting, goal: int) -> End:
        """Tries at one goal, until it is reached or given up."""
        user, knobs = sitting.user, self._customers.knobs.reactions
        self._visit += 1
        words, row = goal, sitting.row()
        if goal in self._flips and self._flipping[user]:
            goal = self._flips[goal]  # said in the words of another goal, as most people do now
        sentence = self._own_sentence(user, words)
        if row[Chance.WORDING] >= self._customers.knobs.speech.wording:
            sentence = int(row[Chance.WORDING_PICK] * len(self._goals[words].sentences))
        utterance, tries = self._says(user, words, sentence, row), 0
        while True:
            tries += 1
            if self._turn(sitting, goal, Kind.REQUEST, utterance, row):
                self._end(End.REACHED)
                self._after_success(sitting, row)
                return End.REACHED
            sitting.clock += _gap(knobs.retry_gap_s, row[Chance.GAP])
            end = self._reaction(tries, self._patience[user], row[Chance.REACTION])
            if end is not End.NOT_YET:
                self._end(end)
                return end
            again, row = row[Chance.REACTION] < self._repeat, sitting.row()
            if again:
                utterance = self._says(user, utterance.of, utterance.sentence, row)
            else:
                utterance = self._says_otherwise(user, goal, utterance, row)

    def _reaction(self, tries: int, patience: int, share: float) -> End:
        if share >= self._switch:
            return End.LEFT
        if share >= self._rephrase:
            return End.SWITCHED
        return End.GAVE_UP if tries >= patience else End.NOT_YET

    def _after_success(self, sitting: _Sitting, row: list[float]) -> None:
        knobs = self._customers.knobs.reactions
        if row[Chance.FOLLOW_UP] < knobs.follow_up:
            sitting.clock += _gap(knobs.retry_gap_s, row[Chance.GAP])
            text = FOLLOW_UPS[int(row[Chance.FOLLOW_UP] / knobs.follow_up * len(FOLLOW_UPS))]
            self._turn(sitting, -1, Kind.FOLLOW_UP, text, sitting.row())
        sitting.clock += _gap(knobs.visit_gap_s, row[Chance.GAP])

    def _own_sentence(self, user: int, goal: int) -> int:
        """The customer's own way of saying a goal. (The hash of a tuple of numbers is the same in every process.)"""
        return hash((self._voice[user], goal)) % len(self._goals[goal].sentences)

    def _says(self, user: int, goal: int, sentence: int, row: list[float]) -> _Utterance:
        recordings = self._goals[goal].sentences[sentence].recordings
        if row[Chance.VOICE] < self._customers.knobs.speech.voice:
            heard = recordings[hash((self._voice[user], goal, sentence)) % len(recordings)]
        else:
            heard = recordings[int(row[Chance.VOICE_PICK] * len(recordings))]
        return _Utterance(goal, sentence, heard)

    def _says_otherwise(self, user: int, goal: int, before: _Utterance, row: list[float]) -> _Utterance:
        """In another sentence of the goal; where it has only one, so that something else is heard."""
        sentences: tuple[Sentence, ...] = self._goals[goal].sentences
        if before.of != goal:
            return self._says(user, goal, self._own_sentence(user, goal), row)
        if len(sentences) > 1:
            step = 1 + int(row[Chance.WORDING_PICK] * (len(sentences) - 1))
            return self._says(user, goal, (before.sentence + step) % len(sentences), row)
        recordings = sentences[0].recordings
        others = [each for each in recordings if each.text != before.recording.text] or recordings
        return _Utterance(goal, 0, others[int(row[Chance.VOICE_PICK] * len(others))])

    def _turn(
        self, sitting: _Sitting, goal: int, kind: Kind, said: _Utterance | str, row: list[float]
    ) -> bool:
        """One turn: heard, perhaps rewritten, answered, logged and noted; whether it succeeded."""
        population, user = self._customers.population, sitting.user
        if isinstance(said, str):
            heard, would = self._assistant.hears(said), True
            words = Said(self._session, -1, -1)
        else:
            words = Said(self._session, said.of, said.sentence)
            heard = self._assistant.hears(population.texts[said.recording.text])
            own = said.of == goal
            would = said.recording.understood if own else population.reaches(heard.text, goal)
        answer = self._servers[user].answer(heard.text, f"u{user:07d}")
        if answer and row[Chance.HOLD] < self._customers.knobs.learning.holdback:
            answer = None
        sent, success = heard, would
        rewritten = answer is not None and not answer.held_back
        if answer and rewritten:
            sent = self._assistant.hears(answer.text)
            success = goal >= 0 and population.reaches(sent.text, goal)
            self._note_pair(user, heard, answer, would, success)
        self._write(sitting, heard, would, sent, answer, success, row)
        self.noted.rows.append(
            (user, self._visit, kind, goal, self._hopeless[goal], rewritten, would, success, End.NOT_YET)
        )
        self.noted.said.append(words)
        if len(self.noted.rows) >= self._turns:
            raise _Enough
        return success

    def _write(
        self,
        sitting: _Sitting,
        heard: Heard,
        would: bool,
        sent: Heard,
        answer: Answer | None,
        success: bool,
        row: list[float],
    ) -> None:
        number = self._first + len(self.noted.rows)
        file = self._log if self._learned[sitting.user] else self._unseen
        file.write(
            self._assistant.line(number, sitting.user, sitting.clock, heard, would, sent, answer, success, row)
        )
        sitting.clock += heard.seconds + ANSWER_S
        sitting.turns += 1
        if number % TOLD_EVERY == 0:
            self._told(TOLD_EVERY)

    def _note_pair(self, user: int, heard: Heard, answer: Answer, would: bool, success: bool) -> None:
        key = (heard.text, answer.text, answer.reason)
        pair = self.noted.pairs.get(key)
        if pair is None:
            pair = self.noted.pairs[key] = Pair(heard.text, answer.text, answer.source.value, answer.reason)
        pair.add(user, would, success)

    def _end(self, end: End) -> None:
        """The visit ended with the turn that was noted last."""
        self.noted.rows[-1] = (*self.noted.rows[-1][:-1], end)


def _gap(median: float, share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return float(median * (share / (1 - share)) ** GAP_SHAPE)

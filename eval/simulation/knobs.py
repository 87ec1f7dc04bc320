"""The knobs of a simulation, split by what they concern. `KNOBS` lists them with unit, range and where they come from.

"Set" means: no public log has it, and the value was chosen by hand so that the log looks like those that are public.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from eval.simulation.errors import KnobError

SET = "set"
SHARE = "share"


def _knob(default: float, unit: str, low: float, high: float, meaning: str, origin: str = SET) -> Any:
    told = {"unit": unit, "low": low, "high": high, "meaning": meaning, "origin": origin}
    return field(default=default, metadata=told)


def _share(default: float, meaning: str, origin: str = SET) -> Any:
    return _knob(default, SHARE, 0, 1, meaning, origin)


class _Checked:
    """Checks each field against its range when made."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):  # type: ignore[arg-type]
            value, told = getattr(self, each.name), each.metadata
            if not told["low"] <= value <= told["high"]:  # also refuses nan
                raise KnobError(
                    f"{each.name} is {value}: {told['low']:g} to {told['high']:g} ({told['unit']}) is wanted"
                )


@dataclass(frozen=True)
class TrafficKnobs(_Checked):
    """How much is said, by whom, and when."""

    turns: int = _knob(50_000, "turns", 1, 1e9, "turns in all rounds together")
    users: int = _knob(1_000, "users", 1, 1e7, "customers, over all arms")
    rounds: int = _knob(5, "rounds", 1, 1_000, "rounds of traffic; the engine learns after each but the last")
    round_days: float = _knob(14.0, "days", 0.01, 1_000, "length of a round; its traffic fills at most this")
    activity: float = _knob(1.0, "log-deviation", 0, 3, "how unequal customers are: spread of the log-normal activity")
    visits: float = _knob(1.6, "goals a session", 1, 10, "mean number of goals in a session (geometric)")
    robots: float = _share(0.002, "customers that are programs and repeat one request; in no figure of the report")
    robot_turns: int = _knob(20, "turns", 1, 1_000, "how often a robot says it in a session")


@dataclass(frozen=True)
class PreferenceKnobs(_Checked):
    """What customers want."""

    unsatisfiable: float = _knob(0.1, SHARE, 0, 0.9, "goals that no recording of theirs ever reached")
    zipf: float = _knob(1.0, "exponent", 0, 3, "popularity of the goal of rank r is r to the minus this", "Zipf's law")
    habit: float = _share(0.5, "visits that go to one of the customer's own few goals")
    habits: int = _knob(6, "goals", 1, 100, "how many goals of their own customers have")
    lookalike: float = _share(0.05, "visits after a success that want another goal said in nearly the same words")
    drift: float = _share(0.05, "ranks of popularity, and habits, that change from a round to the next")
    flip_round: int = _knob(0, "round", 0, 1_000, "round from which some requests mean something else; 0: never")
    flip_goals: float = _share(0.1, "goals whose words mean another goal from then on")
    flip_users: float = _share(0.8, "customers for whom they do")


@dataclass(frozen=True)
class SpeechKnobs(_Checked):
    """How customers say it and are heard."""

    wording: float = _share(0.7, "visits that begin with the customer's own sentence for the goal")
    voice: float = _share(0.8, "turns in which a customer is heard as always with this sentence")


@dataclass(frozen=True)
class ReactionKnobs(_Checked):
    """What customers do next. The four weights say what follows a failure; what counts is their proportion."""

    patience: float = _knob(3.0, "turns", 1, 20, "mean tries at one goal before a customer gives it up")
    repeat: float = _knob(0.25, "weight", 0, 100, "the same sentence again", "saif: 127 of 428 corrections")
    rephrase: float = _knob(0.45, "weight", 0, 100, "another sentence of the goal; where it has one only, said anew"
                            " and heard otherwise", "saif: 301 of 428 corrections")  # fmt: skip
    switch: float = _knob(0.1, "weight", 0, 100, "another goal at once")
    abandon: float = _knob(0.2, "weight", 0, 100, "the session ends")
    follow_up: float = _share(0.1, "successes that a thank-you, a stop or a word on the volume follows")
    retry_gap_s: float = _knob(6.0, "seconds", 0.1, 3_600, "median silence before the next try (log-logistic)")
    visit_gap_s: float = _knob(40.0, "seconds", 0.1, 3_600, "median silence before the next goal (log-logistic)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.repeat + self.rephrase + self.switch + self.abandon > 0:
            raise KnobError("repeat, rephrase, switch and abandon are all 0: one must be above 0")


@dataclass(frozen=True)
class AssistantKnobs(_Checked):
    """What the assistant does with a turn, and what its log shows of it."""

    silent: float = _share(0.4, "wrong interpretations that are acted on as if they were right; fixed for a text")
    clarify: float = _share(0.2, "other failures that are answered with a question instead of an apology")
    outcome_known: float = _share(0.4, "turns with an outcome; a silent failure has `success`")
    outcome_wrong: float = _share(0.02, "outcomes that are the opposite of that")
    barge_in: float = _share(0.3, "failures that the customer cuts off")
    barge_in_noise: float = _share(0.03, "successes that look cut off", "dstc1: 8 % of all turns are")
    cancel: float = _share(0.08, "failures that the customer cancels")
    cancel_noise: float = _share(0.005, "successes that are cancelled")
    engagement_known: float = _share(0.3, "turns with seconds of use: long after a success, short after a failure")
    rated: float = _share(0.005, "turns with a rating; it is right")
    confidence_gap: float = _share(0.15, "by how much the mean confidence in a failing text is lower")


@dataclass(frozen=True)
class LearningKnobs(_Checked):
    """What the engine learns from, and how it is served."""

    window: int = _knob(0, "rounds", 0, 1_000, "rounds whose log is learned from, the latest, each time afresh; 0: the"
                        " latest is added to what was learned before")  # fmt: skip
    learn_users: float = _share(1.0, "customers whose log is learned from; the others are served all the same")
    holdback: float = _knob(0.0, SHARE, 0, 0.99, "rewrites that are not served, at random; the rest is the propensity")
    explore: float = _knob(0.0, SHARE, 0, 0.5, "requests for which the engine holds a rewrite of its table back")
    trial: float = _share(0.0, "requests, at most, for which the engine serves a rewrite that is on trial")


@dataclass(frozen=True)
class Knobs:
    """Everything that a simulation depends on beside its recordings, the seed and the arms."""

    traffic: TrafficKnobs = TrafficKnobs()
    preferences: PreferenceKnobs = PreferenceKnobs()
    speech: SpeechKnobs = SpeechKnobs()
    reactions: ReactionKnobs = ReactionKnobs()
    assistant: AssistantKnobs = AssistantKnobs()
    learning: LearningKnobs = LearningKnobs()

    def having(self, **values: float) -> Knobs:
        """These knobs with some turned: `Knobs().having(zipf=0.8, users=500)`. Raises KnobError."""
        groups: dict[str, dict[str, float]] = {}
        for name, value in values.items():
            if name not in KNOBS:
                raise KnobError(f"there is no knob {name!r}: known are {', '.join(KNOBS)}")
            whole = KNOBS[name].whole and math.isfinite(value)  # an infinite number is out of range, and told so
            if whole and value != int(value):
                raise KnobError(f"{name} is {value}: a whole number is wanted")
            groups.setdefault(KNOBS[name].group, {})[name] = int(value) if whole else float(value)
        turned = {group: dataclasses.replace(getattr(self, group), **told) for group, told in groups.items()}
        return dataclasses.replace(self, **turned)

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Plain values by group, for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class KnobFacts:
    """What is known of one knob."""

    group: str
    name: str
    whole: bool
    default: float
    unit: str
    low: float
    high: float
    meaning: str
    origin: str


def _facts() -> dict[str, KnobFacts]:
    found = {}
    for group in dataclasses.fields(Knobs):
        hints = get_type_hints(kind := type(getattr(Knobs, group.name)))
        for each in dataclasses.fields(kind):
            whole = hints[each.name] is int
            found[each.name] = KnobFacts(group.name, each.name, whole, float(str(each.default)), **each.metadata)
    return found


#: Every knob by its name.
KNOBS = _facts()


def parse_settings(settings: Iterable[str]) -> dict[str, float]:
    """Knobs from texts such as "zipf=0.8". Raises KnobError."""
    found = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise KnobError(f"{setting!r} came: knob=number is wanted, such as zipf=0.8") from error
    return found

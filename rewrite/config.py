"""The parameters of the mining job, split by what they concern. Each is checked once, when it is made."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from dialogue.canonical import DEFAULT_POLITENESS, DEFAULT_WAKE_WORDS
from rewrite.errors import ConfigError


@dataclass(frozen=True)
class TextConfig:
    """How texts are made canonical."""

    wake_words: tuple[str, ...] = DEFAULT_WAKE_WORDS
    politeness: tuple[str, ...] = DEFAULT_POLITENESS


@dataclass(frozen=True)
class LogConfig:
    """How the log is read and cut into sessions."""

    reject_limit: float = 0.05  # largest share of bad records
    session_gap_s: float | None = None  # silence that ends a session; None: estimated from the log

    def __post_init__(self) -> None:
        _check(0 <= self.reject_limit <= 1, "log.reject_limit", self.reject_limit, "a share from 0 to 1")
        gap = self.session_gap_s
        _check(gap is None or gap > 0, "log.session_gap_s", gap, "seconds above 0")


@dataclass(frozen=True)
class GateConfig:
    """When a rewrite is safe enough to be kept; see `rewrite.gate`."""

    min_users: int = 5  # distinct users behind the source, the target and every hop between them
    user_cap: float = 3.0  # turns of one user that count for one text or hop
    confidence: float = 0.90  # chance of being better from which a rewrite is turned on; of each bound that is told
    keep_confidence: float = 0.50  # chance below which one that is on is turned off
    false_discoveries: float = 0.05  # expected share of what is turned on that is no better than leaving alone
    margin: float = 0.10  # by which a rewrite must be better
    rewritten_floor: float = 0.50  # success that a rewrite must have: right more often than wrong
    good_floor: float = 0.70  # lower bound of success from which a text is known to be good
    personal_hops: int = 2  # times a user must have made the same correction for it to be theirs
    suspension_days: float = 30.0  # for which a rewrite that turned bad is not tried again; doubled each time

    def __post_init__(self) -> None:
        _check(1 <= self.min_users <= 10**9, "gate.min_users", self.min_users, "1 or more, to a billion")
        _check(0.1 <= self.user_cap < 1e9, "gate.user_cap", self.user_cap, "a weight from 0.1 to below a billion")
        _check(0.5 <= self.confidence < 1, "gate.confidence", self.confidence, "from 0.5 to below 1")
        keep = self.keep_confidence
        _check(0 <= keep <= self.confidence, "gate.keep_confidence", keep, "from 0 to gate.confidence")
        _check(0 < self.false_discoveries < 1, "gate.false_discoveries", self.false_discoveries, "a share, above 0")
        _check(0 <= self.suspension_days < 1e6, "gate.suspension_days", self.suspension_days, "days, 0 or more")
        _check(0 <= self.margin < 1, "gate.margin", self.margin, "from 0 to below 1")
        _check(0 <= self.rewritten_floor < 1, "gate.rewritten_floor", self.rewritten_floor, "from 0 to below 1")
        _check(0.5 <= self.good_floor < 1, "gate.good_floor", self.good_floor, "from 0.5 to below 1")
        _check(self.personal_hops >= 1, "gate.personal_hops", self.personal_hops, "1 or more")


@dataclass(frozen=True)
class DecayConfig:
    """How fast evidence ages: after a half-life, a turn counts half. None: never."""

    half_life_days: float | None = 90.0
    live_half_life_days: float | None = 14.0  # of turns that were rewritten: they keep coming, and show what went stale

    def __post_init__(self) -> None:
        for name in ("half_life_days", "live_half_life_days"):
            days = getattr(self, name)
            _check(days is None or 0.01 <= days < 1e6, f"decay.{name}", days, "days, 0.01 or more")


@dataclass(frozen=True)
class ChainConfig:
    """What is an edge of the chain; see `rewrite.graph`."""

    hub_sources: int = 20  # a state that at least so many others lead to is a hub ...
    hub_share: float = 0.25  # ... where it is less than this share of where most of them lead
    borrowed_turns: float = 1.0  # what other texts of the same interpretation say of a text counts as so many turns

    def __post_init__(self) -> None:
        _check(self.hub_sources >= 1, "chain.hub_sources", self.hub_sources, "1 or more")
        _check(0 <= self.hub_share <= 1, "chain.hub_share", self.hub_share, "a share from 0 to 1")
        _check(0 <= self.borrowed_turns < 1e6, "chain.borrowed_turns", self.borrowed_turns, "turns, 0 or more")


@dataclass(frozen=True)
class HistoryConfig:
    """How much of each user's own successful requests is kept."""

    per_user: int = 200

    def __post_init__(self) -> None:
        _check(self.per_user >= 0, "history.per_user", self.per_user, "0 or more")


@dataclass(frozen=True)
class ResourceConfig:
    """What the job may use. Never changes what is learned."""

    threads: int = 2
    workers: int = 1  # processes; more than one needs a main module that can be imported
    memory_limit: str = "1GB"  # DuckDB's; the rest of the job adds some 300 MB a worker

    def __post_init__(self) -> None:
        _check(1 <= self.threads <= 1024, "resources.threads", self.threads, "from 1 to 1024")
        _check(self.workers >= 1, "resources.workers", self.workers, "1 or more")
        sound = re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", self.memory_limit)
        _check(sound is not None, "resources.memory_limit", self.memory_limit, 'an amount such as "500MB" or "2GB"')


@dataclass(frozen=True)
class LearnConfig:
    """All parameters of the mining job."""

    seed: int = 0
    text: TextConfig = field(default_factory=TextConfig)
    log: LogConfig = field(default_factory=LogConfig)
    decay: DecayConfig = field(default_factory=DecayConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    @classmethod
    def from_file(cls, path: str | Path) -> LearnConfig:
        """The configuration in a TOML (`.toml`) or JSON file; what it leaves out keeps its default."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except FileNotFoundError as error:
            raise ConfigError(f"no configuration file at {path}: give an existing TOML or JSON file") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"the configuration {path} is not readable TOML or JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ConfigError(f"the configuration {path} is not a table of parameters")
        return _from_mapping(cls, raw, "")

    @classmethod
    def from_parameters(cls, raw: Mapping[str, Any]) -> LearnConfig:
        """The configuration that a bundle was learned with, as its manifest has it."""
        return _from_mapping(cls, raw, "")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))


_Config = TypeVar("_Config")


def _from_mapping(kind: type[_Config], raw: Mapping[str, Any], prefix: str) -> _Config:
    hints = get_type_hints(kind)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        wanted = ", ".join(prefix + name for name in hints)
        raise ConfigError(f"unknown parameter {prefix}{unknown[0]}: known are {wanted}")
    values = {name: _value(hints[name], value, prefix + name) for name, value in raw.items()}
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        _check(isinstance(value, Mapping), name, value, "a table of parameters")
        return _from_mapping(cast(type[Any], hint), value, name + ".")
    if hint == tuple[str, ...]:
        _check(
            isinstance(value, list) and all(isinstance(each, str) for each in value), name, value, "a list of strings"
        )
        return tuple(value)
    if value is None and hint == float | None:
        return None
    accepted: tuple[type, ...] = {int: (int,), float: (int, float), str: (str,)}.get(hint, (int, float))
    _check(isinstance(value, accepted) and not isinstance(value, bool), name, value, _WANTED.get(hint, "a number"))
    return value


_WANTED = {int: "a whole number", float: "a number", str: "a string"}


def _check(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}, but must be {wanted}")

"""The configuration: what a file says is what is used, and what it says wrongly is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewrite.config import GateConfig, HistoryConfig, LearnConfig, LogConfig, ResourceConfig
from rewrite.errors import ConfigError


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path):
    path = tmp_path / "learn.toml"
    path.write_text(
        'seed = 7\n[text]\nwake_words = ["hey robot"]\n[gate]\nmin_users = 3\nmargin = 0\n[log]\nsession_gap_s = 60\n'
    )
    config = LearnConfig.from_file(path)
    assert (config.seed, config.gate.min_users, config.gate.margin, config.log.session_gap_s) == (7, 3, 0, 60)
    assert config.text.wake_words == ("hey robot",)
    assert config.gate.confidence == GateConfig().confidence
    assert config.history == HistoryConfig()


def test_toml_and_json_say_the_same_and_plain_values_come_back(tmp_path: Path):
    path = tmp_path / "learn.json"
    path.write_text(json.dumps(LearnConfig(gate=GateConfig(min_users=2)).as_dict()))
    assert LearnConfig.from_file(path) == LearnConfig(gate=GateConfig(min_users=2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gate]\nmin_user = 3", ["gate.min_user", "gate.min_users"]),
        ("[gate]\nmin_users = 2.5", ["gate.min_users", "2.5", "whole number"]),
        ("[gate]\nmin_users = true", ["gate.min_users", "whole number"]),
        ("[gate]\nmin_users = 0", ["gate.min_users", "1 or more"]),
        ("[gate]\nconfidence = 1.0", ["gate.confidence", "below 1"]),
        ("[log]\nsession_gap_s = -1", ["log.session_gap_s", "above 0"]),
        ("[log]\nsession_gap_s = 'x'", ["log.session_gap_s", "a number"]),
        ("[text]\nwake_words = 'alexa'", ["text.wake_words", "list of strings"]),
        ("gate = 3", ["gate", "table of parameters"]),
        ("x =", ["not readable"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]):
    path = tmp_path / "learn.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        LearnConfig.from_file(path)
    for word in words:
        assert word in str(caught.value)


def test_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="no configuration file"):
        LearnConfig.from_file(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda: GateConfig(user_cap=0),
        lambda: GateConfig(margin=1),
        lambda: GateConfig(good_floor=0),
        lambda: GateConfig(personal_hops=0),
        lambda: LogConfig(reject_limit=2),
        lambda: HistoryConfig(per_user=-1),
        lambda: ResourceConfig(workers=0),
    ],
)
def test_what_is_out_of_range_is_refused_when_it_is_made(make):
    with pytest.raises(ConfigError, match="must be"):
        make()

"""The commands, through typer's runner: what they print, and what they end with."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from rewrite.cli import app
from rewrite.publish import locked

USERS = 6
DAY = 86_400.0
GONE_WRONG = "Sorry, I couldn't find that."


def turn(number: int, user: str, at: float, text: str, response: str, **more: Any) -> dict[str, Any]:
    return {"turn_id": f"t{number:04}", "user_id": user, "timestamp": at, "text": text, "response": response, **more}


def small_log() -> list[dict[str, Any]]:
    """6 users fail with "play maj and dragons" and say it right 8 seconds later; 6 others have no trouble."""
    records: list[dict[str, Any]] = []
    for day in range(3):
        for user in range(USERS):
            at = 1_760_000_000 + DAY * day + 1_000 * user
            played = {"signals": {"engaged_s": 90}}
            for text, later, response, more in (
                ("play maj and dragons", 0, GONE_WRONG, {}),
                ("play imagine dragons", 8, "Playing.", played),
                ("turn on the lights", 5_000, "OK.", {}),
            ):
                records.append(turn(len(records), f"fails{user}", at + later, text, response, **more))
            records.append(turn(len(records), f"fine{user}", at, "Play Imagine [/]Dragons!", "Playing.", **played))
    return records


def write_log(path: Path, records: list[dict[str, Any]], *raw: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in [*map(json.dumps, records), *raw]), encoding="utf-8")
    return path


def run(*words: object, ends_with: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == ends_with, result.output
    return result


def run_json(*words: object, ends_with: int = 0) -> Any:
    return json.loads(run(*words, "--json", ends_with=ends_with).stdout)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.jsonl", small_log())


@pytest.fixture(scope="module")
def bundle(log: Path) -> Path:
    out = log.with_name("bundle")
    run("learn", log, "--out", out)
    return out


def test_check_counts_and_names_what_is_bad(tmp_path: Path) -> None:
    bad = ['{"turn_id": "x", "timestamp": 1, "text": "[bold]hm[/]\\u001b[2J"}', "nonsense \x1b[31m"]
    log = write_log(tmp_path / "log.jsonl", small_log(), *bad)
    kept = tmp_path / "bad.jsonl"

    facts = run_json("check", log, "--rejects", kept)

    assert (facts["turns"], facts["users"], facts["sessions"], facts["records"]) == (72, 12, 54, 74)
    assert (facts["failing"], facts["rephrased"]) == (18, 18)
    assert facts["failing_share"] == facts["rephrased_share"] == 0.25
    assert facts["rejected"] == {"missing_field:user_id": 1, "not_json": 1}
    assert (facts["session_gap_s"], facts["session_gap_method"]) == (300.0, "too_few_gaps")
    assert facts["sound"] is True
    assert facts["rejected_share"] == 2 / 74
    gaps = {row["from_s"]: row["gaps"] for row in facts["gaps"] if row["gaps"]}
    assert gaps == {3.0: 18, 3_600.0: 18, 43_200.0: 24}
    assert [json.loads(line)["line"] for line in kept.read_text(encoding="utf-8").splitlines()] == [73, 74]

    told = run("check", log).stdout
    assert "a required field is missing: user_id" in told
    assert "log.jsonl:74" in told
    assert "[bold]hm[/]" in told
    assert "\\u001b[31m" in told  # not sent to the terminal as it is
    assert "sessions end here → 3 min to 10 min" in told
    assert "\x1b" not in told


def test_check_ends_with_3_above_the_limit_and_still_counts(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", small_log(), *["{}"] * 18)

    facts = run_json("check", log, ends_with=3)
    assert facts["sound"] is False
    assert facts["turns"] == 72
    assert run_json("check", log, "--reject-limit", "0.2", "--session-gap", "60")["session_gap_method"] == "given"
    assert "18 of 90 (20.0%) records break the log format; at most 5.0% may" in run("check", log, ends_with=3).stderr

    nothing_good = write_log(tmp_path / "bad.jsonl", [], "{}", "[]")
    assert run_json("check", nothing_good, ends_with=3)["rejected"] == {"missing_field:turn_id": 1, "not_an_object": 1}


def test_learn_says_what_it_made_and_what_to_do_next(log: Path, tmp_path: Path) -> None:
    made = run_json("learn", log, "--out", tmp_path / "bundle", "--seed", "7", "--workers", "2", "--threads", "1")
    assert made["verdicts"] == {"kept": 1}
    assert {name: made["counts"][name] for name in ("rewrites", "turns", "users")} == {
        "rewrites": 1,
        "turns": 72,
        "users": 12,
    }
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["seed"] == 7
    assert manifest["parameters"]["resources"] == {"threads": 1, "workers": 1, "memory_limit": "1GB"}

    result = run("learn", log, "--out", tmp_path / "bundle")
    assert "1 rewrite for everyone" in result.stdout
    assert f"Next: rewrite show {tmp_path / 'bundle'}" in result.stdout
    assert "✓ reading" in result.stderr
    assert "✓ publishing" in result.stderr


def test_learn_hints_where_no_rewrite_was_kept(log: Path, tmp_path: Path) -> None:
    result = run("learn", log, "--out", tmp_path / "bundle", "--min-users", "13")
    assert "the log has 12 users, and a rewrite needs 13" in result.stderr
    assert "--min-users 2" in result.stderr
    assert "No rewrite was learned" in run("show", tmp_path / "bundle").stdout


def test_learn_options_beat_the_configuration_and_previous_is_carried(log: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "learn.toml").write_text("seed = 3\n[gate]\nmin_users = 4\nmargin = 0.2\n", encoding="utf-8")
    earlier = tmp_path / "earlier"
    run("learn", log, "--out", earlier)
    run("block", earlier, "turn on the lights")

    out = tmp_path / "bundle"
    run("learn", log, "--out", out, "--config", tmp_path / "learn.toml", "--min-users", "6", "--previous", earlier)

    parameters = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["parameters"]
    assert (parameters["seed"], parameters["gate"]["min_users"], parameters["gate"]["margin"]) == (3, 6, 0.2)
    assert run_json("query", out, "turn on the lights")["reason"] == "blocked"


def test_query_says_what_and_why(bundle: Path) -> None:
    decision = run_json("query", bundle, "Play", "maj and dragons", "--context", '{"device_type": "car"}')
    assert (decision["action"], decision["reason"], decision["source"]) == ("rewrite", "learned", "precomputed")
    assert decision["original"] == "Play maj and dragons"
    assert decision["text"] == "Play Imagine [/]Dragons!"
    assert run_json("query", bundle, "play maj and dragons", "--user", "fails1")["reason"] == "own_correction"

    told = run("query", bundle, "play maj and dragons").stdout
    assert "→ Play Imagine [/]Dragons!" in told
    assert "Rewritten: many users corrected the request this way." in told
    assert "Corrected by       6 users" in told
    left = run("query", bundle, "turn on the lights").stdout
    assert "Left alone: it is known to work as it is." in left


def test_texts_from_outside_print_harmlessly(bundle: Path) -> None:
    told = run("query", bundle, "[bold]x[/] \x1b[2J\x9b5m\u202e y").stdout
    assert "[bold]x[/] \\u001b[2J\\u009b5m\\u202e y" in told
    answer = run("query", bundle, "a \x1b \x9b \u202e", "--json").stdout
    assert json.loads(answer)["original"] == "a \x1b \x9b \u202e"
    assert not {"\x1b", "\x9b", "\u202e"} & set(answer)


def test_an_update_goes_on_with_the_parameters_of_before(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", small_log())
    run_json("learn", log, "--out", tmp_path / "a", "--min-users", "2", "--half-life", "30")
    assert run_json("learn", log, "--out", tmp_path / "b", "--previous", tmp_path / "a")["counts"]["rewrites"] == 1
    kept = json.loads((tmp_path / "b" / "manifest.json").read_text())["parameters"]
    assert (kept["gate"]["min_users"], kept["decay"]["half_life_days"]) == (2, 30.0)
    run_json("learn", log, "--out", tmp_path / "c", "--previous", tmp_path / "a", "--min-users", "7")
    kept = json.loads((tmp_path / "c" / "manifest.json").read_text())["parameters"]
    assert (kept["gate"]["min_users"], kept["decay"]["half_life_days"]) == (7, 30.0)


def test_show_lists_what_was_learned_with_its_evidence(bundle: Path) -> None:
    shown = run_json("show", bundle)
    (row,) = shown["rows"]
    assert (shown["total"], shown["counts"]["rewrites"], shown["log"]["turns"]) == (1, 1, 72)
    assert (row["source"], row["target"]) == ("play maj and dragons", "play imagine dragons")
    assert (row["route_users"], round(row["source_turns"])) == (6, 18)  # aged by a day or two
    assert row["alone_upper"] < 0.2 < 0.7 < row["rewritten_lower"]

    told = run("show", bundle).stdout
    assert "72 turns, 12 users, 54 sessions" in told
    assert "→ Play Imagine [/]Dragons!" in told
    assert f"{row['alone']:.0%} (≤ {row['alone_upper']:.0%})" in told
    assert f"{row['rewritten']:.0%} (≥ {row['rewritten_lower']:.0%})" in told
    assert run_json("show", bundle, "--reason", "not_better")["total"] == 0
    assert run_json("show", bundle, "--candidates", "--limit", "0")["rows"] == [row]


def test_show_tells_everything_about_one_request(bundle: Path) -> None:
    known = run_json("show", bundle, "--source", "Alexa, play MAJ and dragons!")
    assert known["source"] == "play maj and dragons"
    assert (known["request"]["status"], known["request"]["users"]) == ("failing", 6)
    assert known["rewrite"]["target"] == "play imagine dragons"
    assert [each["reason"] for each in known["candidates"]] == ["kept"]
    assert known["own_corrections"] == [{"target": "play imagine dragons", "users": 6}]
    assert run_json("show", bundle, "--source", "play imagine dragons")["rewritten_to_it"] == ["play maj and dragons"]
    assert run_json("show", bundle, "--source", "open the door")["request"] is None

    told = run("show", bundle, "--source", "play maj and dragons").stdout
    assert "18 turns of 6 users" in told
    assert "known to fail" in told
    assert "too few users" in run("show", bundle, "--source", "open the door").stdout


def test_show_tells_what_happens_after_a_request(bundle: Path) -> None:
    said = "play maj and dragons"
    document = run_json("show", bundle, "--source", said)
    found, (judged,) = document["neighbourhood"], document["candidates"]
    assert [(each["text"], each["users"], each["turns"]) for each in found["states"]] == [
        (said, 6, 18),
        ("play imagine dragons", 12, 36),
    ]
    assert [(each["users"], each["turns"], each["chosen"]) for each in found["transitions"]] == [(6, 18, True)]
    assert run_json("show", bundle, "--source", "turn on the lights")["neighbourhood"] is None

    told = " ".join(run("show", bundle, "--source", said).stdout.split())
    assert "What happens after it" in told
    assert "▶ play imagine dragons (6 users, 18 turns)" in told
    assert f"Standing → Play Imagine [/]Dragons! on; {judged['chance']:.0%} chance of being better" in told
    assert "Not told: it never failed, or" in run("show", bundle, "--source", "turn on the lights").stdout
    assert "Not told: fewer than 5 users said it" in run("show", bundle, "--source", "open the door").stdout


def test_show_draws_what_happens_after_a_request(bundle: Path, tmp_path: Path) -> None:
    said, file = "play maj and dragons", tmp_path / "why.svg"
    drawn = run("show", bundle, "--source", said, "--plot", file)
    assert drawn.stdout == run("show", bundle, "--source", said).stdout
    assert ">play imagine dragons</text>" in file.read_text(encoding="utf-8")

    file.unlink()
    for words, message in (
        (("--plot", file), "name it with --source TEXT"),
        (("--source", said, "--plot", tmp_path / "why.gif"), "a file that ends in .svg, .png, .pdf is wanted"),
        (("--source", said, "--plot", tmp_path / "no" / "why.svg"), "there is no folder"),
        (("--source", "turn on the lights", "--plot", file), "nothing to draw: it never failed"),
    ):
        result = run("show", bundle, *words, ends_with=2)
        assert message in result.stderr
        assert result.stdout == ""
    assert not list(tmp_path.iterdir())
    assert "--plot why.svg" in run("show", "--help").stdout


def test_show_says_what_is_on_trial_and_what_is_suspended(bundle: Path, tmp_path: Path) -> None:
    from rewrite.bundle import Bundle, write_manifest
    from rewrite.mining import REWRITE_SCHEMA
    from rewrite.table import SUSPENSION_SCHEMA

    said, out = "play maj and dragons", tmp_path / "bundle"
    shutil.copytree(bundle, out)
    (row,) = Bundle.open(out).rewrites("candidates")
    bad = {"standing": "off", "reason": "suspended", "chance": 0.2, "target": "play dragons", "rewrite": "play dragons"}
    trial = {"standing": "trial", "reason": "not_better", "chance": 0.625}
    suspended = {"source": said, "since": 1_760_000_000.0, "until": 1_765_000_000.0}
    for name, rows, schema in (
        ("rewrites", [], REWRITE_SCHEMA),
        ("candidates", [row | trial, row | bad], REWRITE_SCHEMA),
        (
            "suspensions",
            [suspended | {"target": "play dragons", "times": 2}, suspended | {"target": "play it", "times": 1}],
            SUSPENSION_SCHEMA,
        ),
    ):
        pq.write_table(pa.Table.from_pylist(rows, schema), out / f"{name}.parquet")
    manifest = asdict(Bundle.read(bundle, bundle).manifest)
    write_manifest(out, **{name: manifest[name] for name in ("created", "parameters", "log", "span", "counts")})

    told = " ".join(run("show", out, "--source", said).stdout.split())
    assert "→ Play Imagine [/]Dragons! on trial; 62% chance of being better" in told
    assert "→ play dragons off: turned bad while it was live, not long ago; 20% chance of being better" in told
    assert "better suspended until 2025-12-06: turned bad 2 times while it was live" in told
    assert "→ play it off: suspended until 2025-12-06: turned bad 1 time while it was live" in told
    assert "▶ play imagine dragons" in told  # the way of what is on trial
    assert [each["times"] for each in run_json("show", out, "--source", said)["suspensions"]] == [2, 1]


def test_a_persons_word_beats_the_learners(log: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "bundle", "play maj and dragons"
    run("learn", log, "--out", out)

    assert run_json("block", out, "Play maj and dragons.")["blocked"] is True
    assert run_json("query", out, said)["reason"] == "blocked"
    assert "blocked  play maj and dragons" in run("show", out).stdout

    pinned = run_json("pin", out, said, "Play Imagine Dragons")
    assert (pinned["source"], pinned["pinned"], pinned["blocked"]) == (said, "Play Imagine Dragons", False)
    assert run_json("query", out, said, "--user", "fails1")["text"] == "Play Imagine Dragons"
    assert run_json("show", out, "--source", said)["pinned"] == "Play Imagine Dragons"

    assert "was pinned to “Play Imagine Dragons”" in run("unblock", out, said).stdout
    assert run_json("query", out, said)["reason"] == "learned"
    assert "neither blocked nor pinned" in run("unpin", out, said).stdout
    assert "No rewrite of it was learned so far." in run("block", out, "open the door").stdout


def test_a_doubtful_pin_is_warned_of_but_kept(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    run("learn", log, "--out", out)

    result = run("pin", out, "turn on the lights", "turn off the lights")
    assert "Warning: TARGET means something else than SOURCE" in result.stderr
    assert "no such request as TARGET is in the log" in result.stderr
    assert run_json("query", out, "turn on the lights")["text"] == "turn off the lights"
    assert len(run_json("pin", out, "set it to 20", "set it to 30")["warnings"]) == 2
    assert run_json("pin", out, "play imagin dragons", "play imagine dragons")["warnings"] == []
    run("pin", out, "play jazz", "Play jazz!", ends_with=2)
    run("pin", out, "?!", "play jazz", ends_with=2)


def test_verify_finds_a_changed_file(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    run("learn", log, "--out", out)
    assert run_json("verify", out)["whole"] is True

    lines = out / "rewrites.jsonl"
    lines.write_text(lines.read_text(encoding="utf-8").replace("imagine", "forgets"), encoding="utf-8")
    assert "rewrites.jsonl is not what the manifest vouches for" in run("verify", out, ends_with=4).stderr


def test_each_failure_has_its_exit_code_and_one_message(log: Path, bundle: Path, tmp_path: Path) -> None:
    empty = write_log(tmp_path / "empty.jsonl", [])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "wrong.toml").write_text("[gate]\nmin_user = 3\n", encoding="utf-8")
    for words, code, message in (
        (("learn", log), 2, "--out"),
        (("learn", log, "--out", tmp_path / "folder"), 2, "is no bundle"),
        (("learn", log, "--out", log), 2, "is a file"),
        (
            ("learn", log, "--out", tmp_path / "b", "--config", tmp_path / "wrong.toml"),
            2,
            "unknown parameter gate.min_user",
        ),
        (("learn", log, "--out", tmp_path / "b", "--memory-limit", "lots"), 2, "resources.memory_limit is 'lots'"),
        (("check", log, "--session-gap", "-1"), 2, "seconds above 0"),
        (("check", log, "--rejects", tmp_path / "no" / "file"), 2, "no folder"),
        (("query", bundle, "x", "--context", "{"), 2, "--context is not JSON"),
        (("show", bundle, "--reason", "[bold]"), 2, "--reason [bold] is unknown"),
        (("check", empty), 3, "no records"),
        (("check", tmp_path / "nowhere.jsonl"), 3, "No such log"),
        (("learn", log, "--out", tmp_path / "b", "--previous", tmp_path), 4, "holds no manifest.json"),
        (("query", tmp_path / "nowhere", "x"), 4, "no bundle at"),
        (("show", tmp_path), 4, "holds no manifest.json"),
    ):
        result = run(*words, ends_with=code)
        assert message in result.stderr, result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
    assert "Traceback" in run("show", tmp_path, "--debug", ends_with=4).stderr


def test_two_learners_do_not_work_on_one_bundle(log: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "bundle", "learn"):
        assert "in use" in run("learn", log, "--out", tmp_path / "bundle", ends_with=5).stderr

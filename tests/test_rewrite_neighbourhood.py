"""The chain around one request: read from a bundle's tables, told as a tree, drawn into a file."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rewrite import LearnConfig, learn
from rewrite.bundle import Bundle
from rewrite.cli_neighbourhood import interpretation, name_of, notes_of, tree_of
from rewrite.errors import ConfigError, DamagedBundle
from rewrite.graph import Kind
from rewrite.neighbourhood import HOPS, STATE_SCHEMA, STATES, TRANSITION_SCHEMA, Neighbourhood
from rewrite.neighbourhood_matplotlib import drawn, plotter
from tests.logs import SORRY, record, retries, write_log

BROKEN, HALF, GOOD = "play the news from bee bee sea", "play the news from b b see", "play the news from the bbc"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """8 users say it wrongly twice and then right; 12 need one more try; 3, too few, say something else in the end."""
    records = []
    for user in range(8):
        for place, text in enumerate((BROKEN, HALF, GOOD)):
            heard = {"response": SORRY} if text != GOOD else {"response": "OK.", "signals": {"engaged_s": 90.0}}
            records.append(record(len(records), text, f"long-{user}", 20_000.0 + 10 * place, **heard))
    records += retries("play maj and dragons", "play imagine dragons", first=1_000)
    records += retries("play maj and dragons", "what is love", 3, first=2_000, name="few", at=90_000.0)
    folder = tmp_path_factory.mktemp("learned")
    learn(write_log(folder / "log.jsonl", records), folder / "bundle", config=LearnConfig(seed=0))
    return Bundle.open(folder / "bundle")


def around(opened: Bundle, source: str, **options: Any) -> Neighbourhood:
    """The neighbourhood of a request, with the way of the rewrite that is on."""
    (route,) = [row["route"] for row in opened.rewrites() if row["source"] == source]
    found = Neighbourhood.from_bundle(opened, source, route, **options)
    assert found is not None
    return found


def by_hand(
    learned: Bundle, folder: Path, states: list[tuple[Any, ...]], steps: list[tuple[int, int, float]]
) -> Bundle:
    """A bundle with such a chain: (kind, text, key, rewrite) of each state, (source, target, share) of each step."""
    columns = [
        {"state": number, "kind": kind, "text": text, "key": key, "rewrite": rewrite, "users": 9, "turns": 10 + number,
         "weight": 1.0, "direct": 0.1, "success": 0.5}
        for number, (kind, text, key, rewrite) in enumerate(states)
    ]  # fmt: skip
    moves = [{"source": a, "target": b, "users": 6, "turns": 7, "weight": 1.0, "share": share} for a, b, share in steps]
    pq.write_table(pa.Table.from_pylist(columns, STATE_SCHEMA), folder / "states.parquet")
    pq.write_table(pa.Table.from_pylist(moves, TRANSITION_SCHEMA), folder / "transitions.parquet")
    return Bundle(folder, learned.manifest, folder)


def said(*texts: str) -> list[tuple[Any, ...]]:
    return [("said", text, text, None) for text in texts]


def told(found: Neighbourhood) -> str:
    console = Console(width=80, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(tree_of(found))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def test_a_known_chain_is_read_as_it_was_learned(learned: Bundle):
    found = around(learned, BROKEN)

    assert [(each.text, each.kind, each.users, each.turns, each.hops) for each in found.states] == [
        (BROKEN, Kind.SAID, 8, 8, 0),
        (HALF, Kind.SAID, 8, 8, 1),
        (GOOD, Kind.SAID, 8, 8, 2),
    ]
    first, second, third = (each.number for each in found.states)
    assert [(each.source, each.target, each.users, each.turns, each.chosen) for each in found.transitions] == [
        (first, second, 8, 8, True),
        (second, third, 8, 8, True),
    ]
    assert found.route == (first, second, third)
    assert (found.cut_states, found.cut_transitions) == (0, 0)
    for state in found.states:
        leaving = sum(each.share for each in found.leaving(state))
        assert state.direct + state.failure + leaving == pytest.approx(1.0, abs=1e-5)
    one, two, last = found.states
    assert one.direct < 0.01 < 0.9 < last.direct
    assert one.success == pytest.approx(one.direct + found.transitions[0].share * two.success, abs=1e-4)


def test_what_too_few_users_did_is_not_there(learned: Bundle):
    found = around(learned, "play maj and dragons")
    assert [each.text for each in found.states] == ["play maj and dragons", "play imagine dragons"]
    assert found.source.users == 15
    assert found.source.failure > 0.1  # the three who went on elsewhere
    enough = learned.manifest.parameters["gate"]["min_users"]
    assert min(each.users for each in [*found.states, *found.transitions]) >= enough
    assert Neighbourhood.from_bundle(learned, "what is love") is None


def test_what_the_chain_does_not_hold_is_none(learned: Bundle):
    assert Neighbourhood.from_bundle(learned, "open the door") is None
    assert Neighbourhood.from_bundle(learned, "") is None


def test_what_is_cut_is_counted(learned: Bundle, tmp_path: Path):
    names = ["start", *(f"next {number}" for number in range(20)), "after", "far"]
    steps = [(0, number + 1, 0.04 - number / 1000) for number in range(20)]
    steps += [(1, 21, 0.5), (1, 2, 0.2), (2, 22, 0.001), (2, 0, 0.01)]
    opened = by_hand(learned, tmp_path, said(*names), steps)

    found = Neighbourhood.from_bundle(opened, "start", most=4)
    assert found is not None
    assert [each.text for each in found.states] == ["start", "next 0", "next 1", "next 2"]
    assert [(each.cut, each.cut_share) for each in found.states] == [
        (17, pytest.approx(sum(0.04 - number / 1000 for number in range(3, 20)))),
        (1, 0.5),
        (1, 0.001),
        (0, 0),
    ]
    assert (found.cut_states, found.cut_transitions) == (19, 19)
    assert [(each.source, each.target) for each in found.transitions] == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 0)]
    assert "on to 17 states not shown" in told(found)
    assert "Not shown: 19 states further on or less likely, and 19 steps to them." in notes_of(found, 5)
    assert "next 1 (6 users, 7 turns), told above" in told(found)
    assert "start (6 users, 7 turns), the request" in told(found)

    default = Neighbourhood.from_bundle(opened, "start")
    assert default is not None
    assert len(default.states) == STATES


def test_the_likeliest_ways_are_followed_for_some_steps(learned: Bundle, tmp_path: Path):
    line = said(*"abcdefg", "rare")
    steps = [(number, number + 1, 0.9) for number in range(6)] + [(0, 7, 0.05)]
    opened = by_hand(learned, tmp_path, line, steps)

    found = Neighbourhood.from_bundle(opened, "a")
    assert found is not None
    assert HOPS == 3
    assert [(each.text, each.hops) for each in found.states] == [("a", 0), ("b", 1), ("rare", 1), ("c", 2), ("d", 3)]
    assert (found.states[-1].cut, found.cut_states) == (1, 1)


def test_the_chosen_way_is_shown_however_long_and_rare(learned: Bundle, tmp_path: Path):
    line = said(*"abcdefg", "likely")
    steps = [(number, number + 1, 0.1) for number in range(6)] + [(0, 7, 0.8)]
    opened = by_hand(learned, tmp_path, line, steps)

    found = Neighbourhood.from_bundle(opened, "a", list("abcdefg"), most=2)
    assert found is not None
    assert found.route == (0, 1, 2, 3, 4, 5, 6)
    assert {each.text for each in found.states} == {*"abcdefg", "likely"}
    assert [(each.source, each.target) for each in found.transitions if each.chosen] == list(pairwise(range(7)))

    no_such_way = Neighbourhood.from_bundle(opened, "a", ["a", "g"])
    assert no_such_way is not None
    assert no_such_way.route == ()


def test_a_route_names_a_text_once_that_two_states_stand_for(learned: Bundle, tmp_path: Path):
    meant = '["music","play",{"title":"it"}]'
    states = [*said("broken"), ("served", "right", "broken", "right"), ("meant", "right", meant, None)]
    opened = by_hand(learned, tmp_path, [*states, *said("stop", "end")], [(0, 1, 0.4), (1, 2, 0.2), (2, 4, 0.1)])

    found = Neighbourhood.from_bundle(opened, "broken", ["broken", "right", "end"])
    assert found is not None
    assert found.route == (0, 1, 2, 4)
    assert [name_of(each) for each in found.states] == ["broken", "rewritten to “right”", "right", "end"]
    assert interpretation(found.states[2]) == "music · play · title: it"
    assert "40% ▶ rewritten to “right” (6 users, 7 turns)" in told(found)
    alone = Neighbourhood.from_bundle(opened, "right")  # no text of its own: what it is taken for stands for it
    assert alone is not None
    assert alone.source.kind is Kind.MEANT


def test_a_tree_in_words(learned: Bundle):
    lines = told(around(learned, BROKEN)).splitlines()
    assert lines[0] == BROKEN
    assert lines[1].startswith("8 users, 8 turns: ended well <1%, in the end 9")
    assert lines[2].startswith("└── 9")
    assert lines[2].endswith(f"% ▶ {HALF} (8 users, 8 turns)")
    assert lines[4].startswith("    └── 9")
    assert max(map(len, lines)) <= 80
    assert notes_of(around(learned, BROKEN), 5)[0] == "▶ is the way that was chosen."


def test_texts_from_a_log_print_harmlessly(learned: Bundle, tmp_path: Path):
    opened = by_hand(learned, tmp_path, said("a", "[bold]\x1b[2J\u202e"), [(0, 1, 0.5), (0, 0, 0.3)])
    found = Neighbourhood.from_bundle(opened, "a")
    assert found is not None
    assert "50% → [bold]\\u001b[2J\\u202e (6 users, 7 turns)" in told(found)
    assert "30% said again (6 users, 7 turns)" in told(found)


def test_a_damaged_table_is_named(learned: Bundle, tmp_path: Path):
    opened = by_hand(learned, tmp_path, said("a", "b"), [(0, 1, 0.5), (0, 7, 0.5)])
    with pytest.raises(DamagedBundle, match="lacks the state 7"):
        Neighbourhood.from_bundle(opened, "a")
    (tmp_path / "transitions.parquet").write_bytes(b"nothing")
    with pytest.raises(DamagedBundle, match="the table transitions of"):
        Neighbourhood.from_bundle(opened, "a")


def test_plain_values_for_json(learned: Bundle):
    plain = around(learned, "play maj and dragons").as_dict()
    assert [(each["text"], each["kind"], each["users"]) for each in plain["states"]] == [
        ("play maj and dragons", "said", 15),
        ("play imagine dragons", "said", 12),
    ]
    (step,) = plain["transitions"]
    assert (step["users"], step["turns"], step["chosen"]) == (12, 24, True)
    assert plain["route"] == tuple(each["number"] for each in plain["states"])
    assert (plain["cut_states"], plain["cut_transitions"]) == (0, 0)


def test_a_plot_is_an_svg_with_its_texts_and_the_same_bytes_twice(learned: Bundle, tmp_path: Path):
    found = around(learned, BROKEN)
    for name in ("one.svg", "two.svg"):
        plotter(tmp_path / name)(found)
    one = (tmp_path / "one.svg").read_bytes()
    assert one == (tmp_path / "two.svg").read_bytes()
    texts = {node.text for node in ElementTree.fromstring(one).iter("{http://www.w3.org/2000/svg}text")}
    assert {HALF, GOOD, "8 users, 8 turns", "the chosen way", f"What happens after “{BROKEN}”"} <= texts
    assert b"dc:date" not in one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.svg", "two.svg"]


@pytest.mark.parametrize(("ending", "begins"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_each_kind_of_file_is_drawn_alike_twice(learned: Bundle, tmp_path: Path, ending: str, begins: bytes):
    """Whatever texts there are: formulas, controls, signs that no font has, noncharacters; and whatever steps."""
    states = [*said("$a_b$ \x1b \uffff \u4f60\u597d", "y" * 400, "z"), ("served", "z", "y", "z"), *said("u")]
    steps = [(0, 1, 0.3), (0, 0, 0.2), (1, 2, 0.3), (1, 3, 0.2), (3, 2, 0.1), (2, 0, 0.4), (2, 1, 0.1), (2, 4, 0.1)]
    found = Neighbourhood.from_bundle(
        by_hand(learned, tmp_path, states, steps), states[0][1], [states[0][1], "y" * 400]
    )
    assert found is not None
    content = drawn(found, ending)
    assert content.startswith(begins)
    assert content == drawn(found, ending)
    if ending == ".svg":
        texts = " ".join(ElementTree.fromstring(content).itertext())
        assert "$a_b$ \\u001b \ufffd \u4f60\u597d" in texts


def test_where_nothing_can_be_drawn(tmp_path: Path):
    for path, message in (
        (tmp_path / "why.gif", "ends in .svg, .png, .pdf is wanted"),
        (tmp_path / "why", "ends in .svg, .png, .pdf is wanted"),
        (tmp_path / "nowhere" / "why.svg", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            plotter(path)
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        plotter(tmp_path / "folder.svg")


def test_without_matplotlib_the_error_says_what_to_install(learned: Bundle, tmp_path: Path):
    command = ["show", str(learned.path), "--source", BROKEN]
    program = (
        f"import sys; sys.modules['matplotlib'] = None; from rewrite.cli import app; app({command!r} + sys.argv[1:])"
    )
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    plot = subprocess.run(
        [sys.executable, "-c", program, "--plot", "x.svg"], capture_output=True, text=True, cwd=tmp_path
    )
    assert plot.returncode == 2
    assert 'not installed: pip install "reprise-rewrite[report]"' in plot.stderr
    assert not list(tmp_path.iterdir())

"""What few said is nobody else's: no text in what a bundle holds for everyone was said by fewer than k users."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite import Bundle, GateConfig, LearnConfig, RewriteEngine, learn
from tests.logs import SORRY, Record, record, write_log

WORDS = "play maj imagine dragons radio jazz rock lamp lamb chill".split()
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
#: A scene: what is said first, what next, by which users, and whether NLU's interpretation is logged.
scenes = st.tuples(texts, texts, st.sets(st.integers(0, 9), min_size=1), st.booleans())


def records(found: list[tuple[str, str, set[int], bool]]) -> list[Record]:
    result: list[Record] = []
    for place, (source, target, users, taken) in enumerate(found):
        for user in sorted(users):
            for step, text in enumerate((source, target)):
                works = step == 1
                more = {"response": "Here you are." if works else SORRY, "outcome": "success" if works else "failure"}
                if taken:
                    more["nlu"] = {"domain": "music", "intent": "play", "slots": {"what": text.split()[-1]}}
                at = 10_000.0 * place + 100.0 * user + 8.0 * step
                result.append(record(len(result), text, f"user-{user}", at, **more))
    return result


@settings(max_examples=25)
@given(st.lists(scenes, min_size=1, max_size=8), st.integers(1, 5))
def test_nothing_for_everyone_was_said_by_fewer_than_k_users(found: list, k: int):
    log = records(found)
    said: defaultdict[str, set[str]] = defaultdict(set)
    for each in log:
        said[each["text"]].add(each["user_id"])
    rare = {text for text, users in said.items() if len(users) < k}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = LearnConfig(gate=GateConfig(min_users=k, confidence=0.5, margin=0.0, rewritten_floor=0.0))
        half = len(log) // 2
        learn(write_log(place / "one.jsonl", log[:half]), place / "a", config=config)
        learn(write_log(place / "two.jsonl", log[half:]), place / "b", config=config, previous=place / "a")
        bundle = Bundle.open(place / "b")
        for name in ("rewrites", "candidates"):
            for row in bundle.rewrites(name):
                assert row["source_users"] >= k
                assert row["target_users"] >= k
                assert row["route_users"] >= k
                assert not {row["source"], row["target"]} & rare
        for row in bundle.rewrites("states"):
            assert row["kind"] != "said" or row["key"] not in rare
            assert row["users"] >= k
            assert row["text"] not in rare
        assert all(row["users"] >= k for row in bundle.rewrites("transitions"))
        engine = RewriteEngine.load(place / "b")
        for text in said:
            decision = json.dumps(engine.rewrite(text, "a stranger").as_dict() | {"original": "", "text": ""})
            answer = engine.rewrite(text, "a stranger").text
            assert answer == text or answer not in rare
            assert not any(f'"{each}"' in decision for each in rare)

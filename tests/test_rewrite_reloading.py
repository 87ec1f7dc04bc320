"""The engine that follows its bundle: swaps under load, bundles that cannot be used, pins edited live, event loops."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rewrite import Action, Bundle, Decision, EngineConfig, LearnConfig, Reason, RewriteEngine, learn
from rewrite.errors import BundleError
from rewrite.publish import _exchange, draft_of, resting, swap_in
from rewrite.reloading import ReloadingEngine
from rewrite.timings import Timings
from tests.logs import record, retries, write_log
from tests.test_documentation import ROOT, blocks

MAJ = "play maj and dragons"
TARGETS = {"one": "play imagine dragons", "two": "play magic dragons"}
#: Asked only when told to: the thread never looks by itself within a test.
NEVER = 3_600.0
#: The machine may be busy: no call is to be late by accident.
PATIENT = EngineConfig(deadline_s=60.0)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles, `one` and `two`, that rewrite the same request to different texts."""
    folder = tmp_path_factory.mktemp("learned")
    for name, target in TARGETS.items():
        log = write_log(folder / f"{name}.jsonl", retries(MAJ, target))
        learn(log, folder / name, config=LearnConfig(seed=0))
    return folder


@pytest.fixture
def place(learned: Path, tmp_path: Path) -> Path:
    """Where the bundle is served from; it is `one` to begin with."""
    shutil.copytree(learned / "one", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def engine(place: Path) -> Iterator[ReloadingEngine]:
    with ReloadingEngine(place, PATIENT, check_every_s=NEVER) as opened:
        yield opened


def publish(learned: Path, name: str, place: Path) -> None:
    """As the mining job does it."""
    draft = draft_of(place)
    shutil.copytree(learned / name, draft)
    swap_in(draft, place)


def exchange(learned: Path, name: str, place: Path, copy: Callable[..., object] = shutil.copy2) -> None:
    """The same without waiting for the disk."""
    draft = draft_of(place)
    shutil.copytree(learned / name, draft, copy_function=copy)
    assert _exchange(draft, place)
    shutil.rmtree(draft)


def comes_true(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


# A new bundle


def test_a_new_bundle_is_taken_into_use(engine: ReloadingEngine, learned: Path, place: Path):
    assert engine.rewrite(MAJ).text == TARGETS["one"]
    assert not engine.check()
    publish(learned, "two", place)
    assert engine.rewrite(MAJ).text == TARGETS["one"]  # nobody has looked yet
    assert engine.check()
    assert engine.rewrite(MAJ).text == TARGETS["two"]
    assert not engine.check()
    assert (engine.reloads, engine.last_error) == (1, None)


def test_the_thread_finds_it_by_itself(learned: Path, place: Path):
    with ReloadingEngine(place, check_every_s=0.02) as engine:
        publish(learned, "two", place)
        assert comes_true(lambda: engine.rewrite(MAJ).text == TARGETS["two"])


def test_the_answers_are_those_of_the_engine_itself(engine: ReloadingEngine, place: Path):
    plain = RewriteEngine.load(place, config=PATIENT)
    texts = [MAJ, TARGETS["one"], "play jazz", "", "x" * 2_000]
    users = ["user-00", None, "new", None, None]
    wanted = plain.rewrite_batch(texts, users)
    assert [engine.rewrite(*each) for each in zip(texts, users, strict=True)] == wanted
    assert engine.rewrite_batch(texts, users) == wanted
    assert list(engine.pipe(zip(texts, users, strict=True))) == wanted
    assert engine.engine.bundle.manifest == engine.bundle.manifest == plain.bundle.manifest


def test_no_call_is_lost_while_bundles_are_swapped(learned: Path, place: Path):
    """Four threads ask without a pause, until the bundle was replaced twice."""
    answers: list[list[Decision]] = [[] for _ in range(4)]
    calls, done = [0] * 4, threading.Event()

    def ask(number: int) -> None:
        while not done.is_set():
            calls[number] += 1
            answers[number].append(engine.rewrite(MAJ, f"user-{number:02}" if calls[number] % 2 else None))

    with ReloadingEngine(place, check_every_s=0.01) as engine:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number, name in enumerate(["two", "one"], 1):
            exchange(learned, name, place)
            assert comes_true(lambda number=number: engine.reloads >= number)
        done.set()
        for thread in threads:
            thread.join()
        assert engine.last_error is None
    assert [len(each) for each in answers] == calls
    found = [each for one in answers for each in one]
    assert {(each.action, each.text) for each in found} == {(Action.REWRITE, target) for target in TARGETS.values()}
    assert {each.original for each in found} == {MAJ}


def test_a_call_under_way_ends_on_the_old_bundle(engine: ReloadingEngine, learned: Path, place: Path):
    old = engine.engine
    exchange(learned, "two", place)
    assert engine.check()
    assert old.rewrite(MAJ).text == TARGETS["one"]  # its files are gone from the disk and still mapped
    gone = weakref.ref(old)
    del old
    assert gone() is None  # at once, and without a collection


def test_a_swap_by_two_renames(engine: ReloadingEngine, learned: Path, place: Path):
    """Between the two the folder is at rest elsewhere, and is served from there."""
    place.rename(resting(place))
    engine.check()
    assert (engine.rewrite(MAJ).text, engine.last_error) == (TARGETS["one"], None)
    shutil.copytree(learned / "two", place)
    assert engine.check()
    assert engine.rewrite(MAJ).text == TARGETS["two"]


def test_what_was_observed_outlives_the_bundle(engine: ReloadingEngine, learned: Path, place: Path):
    odd = "play the gnarly thing"
    assert engine.rewrite(odd, "u1").reason is not Reason.KNOWN_GOOD
    engine.observe({**record(1, odd, at=0.0), "timestamp": time.time(), "outcome": "success"})
    assert engine.rewrite(odd, "u1").reason is Reason.KNOWN_GOOD
    exchange(learned, "two", place)
    assert engine.check()
    assert engine.rewrite(odd, "u1").reason is Reason.KNOWN_GOOD
    assert engine.rewrite(odd, "u2").reason is not Reason.KNOWN_GOOD


def test_stages_are_told(engine: ReloadingEngine):
    timings = Timings()
    assert engine.rewrite(MAJ, timings=timings).reason is Reason.LEARNED
    assert list(timings.as_dict()) == ["canonicalise", "tables", "total"]


def mapped() -> int:
    with open("/proc/self/maps", encoding="utf-8") as file:
        return sum(".npy" in line for line in file)


def resident() -> int:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_is_flat_over_many_reloads(engine: ReloadingEngine, learned: Path, place: Path):
    names = ["two", "one"]

    def reload() -> None:
        exchange(learned, names[0], place, os.link)
        names.reverse()
        assert engine.check()
        assert not engine.check()
        engine.observe(record(engine.reloads, user="user-00"))
        assert engine.rewrite(MAJ, "user-00").original == MAJ  # by which the live history is opened

    for _ in range(5):
        reload()
    gc.collect()
    maps, files, memory = mapped(), len(os.listdir("/proc/self/fd")), resident()
    for _ in range(30):
        reload()
    assert (mapped(), len(os.listdir("/proc/self/fd"))) == (maps, files)
    assert resident() - memory < 4 << 20
    assert engine.reloads == 35


# A bundle that cannot be used


def cut(folder: Path) -> None:
    file = max((folder / "index").rglob("*.npy"), key=lambda each: each.stat().st_size)
    os.truncate(file, 10)


def change(folder: Path) -> None:
    file = folder / "index" / "texts" / "meta.json"
    file.write_bytes(file.read_bytes()[::-1])


@pytest.mark.parametrize("damage", [cut, change, lambda folder: (folder / "manifest.json").unlink()])
def test_a_broken_bundle_leaves_the_old_one_serving(
    engine: ReloadingEngine,
    learned: Path,
    place: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
):
    draft = draft_of(place)
    shutil.copytree(learned / "two", draft)
    damage(draft)
    assert _exchange(draft, place)
    shutil.rmtree(draft)
    with caplog.at_level(logging.INFO, "rewrite.reloading"):
        assert not engine.check()
        assert not engine.check()
    assert engine.rewrite(MAJ).text == TARGETS["one"]
    assert "Bundle" in str(engine.last_error)
    assert [each.levelname for each in caplog.records] == ["WARNING"]  # said once, however often it is tried
    exchange(learned, "two", place)
    assert engine.check()
    assert (engine.rewrite(MAJ).text, engine.last_error) == (TARGETS["two"], None)


def test_a_bundle_that_was_deleted_goes_on_serving(engine: ReloadingEngine, learned: Path, place: Path):
    shutil.rmtree(place)
    assert not engine.check()
    assert "no bundle" in str(engine.last_error)
    assert engine.rewrite(MAJ).text == TARGETS["one"]
    shutil.copytree(learned / "two", place)
    assert engine.check()
    assert engine.rewrite(MAJ).text == TARGETS["two"]


def test_what_fails_is_tried_less_and_less_often_and_what_is_new_at_once(learned: Path, place: Path):
    with ReloadingEngine(place, check_every_s=0.02) as engine:
        shutil.rmtree(place)
        assert comes_true(lambda: engine._failures >= 3)
        assert engine._retry - time.monotonic() > 0.03
        engine._retry += 1_000
        shutil.copytree(learned / "two", place)
        assert comes_true(lambda: engine.rewrite(MAJ).text == TARGETS["two"])


def test_there_must_be_a_bundle_to_begin_with(tmp_path: Path):
    with pytest.raises(BundleError, match="no bundle at"):
        ReloadingEngine(tmp_path / "none")


@pytest.mark.parametrize("wrong", [{"check_every_s": 0}, {"workers": 0}, {"max_waiting": 0}])
def test_what_cannot_be(place: Path, wrong: dict[str, int]):
    with pytest.raises(ValueError, match="are wanted"):
        ReloadingEngine(place, **wrong)


# A person's word


def test_pins_and_blocks_are_followed(engine: ReloadingEngine, learned: Path, place: Path):
    bundle = Bundle.open(place)
    bundle.edit(block=MAJ)
    assert engine.check()
    assert engine.rewrite(MAJ).reason is Reason.BLOCKED
    bundle.edit(pin=(MAJ, "play dragons"))
    assert engine.check()
    assert (engine.rewrite(MAJ).text, engine.rewrite(MAJ).reason) == ("play dragons", Reason.PINNED)
    bundle.edit(clear=MAJ)
    assert engine.check()
    assert engine.rewrite(MAJ).reason is Reason.LEARNED
    assert not engine.check()


def test_overrides_that_cannot_be_read_change_nothing(engine: ReloadingEngine, place: Path):
    Bundle.open(place).edit(block=MAJ)
    assert engine.check()
    sound = (place / "overrides.json").read_bytes()
    (place / "overrides.json").write_text("{")
    assert not engine.check()
    assert engine.rewrite(MAJ).reason is Reason.BLOCKED
    assert "overrides.json" in str(engine.last_error)
    (place / "overrides.json").write_bytes(sound)
    assert engine.check()
    assert engine.last_error is None


# Deadlines, threads, forks


def test_a_deadline_of_one_call(engine: ReloadingEngine):
    near = "play imagin dragons"
    assert engine.rewrite(near).reason is not Reason.DEADLINE
    assert engine.rewrite(near, deadline_s=1e-9).reason is Reason.DEADLINE
    assert engine.rewrite(near, deadline_s=-1).reason is Reason.DEADLINE
    assert engine.rewrite(MAJ, deadline_s=-1).reason is Reason.LEARNED  # what the tables know takes no time
    assert engine.rewrite(near).reason is not Reason.DEADLINE


def test_the_configuration_is_kept_over_reloads(learned: Path, place: Path):
    with ReloadingEngine(place, EngineConfig(deadline_s=1e-9), check_every_s=NEVER) as engine:
        exchange(learned, "two", place)
        assert engine.check()
        assert engine.rewrite("play imagin dragons").reason is Reason.DEADLINE


def follower() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "rewrite-reloading"]


def test_the_thread_ends_with_the_engine(place: Path):
    before = len(follower())
    engine = ReloadingEngine(place, check_every_s=0.01)
    assert len(follower()) == before + 1
    engine.close()
    engine.close()
    assert comes_true(lambda: len(follower()) == before)
    assert engine.rewrite(MAJ).text == TARGETS["one"]  # and starts no other
    assert len(follower()) == before
    forgotten = ReloadingEngine(place, check_every_s=0.01)
    assert len(follower()) == before + 1
    del forgotten
    assert comes_true(lambda: len(follower()) == before)


def test_a_fork_follows_the_bundle_too(learned: Path, place: Path):
    with ReloadingEngine(place, check_every_s=0.02) as engine:
        with engine._loading, engine._starting:  # as threads may hold them
            child = os.fork()
            if not child:
                alone = not follower()
                first = engine.rewrite(MAJ).text == TARGETS["one"]
                exchange(learned, "two", place)
                found = comes_true(lambda: engine.rewrite(MAJ).text == TARGETS["two"])
                late = asyncio.run(engine.rewrite_async(MAJ)).text == TARGETS["two"]
                os._exit(0 if alone and first and found and late else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert comes_true(lambda: engine.rewrite(MAJ).text == TARGETS["two"])


def test_looking_costs_a_call_next_to_nothing(engine: ReloadingEngine):
    plain, times = engine.engine, 500

    def best(ask: Callable[[str], Decision]) -> float:
        rounds = []
        for _ in range(20):
            begun = time.thread_time()
            for _ in range(times):
                ask("")
            rounds.append((time.thread_time() - begun) / times)
        return min(rounds)

    assert best(engine.rewrite) - best(plain.rewrite) < 5e-6  # some 0.3 microseconds; the machine may be busy


# Event loops


def test_many_calls_of_an_event_loop(engine: ReloadingEngine):
    async def ask() -> list[Decision]:
        return await asyncio.gather(*(engine.rewrite_async(MAJ, f"new-{number}") for number in range(500)))

    found = asyncio.run(ask())
    assert len(found) == 500
    answered = [each for each in found if each.reason is Reason.LEARNED]
    passed = [each for each in found if each.reason is Reason.DEADLINE]
    assert len(answered) + len(passed) == 500
    assert len(answered) >= 32  # as many as may wait
    assert {(each.action, each.text) for each in passed} <= {(Action.PASS, MAJ)}
    assert engine._waiting == 0


def test_while_too_many_wait_a_call_passes(engine: ReloadingEngine):
    """One call is held up in the only worker, 31 wait behind it; the next ones pass, until there is room again."""
    hold = threading.Event()
    begun = threading.Event()

    class Slow(str):
        """A text whose length takes long to tell."""

        def __len__(self) -> int:
            begun.set()
            hold.wait(10)
            return super().__len__()

    async def ask() -> None:
        waiting = [asyncio.ensure_future(engine.rewrite_async(Slow(MAJ)))]
        waiting += [asyncio.ensure_future(engine.rewrite_async(MAJ)) for _ in range(31)]
        await asyncio.to_thread(begun.wait, 10)
        passed = await engine.rewrite_async(MAJ)
        assert (passed.action, passed.text, passed.reason) == (Action.PASS, MAJ, Reason.DEADLINE)
        waiting[0].cancel()  # under way: it is worked out for nobody
        waiting[1].cancel()  # waiting: its place is free at once
        await asyncio.sleep(0)
        assert engine._waiting == 31
        late = asyncio.ensure_future(engine.rewrite_async("play imagin dragons", deadline_s=0.02))
        await asyncio.sleep(0.05)
        hold.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in found[:2]] == [asyncio.CancelledError] * 2
        assert {each.reason for each in found[2:] if isinstance(each, Decision)} == {Reason.LEARNED}
        assert (await late).reason is Reason.DEADLINE  # it waited longer than it was given
        assert (await engine.rewrite_async(MAJ)).reason is Reason.LEARNED
        assert engine._waiting == 0

    asyncio.run(ask())


def test_streams_of_an_event_loop(engine: ReloadingEngine):
    requests = [(MAJ, "user-00"), ("play jazz", None), ("", None)]

    async def live():
        for each in requests:
            await asyncio.sleep(0)
            yield each

    async def ask() -> tuple[list[Decision], list[Decision]]:
        return [each async for each in engine.pipe_async(requests)], [each async for each in engine.pipe_async(live())]

    wanted = list(engine.pipe(requests))
    assert asyncio.run(ask()) == (wanted, wanted)


def test_odd_texts_and_closed_engines_are_answered(engine: ReloadingEngine):
    assert asyncio.run(engine.rewrite_async(7)).reason is Reason.FAULT  # type: ignore[arg-type]
    assert asyncio.run(engine.rewrite_async(MAJ)).reason is Reason.LEARNED
    engine.close()
    assert asyncio.run(engine.rewrite_async(MAJ)).reason is Reason.LEARNED


def test_event_loops_while_bundles_are_swapped(learned: Path, place: Path):
    async def ask() -> list[Decision]:
        found = []
        while engine.reloads < 3:
            found += await asyncio.gather(*(engine.rewrite_async(MAJ) for _ in range(4)))
        return found

    def swap() -> None:
        for number, name in enumerate(["two", "one", "two"], 1):
            exchange(learned, name, place)
            comes_true(lambda number=number: engine.reloads >= number)

    with ReloadingEngine(place, check_every_s=0.01, workers=2) as engine:
        swapping = threading.Thread(target=swap)
        swapping.start()
        found = asyncio.run(asyncio.wait_for(ask(), 60))
        swapping.join()
    assert {each.reason for each in found} == {Reason.LEARNED}
    assert {each.text for each in found} == set(TARGETS.values())


# The page


def test_the_page_on_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    page = ROOT / "docs" / "serving.md"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (program,), (printed,) = blocks(page, "python"), blocks(page, "")
    exec(compile(program, page.name, "exec"), {})
    assert capsys.readouterr().out == printed

"""Planted faults: each is found, named for what it is, and put first."""

import itertools
import json
import time
from dataclasses import replace

import pytest

from dialogue.turn import Gold, Turn
from eval.cases import Case
from eval.finding import Fault, Weight
from eval.harm import Harm
from eval.known import Known
from eval.report.files import write_report
from eval.run import run
from eval.ship import Ship
from eval.slices import usual_fields
from rewrite import Action, Decision, Reason, RewriteEngine, Source, learn
from tests.logs import FIRST, record, retries, write_log

FIRSTS = "velvet harbor silver marble timber crystal thunder shadow copper meadow".split()
LASTS = "rivers lanterns sparrows engines gardens pirates mirrors wolves bakers candles".split()
SCENES = [(f"play {one[:-1]}o {two[:-1]}z", f"play {one} {two}") for one, two in itertools.product(FIRSTS, LASTS)]
LAMPS = [(f"turn on the {thing[:-1]}b", f"turn on the {thing}") for thing in ("lamp", "heater", "kettle")]
DAY = 86_400.0


def log(users, name="log", at=0.0, scenes=SCENES):
    """Everybody corrects themselves in every scene, and has one request that is theirs alone."""
    records = []
    for place, (source, target) in enumerate(scenes + LAMPS):
        records += retries(source, target, users, times=1, first=10_000 * place, name=name, at=at + 9_000 * place)
    for user in range(users):
        for again in range(2):
            number = 9_000_000 + 2 * user + again
            at_night = at + 5_000_000 + 9_000 * again + user
            works = {"response": "Calling.", "signals": {"engaged_s": 90.0}}
            records.append(record(number, f"call doctor number {name}{user}", f"{name}-{user:02}", at_night, **works))
    return [each | {"turn_id": f"{name} {each['turn_id']}"} for each in records]


def cases(users=300, name="judge", at=200 * DAY):
    """Every user says what fails in one scene, what works in another, and to turn something on."""
    found = []
    for user in range(users):
        (source, target), (_, works) = SCENES[user % len(SCENES)], SCENES[(user + 7) % len(SCENES)]
        broken, lamp = LAMPS[user % len(LAMPS)]
        asked = [(source, (target,)), (works, ()), (broken, (lamp,)), (lamp, ())]
        for place, (text, accepted) in enumerate(asked):
            turn = Turn(f"c{user}-{place}", f"{name}-{user:02}", FIRST + at + user, text, gold=Gold(rewrite=accepted))
            found.append(Case(turn, accepted))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def bundle(folder):
    learn(write_log(folder / "log.jsonl", log(16)), folder / "sound")
    return folder / "sound"


@pytest.fixture(scope="module")
def sound(bundle):
    return RewriteEngine.load(bundle)


@pytest.fixture(scope="module")
def known(bundle):
    return Known.from_bundle(bundle)


class Faulty:
    """An engine with one fault: what it decided goes through `spoil` before it is served."""

    def __init__(self, engine, spoil):
        self.engine, self.spoil = engine, spoil

    def rewrite(self, text, user_id=None, context=None):
        return self.spoil(self.engine.rewrite(text, user_id, context), text)


def judged(engine, known, **more):
    return run(engine, cases(), known=known, fields=usual_fields(known), **more)


def served(decision, text):
    """A rewrite to this text, as sure of itself as any."""
    return replace(
        decision, action=Action.REWRITE, text=text, reason=Reason.LEARNED, source=Source.PRECOMPUTED, score=0.95
    )


def test_a_sound_bundle_may_ship(sound, known):
    report = judged(sound, known)
    assert report.tally.opportunities == report.tally.guardrails == 600
    assert report.tally.wins == 600
    assert report.tally.losses == 0
    assert [each for each in report.findings if each.weight is not Weight.NOTE] == []
    assert report.answer.ship is Ship.YES
    assert report.answer.says.startswith("Ship the bundle")


def test_rewrites_that_were_swapped(sound, known, folder):
    (one, its), (other, others) = SCENES[3], SCENES[88]
    swapped = {one: others, other: its}

    def spoil(decision, text):
        return served(decision, swapped[text]) if text in swapped else decision

    report = judged(Faulty(sound, spoil), known, names=("swapped", "sound"), against=sound)
    worst = report.findings[0]
    assert (worst.fault, worst.weight, worst.cases) == (Fault.SWAPPED, Weight.SEVERE, 6)
    assert any(one in line and others in line for line in worst.evidence)
    assert "rewrites.jsonl" in worst.look
    assert Fault.WORSE in [each.fault for each in report.findings]
    assert report.answer.ship is Ship.NO
    assert "Rewrites of other requests" in report.answer.reasons[0]
    write_report(report, folder / "report")
    document = json.loads((folder / "report" / "metrics.json").read_text())
    assert document["findings"][0]["fault"] == "rewrites of other requests"
    page = (folder / "report" / "index.html").read_text()
    assert page.index("Rewrites of other requests") < page.index("Worse than the other")


def test_a_polarity_that_flips(sound, known):
    def spoil(decision, text):
        flips = decision.action is Action.REWRITE and " on " in decision.text
        return replace(decision, text=decision.text.replace(" on ", " off ")) if flips else decision

    report = judged(Faulty(sound, spoil), known)
    worst = report.findings[0]
    assert (worst.fault, worst.weight, worst.cases) == (Fault.POLARITY, Weight.SEVERE, 300)
    assert report.count.harms[Harm.POLARITY] == 300
    assert "turn off the lamp" in " ".join(worst.evidence)


def test_another_users_history_that_leaks(sound, known):
    secret = "call doctor number log3"

    def spoil(decision, text):
        return served(decision, secret) if text == SCENES[5][0] else decision

    report = judged(Faulty(sound, spoil), known)
    worst = report.findings[0]
    assert (worst.fault, worst.weight, worst.cases) == (Fault.LEAK, Weight.SEVERE, 3)
    assert secret in worst.evidence[0]
    assert "histories.parquet" in worst.look
    assert not known.is_anothers("log-03", secret)  # to whom it belongs
    assert known.is_anothers("log-04", secret)
    assert not known.is_anothers("log-04", SCENES[0][1])  # everybody's
    assert not known.is_anothers("log-04", "call somebody else")  # nobody's


def test_a_bundle_that_was_trained_on_the_test_users(folder):
    own = log(10, name="judge", at=150 * DAY)  # up to 200 days and more: the cases' users, on the cases' days
    logs = [write_log(folder / "a.jsonl", log(10)), write_log(folder / "b.jsonl", own)]
    learn(logs, folder / "trained")
    known = Known.from_bundle(folder / "trained")
    report = run(folder / "trained", cases(users=10), known=known)
    worst = report.findings[0]
    assert (worst.fault, worst.weight, worst.cases) == (Fault.TRAINED_ON, Weight.SEVERE, 40)
    assert worst.says == "all 40 cases are of users and days that the bundle was learned from"
    assert report.answer.ship is Ship.NO

    later = run(folder / "trained", cases(users=10, at=400 * DAY), known=known)  # known users, but of later days
    assert (later.findings[0].fault, later.findings[0].weight) == (Fault.SEEN, Weight.WARNING)
    strangers = run(folder / "trained", cases(users=10, name="new"), known=known)  # other users, on the same days
    assert [each.weight for each in strangers.findings if each.fault is Fault.SEEN] == [Weight.NOTE]


def test_one_early_or_one_trained_case_is_no_severe_fault(bundle, known):
    early = [replace(each, turn=replace(each.turn, timestamp=FIRST - 2_000 * DAY)) for each in cases(users=1)]
    own = cases(users=1, name="log", at=DAY)[:1]  # of its own users and days: 1 of 1,201
    report = run(bundle, [*early, *cases(), *own], known=known)
    assert (report.overlap.within_log, report.overlap.trained_on) == (1, 1)
    (found,) = [each for each in report.findings if each.fault is Fault.TRAINED_ON]
    assert found.weight is Weight.WARNING


@pytest.mark.parametrize("compared", [True, False])
def test_targets_that_were_exchanged_in_the_bundle_itself(sound, bundle, known, folder, compared):
    (one, its), (other, others) = SCENES[3], SCENES[7]
    scenes = [*SCENES[:3], (one, others), *SCENES[4:7], (other, its), *SCENES[8:]]
    path = folder / f"exchanged-{compared}"
    learn(write_log(folder / "exchanged.jsonl", log(10, scenes=scenes)), path)
    altered = Known.from_bundle(path)
    assert (altered.targets[one], altered.targets[other]) == (others, its)
    against = {"against": sound, "known_there": known, "names": ("exchanged", "sound")} if compared else {}
    report = run(path, cases(), known=altered, **against)
    severe = [each for each in report.findings if each.severe]
    assert Fault.REPEATED in [each.fault for each in severe]
    repeated = next(each for each in severe if each.fault is Fault.REPEATED)
    assert f"{one} → {others}" in " ".join(repeated.evidence)
    assert report.count.strayed == (6 if compared else 0)  # by its own table they are where they belong
    assert report.answer.ship is Ship.NO


def test_an_engine_that_is_a_little_slower_but_many_times(sound, known):
    def spoil(decision, text):
        until = time.perf_counter() + 0.0004
        while time.perf_counter() < until:
            pass
        return decision

    class Quick:
        def rewrite(self, text, user_id=None, context=None):
            return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)

    report = run(Faulty(Quick(), spoil), cases(), known=known, against=Quick(), names=("slow", "quick"))
    (found,) = [each for each in report.findings if each.fault is Fault.SLOWER]
    assert found.weight is Weight.SEVERE
    assert found.says.startswith("the median decision takes")


def test_an_engine_that_is_slow_now_and_then(sound, known):
    asked = itertools.count()

    def spoil(decision, text):
        if next(asked) % 33 == 0:
            time.sleep(0.03)
        return decision

    report = judged(Faulty(sound, spoil), known, against=sound, names=("slow", "sound"))
    worst = report.findings[0]
    assert (worst.fault, worst.weight) == (Fault.SLOWER, Weight.SEVERE)
    assert worst.says.startswith("the slowest decision of a hundred takes")


def test_an_engine_that_is_slower(sound, known):
    def spoil(decision, text):
        time.sleep(0.003)
        return decision

    report = judged(Faulty(sound, spoil), known, against=sound, names=("slow", "sound"))
    worst = report.findings[0]
    assert (worst.fault, worst.weight) == (Fault.SLOWER, Weight.SEVERE)
    assert "times as long as that of sound" in worst.says
    assert report.paired.discordant_wins.p == report.paired.discordant_losses.p == 1.0

"""The mining job: a log in, a bundle of learned rewrites out. `learn` reads from top to bottom as the story of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dialogue.outcomes import OutcomeModel
from dialogue.reader import PathLike
from dialogue.sessions import BINS, BoundaryMethod, GapHistogram, SessionBoundary, estimate_boundary
from rephrase_detection import LexicalDetector, RephraseDetector
from rewrite import stages
from rewrite.attempts import ATTEMPT_SCHEMA, AttemptFinder
from rewrite.bundle import Bundle
from rewrite.carrying import carry
from rewrite.config import GateConfig, LearnConfig
from rewrite.facts import LogFacts, Summary, log_facts, summary
from rewrite.mining import Candidate, chain_of, chosen, judge_all
from rewrite.populations import populate
from rewrite.progress import Progress
from rewrite.publish import draft_of, locked, real
from rewrite.reading import read_turns
from rewrite.run import Run, disk_space, refuse_foreign, rejects_of, working_on
from rewrite.writing import publish, write_bundle


def learn(
    logs: PathLike | Iterable[PathLike],
    out: str | Path,
    *,
    config: LearnConfig | None = None,
    previous: str | Path | None = None,
    detector: RephraseDetector | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Learns from logs and publishes the bundle at `out`, in place of one that is there.

    A person's pins and blocks are kept from the bundle at `out` and from `previous`, whose other rewrites are carried
    over where these logs do not speak of them. A killed job goes on where it was when it is called again.
    """
    out = real(out)
    config, progress = config or LearnConfig(), progress or Progress()
    earlier = Bundle.open(previous) if previous is not None else None
    paths = [logs] if isinstance(logs, str | os.PathLike) else list(logs)
    refuse_foreign(out)
    with disk_space(out), locked(out, "learn"), working_on(out, paths, config, detector, earlier) as run:
        rejects = rejects_of(out)
        report = read_turns(run, paths, config, rejects, progress)
        boundary, gaps = cut(run, config, progress)
        find_attempts(run, boundary, detector or LexicalDetector(), progress)
        facts = log_facts(run.tables, report, boundary, gaps)

        count(run, config.gate, progress)
        candidates = mine(run, config.gate, progress)
        carried = carry(run.tables, earlier, candidates, config.gate)
        table = sorted([*chosen(candidates), *carried], key=lambda each: each.source)
        populate(run.tables, config, table, progress)

        draft = draft_of(out)
        write_bundle(run.tables, draft, config, facts, [*candidates, *carried], table, progress)
        publish(draft, out, earlier, progress)
        run.finish()
        return summary(out, facts, candidates)


def check(
    logs: PathLike | Iterable[PathLike],
    work: Path,
    *,
    config: LearnConfig | None = None,
    rejects: Path | None = None,
    progress: Progress | None = None,
) -> LogFacts:
    """What the logs hold, without learning: the first stages of `learn`, in the folder `work`."""
    config, progress = config or LearnConfig(), progress or Progress()
    paths = [logs] if isinstance(logs, str | os.PathLike) else list(logs)
    with Run(work, config) as run:
        report = read_turns(run, paths, config, rejects or work / "rejects.jsonl", progress)
        boundary, gaps = cut(run, config, progress)
        find_attempts(run, boundary, LexicalDetector(), progress)
        return log_facts(run.tables, report, boundary, gaps)


def cut(run: Run, config: LearnConfig, progress: Progress) -> tuple[SessionBoundary, GapHistogram]:
    """Stage 2: the silence that ends a session, from the log's own silences unless it is given."""
    with progress.stage("finding the session boundary"):
        run.tables.query("gaps", stages.gaps())
        counts = dict.fromkeys(range(-1, BINS), 0)
        for batch in run.tables.read("SELECT bin, gaps FROM gaps ORDER BY bin"):
            counts |= dict(zip(batch["bin"].to_pylist(), batch["gaps"].to_pylist(), strict=True))
        histogram = GapHistogram(tuple(counts[place] for place in range(BINS)), counts[-1])
        given = config.log.session_gap_s
        if given is None:
            return estimate_boundary(histogram), histogram
        return SessionBoundary(given, BoundaryMethod.GIVEN, None, histogram.share_below(given)), histogram


def find_attempts(run: Run, boundary: SessionBoundary, detector: RephraseDetector, progress: Progress) -> None:
    """Stages 3 and 4: sessions, the outcome of every turn, and what each failed turn was said again as."""
    finder = AttemptFinder(boundary.seconds, OutcomeModel(), detector)
    total = int(str(run.tables.one("SELECT count(*) FROM ordered")[0]))
    with progress.stage("judging outcomes and finding rephrases", total) as stage:
        run.tables.map("attempts", "ordered", finder, ATTEMPT_SCHEMA, whole="user_id", told=stage.advance)


def count(run: Run, gate: GateConfig, progress: Progress) -> None:
    """Stages 5 to 7, the counting: by user, with a cap, and then over all users."""
    queries = {
        "by_user": stages.by_user(),
        "texts": stages.texts(gate),
        "own_hops": stages.own_hops(),
        "hops": stages.hops(gate),
        "states": stages.states(),
        "own_served": stages.own_served(),
        "served": stages.served(gate),
    }
    with progress.stage("counting", len(queries)) as stage:
        for name, sql in queries.items():
            run.tables.query(name, sql)
            stage.advance(1)


def mine(run: Run, gate: GateConfig, progress: Progress) -> list[Candidate]:
    """Stage 5, the chain: where attempts end, and through which words; and the verdict on every reformulation."""
    with progress.stage("solving the chain and judging its reformulations"):
        states = run.tables.table("SELECT * FROM states ORDER BY said")
        hops = run.tables.table("SELECT * FROM hops ORDER BY said, next_said")
        served = run.tables.table("SELECT served.* FROM served WHERE said IN (SELECT said FROM states)")
        chain = chain_of(states, hops)
        return judge_all(chain, states, served, gate) if chain else []

"""The mining job: a log in, a bundle of learned rewrites out. `learn` reads from top to bottom as the story of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from dialogue.outcomes import OutcomeModel
from dialogue.reader import PathLike
from dialogue.sessions import BINS, BoundaryMethod, GapHistogram, SessionBoundary, estimate_boundary
from rephrase_detection import LexicalDetector, RephraseDetector
from rewrite import own_counts, stages
from rewrite.attempts import ATTEMPT_SCHEMA, AttemptFinder
from rewrite.bundle import Bundle
from rewrite.config import LearnConfig
from rewrite.context_mining import mine_contexts
from rewrite.counting import count_all
from rewrite.dense_writing import carried
from rewrite.detectors import Detection, asked, used
from rewrite.errors import ConfigError
from rewrite.execution import MICRO
from rewrite.facts import LogFacts, Span, Summary, log_facts, summary
from rewrite.gate import lower_bound
from rewrite.graph import Graph, Tables, graph_of
from rewrite.live_merge import live_of, taken
from rewrite.mining import expected, judge_all
from rewrite.models import resolve_model
from rewrite.populations import populate
from rewrite.progress import Progress
from rewrite.publish import draft_of, locked, real
from rewrite.reading import read_turns
from rewrite.retriever import Retriever
from rewrite.retriever_learning import fuller, learned_retriever
from rewrite.retriever_training import RetrieverRecipe
from rewrite.run import Run, disk_space, refuse_foreign, rejects_of, working_on
from rewrite.table import Standings, Table, decide
from rewrite.writing import publish, write_bundle


def learn(
    logs: PathLike | Iterable[PathLike],
    out: str | Path,
    *,
    config: LearnConfig | None = None,
    previous: str | Path | None = None,
    detector: RephraseDetector | None = None,
    progress: Progress | None = None,
    live: bool = True,
    retriever: Retriever | RetrieverRecipe | None = None,
) -> Summary:
    """Learns from logs and publishes the bundle at `out`, in place of one that is there.

    With `previous`, an earlier bundle learns on from these logs alone: what it counted ages and is added to, its
    rewrites stay on as long as they are likelier good than not, and turns that it counted are not counted again. A
    person's pins and blocks are kept from the bundle at `out` and from `previous`. A killed job goes on where it was
    when it is called again.

    The live history beside `previous`, or else beside the bundle at `out`, is one more log unless `live` is False.
    Turns that the logs hold too count once, and what the published bundle has counted is removed from it.

    Rephrases are found by `detector`; without one by the trained detector that `previous` carries, and else by the
    lexical one. The bundle carries a trained detector on: `rewrite.detectors.TrainedDetector.load(folder)`.

    The bundle serves with `retriever` (`rewrite.retriever.Retriever.load(folder)`), without one with that of
    `previous`, and else with none: near requests are then found by their letters. By a `RetrieverRecipe` one is trained
    from these logs, and is in the bundle when that is published; where no request is known to work for everyone there
    is nothing to propose, and it is as without.
    """
    out = real(out)
    config, progress = config or LearnConfig(), progress or Progress()
    earlier = Bundle.open(previous) if previous is not None else None
    if earlier is not None and earlier.manifest.parameters["text"] != config.as_dict()["text"]:
        raise ConfigError(
            f"{previous} was learned with other wake words or politeness, so that its texts are not those of this"
            " configuration: give the same [text] as then, or learn from all logs anew without a previous bundle"
        )
    paths = [logs] if isinstance(logs, str | os.PathLike) else list(logs)
    refuse_foreign(out)
    detector = used(detector, earlier, config.resources.workers)
    if isinstance(retriever, RetrieverRecipe):
        with progress.stage("finding the encoder"):
            resolve_model(retriever.model)  # told now, not after the work
    proposing = carried(earlier) if retriever is None else retriever
    history = live_of(previous, out) if live else None
    with disk_space(out), locked(out, "learn"), working_on(out, paths, config, detector, earlier, history) as run:
        rejects, live_log = rejects_of(out), taken(history, run.folder, config)
        report = read_turns(run, paths, config, rejects, progress, earlier, live_log)
        boundary, gaps = cut(run, config, progress, earlier)
        detection = find_attempts(run, boundary, detector, progress)
        facts = log_facts(run.tables, report, boundary, gaps)

        span = count(run, config, progress, earlier)
        graph, table = mine(run, config, progress, Standings.of(earlier), span)
        populate(run.tables, config, table.rewrites, progress)

        if isinstance(proposing, RetrieverRecipe):
            made = learned_retriever(
                run.tables, run.folder, table, boundary.seconds, proposing, config, detector, earlier, progress
            )
            proposing = fuller(made, carried(earlier))
        draft = draft_of(out)
        span = span.adding(facts)
        log = facts.as_dict()
        write_bundle(run.tables, draft, config, log, span, graph, table, detector, progress, proposing, earlier)
        publish(draft, out, earlier, progress)
        counted = live_log.counted(run.tables) if live_log is not None else {}
        run.finish()
        if live_log is not None:
            live_log.clear(counted)
        return summary(out, facts, table.candidates, detection)


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


def cut(
    run: Run, config: LearnConfig, progress: Progress, earlier: Bundle | None = None
) -> tuple[SessionBoundary, GapHistogram]:
    """Stage 2: the silence that ends a session: as given, as in the earlier bundle, or from the log's own silences."""
    with progress.stage("finding the session boundary"):
        run.tables.query("gaps", stages.gaps())
        counts = dict.fromkeys(range(-1, BINS), 0)
        for batch in run.tables.read("SELECT bin, gaps FROM gaps ORDER BY bin"):
            counts |= dict(zip(batch["bin"].to_pylist(), batch["gaps"].to_pylist(), strict=True))
        histogram = GapHistogram(tuple(counts[place] for place in range(BINS)), counts[-1])
        given, method = config.log.session_gap_s, BoundaryMethod.GIVEN
        if given is None and earlier is not None:
            given, method = float(earlier.manifest.log["session_gap_s"]), BoundaryMethod.BEFORE
        if given is None:
            return estimate_boundary(histogram), histogram
        return SessionBoundary(given, method, None, histogram.share_below(given)), histogram


def find_attempts(run: Run, boundary: SessionBoundary, detector: RephraseDetector, progress: Progress) -> Detection:
    """Stages 3 and 4: sessions, the outcome of every turn, and what each failed turn was said again as."""
    finder = AttemptFinder(boundary.seconds, OutcomeModel(), detector)
    total = int(str(run.tables.one("SELECT count(*) FROM ordered")[0]))
    found, before, begun = run.tables.has("attempts"), asked(detector), monotonic()
    with progress.stage("judging outcomes and finding rephrases", total) as stage:
        run.tables.map("attempts", "ordered", finder, ATTEMPT_SCHEMA, whole="user_id", told=stage.advance)
    return Detection.of(detector, total, before, None if found else monotonic() - begun)


def count(run: Run, config: LearnConfig, progress: Progress, earlier: Bundle | None = None) -> Span:
    """Stages 5 to 7, the counting: by user, with what an earlier bundle counted, and then over all users with a cap."""
    before = Span.of(earlier)
    with progress.stage("counting") as stage:
        run.tables.query("last_seen", own_counts.last_seen())
        reached = float(str(run.tables.one(own_counts.as_of(config.gate.min_users))[0]))
        span = before.reaching(reached)
        for _ in own_counts.count_own(run.tables, config.decay, span.as_of, before.as_of if earlier else None):
            stage.advance(1)
        for _ in count_all(run.tables, config.gate):
            stage.advance(1)
    return span


def mine(
    run: Run, config: LearnConfig, progress: Progress, before: Standings, span: Span
) -> tuple[Graph | None, Table]:
    """Stage 5, the chain: where attempts end, and through which words; and the verdict on every reformulation."""
    with progress.stage("solving the chain and judging its reformulations"):
        gate = config.gate
        tables = Tables.read(run.tables, gate.min_users)
        weight, success = (tables.texts[name].to_numpy() / MICRO for name in ("weight", "success"))
        graph = graph_of(tables, lower_bound(success, weight, gate.confidence), config.chain)
        before = before.among(set(tables.texts["said"].to_pylist()))
        judged = judge_all(graph, tables, expected(graph, tables), gate, before.on) if graph else []
        table = decide(judged, before, gate, span.as_of)
        contexts = mine_contexts(run.tables, gate, graph, table.rewrites, before.contextual)
        return graph, replace(table, contexts=contexts)


"""Forgetting users: the bundle becomes what learning without them from the same counts would have given.

A bundle keeps what each user did, in sums (`rewrite.own_counts`), and everything else in it is derived from them. So
the sums of the users are left out, and all stages from counting on are run again over those of the others, as of the
time that the bundle had reached. What only these users said is then in no file of it, and what too few others said is
nobody else's any more.

From a bundle learned anew, from logs without these users, the result may differ in this:

1. Time. Ages are reckoned from when enough users had said something last (`own_counts.as_of`); without a user this may
   be another moment. It is kept, since time never runs back.
2. Sessions. The silence that ends one was estimated from everybody's silences, where it was not given.
3. What was decided by learnings before the latest: rewrites that were on then are held as learning holds them, with
   what was known of their requests at the time, and suspensions stay. They speak of texts that enough others say.
4. The manifest. Turns too old, too long or empty are in no sums, and sessions are not kept by user: `turns` falls by
   what was counted of the users, `sessions` stays. What it tells of the latest log stays, but for a file's name that
   holds a user's id.
5. The trained detector that the bundle carries: it is copied as it is, weights and all. So is the retriever; its
   vectors and indexes are made anew over what others said.
6. How texts that others said too are interpreted stays as the bundle has it: it keeps no interpretations by user.

Where a person pinned or blocked a text that nobody else says, their word stays; it is counted, for them to judge. The
logs are not touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dialogue.canonical import Canonicaliser
from rephrase_detection import LexicalDetector
from rewrite.bundle import COUNTS, DETECTOR, Bundle, write_manifest
from rewrite.config import LearnConfig, ResourceConfig
from rewrite.counting import count_all
from rewrite.dense_writing import carried
from rewrite.errors import ConfigError
from rewrite.execution import Execution
from rewrite.facts import Span
from rewrite.forgetting_rejects import drop_rejects
from rewrite.gate import GateReason, Standing
from rewrite.job import mine
from rewrite.live_history import LiveHistory, live_path
from rewrite.own_counts import KEPT, WATERMARK_SCHEMA, WATERMARKS
from rewrite.populations import populate
from rewrite.progress import Progress
from rewrite.publish import draft_of, locked, real, resting, restore
from rewrite.run import Run, disk_space, partial_rejects, rejects_of, work_of
from rewrite.table import Standings, Table
from rewrite.writing import publish, write_bundle

#: Parts of a bundle that are not derived from its counts: they are copied as they are.
CARRIED = (DETECTOR,)
#: What stands in the place of a log's name that holds a user's id.
UNNAMED = "(forgotten)"
#: Figures of a bundle are rounded to six digits.
_ROUNDED = 2e-6

_TURNS = ("own_states", "own_served")
_TEXTS = ("said", "next_said", "rewrite")


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten, in figures: no text of anybody is in it."""

    bundle: Path
    users: tuple[str, ...]  # of whom something was known, in the bundle or beside it
    unknown: tuple[str, ...]  # of whom nothing was
    turns: int = 0  # counted of them
    texts: int = 0  # that only they said
    rewrites_gone: int = 0  # fewer rewrites for everyone; below 0 where there are more
    doubtful_overrides: int = 0  # pins and blocks of such a text, which stay
    live_turns: int = 0  # of the live history
    rejects: int = 0  # lines of the rejects file
    unattributed: int = 0  # lines of it that name no user, and stay
    unfinished: bool = False  # whether a learning that was cut short had to go

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"bundle": str(self.bundle), "users": list(self.users), "unknown": list(self.unknown)}


@dataclass
class _LeftOut:
    """What was left out of the kept tables."""

    texts: set[str] = field(default_factory=set)
    turns: int = 0


def forget(bundle: str | Path, users: Collection[str], *, progress: Progress | None = None) -> Forgotten:
    """Removes users from every file of a bundle, and from what lies beside it, and publishes the result in its place.

    Killed at any moment, the old bundle is whole, or the new one is there; the same call then does what is left. Of
    users that nothing is known of, nothing changes. A learning that was cut short has to begin anew.

    Raises ConfigError without users, BundleError where there is no sound bundle, BusyError while one is learned there.
    """
    wanted = frozenset(users)
    if not wanted or "" in wanted:
        raise ConfigError("no user to forget: give the ids of users, as they are in the log")
    out, progress = real(bundle), progress or Progress()
    Bundle.open(out, verify=False)  # where there is none, no lock is made
    with disk_space(out), locked(out, "learn"):
        with locked(out, "edit", wait=True):
            restore(out)
        opened = Bundle.open(out, verify=True)
        with progress.stage("clearing what was left behind"):
            unfinished = (work_of(out) / "job.json").exists()
            _clear_leftovers(out)
        known = known_users(opened, wanted)
        told = _without(opened, known, progress) if known else Forgotten(out, (), ())
        with progress.stage("clearing what lies beside"):
            rejects = drop_rejects(rejects_of(out), wanted)
            live = _forget_live(opened, wanted)
        found = known | rejects.users | {user for user, rows in live.items() if rows}
        return replace(
            told, users=tuple(sorted(found)), unknown=tuple(sorted(wanted - found)), live_turns=sum(live.values()),
            rejects=rejects.lines, unattributed=rejects.unattributed, unfinished=unfinished,
        )  # fmt: skip


def known_users(bundle: Bundle, users: Collection[str]) -> frozenset[str]:
    """Those of the users that a bundle has counted anything of."""
    names = pa.array(sorted(users), pa.string())
    found: set[str] = set()
    for name, schema in _schemas().items():
        for batch in _kept(bundle, name, schema):
            found.update(batch["user_id"].filter(pc.is_in(batch["user_id"], names)).unique().to_pylist())
    return frozenset(found)


def standings_before(bundle: Bundle) -> Standings:
    """What the learnings before a bundle's latest had turned on, as far as it tells, and all suspensions.

    A rewrite that the latest turned on itself carries the present figures as those known of its request: it is no
    reason to hold it, since what turned it on is being recounted. Of those for single contexts, the bundle tells only
    of some that they were held: the others are judged anew.
    """
    told = Standings.of(bundle)
    new = {(row["source"], row["target"]) for row in bundle.rewrites("candidates") if _turned_on_now(row)}
    on = {pair: known for pair, known in told.on.items() if pair not in new}
    if not told.contextual:
        return replace(told, on=on)
    held = {_entry(row) for row in bundle.rewrites("contexts") if row["reason"] == GateReason.HELD}
    return replace(told, on=on, contextual=told.contextual & held)


def _without(bundle: Bundle, users: frozenset[str], progress: Progress) -> Forgotten:
    """Makes the bundle anew from the counts of all others, and publishes it."""
    config = LearnConfig.from_parameters(bundle.manifest.parameters)
    draft = draft_of(bundle.path)
    run = Run(work_of(bundle.path), replace(config, resources=ResourceConfig()))
    try:
        with progress.stage("leaving out the users"):
            left = _leave_out(run.tables, bundle, users)
            theirs = left.texts - _texts_of_others(run.tables, left.texts)
        with progress.stage("counting") as stage:
            for _ in count_all(run.tables, config.gate):
                stage.advance(1)
        span = Span.of(bundle)
        span = replace(span, turns=max(0, span.turns - left.turns))
        before = standings_before(bundle)
        graph, table = mine(run, config, progress, before, span)
        table = _as_fresh_as_before(table, before)
        populate(run.tables, config, table.rewrites, progress)
        log = _unnamed(bundle.manifest.log, users)
        retriever = carried(bundle)
        write_bundle(
            run.tables, draft, config, log, span, graph, table, LexicalDetector(), progress, retriever, bundle
        )
        _carry_on(bundle, draft)
        publish(draft, bundle.path, None, progress)
    finally:
        run.tables.close()
        run.workers.close()
        _clear_leftovers(bundle.path)
    return Forgotten(
        bundle.path,
        tuple(users),
        (),
        turns=left.turns,
        texts=len(theirs),
        rewrites_gone=bundle.manifest.counts["rewrites"] - len(table.rewrites),
        doubtful_overrides=_doubtful(bundle, theirs),
    )


def _schemas() -> dict[str, pa.Schema]:
    return {each.name: each.schema for each in KEPT} | {WATERMARKS: WATERMARK_SCHEMA}


def _kept(bundle: Bundle, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    path = bundle.path / COUNTS / f"{name}.parquet"
    if not path.exists():  # a bundle made before there was such a table; else the manifest would have missed it
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(100_000, columns=schema.names):
            yield batch.select(schema.names).cast(schema)


def _leave_out(tables: Execution, bundle: Bundle, users: frozenset[str]) -> _LeftOut:
    """Makes the kept tables those of all other users."""
    names, left = pa.array(sorted(users), pa.string()), _LeftOut()
    for name, schema in _schemas().items():
        tables.write(name, _others(_kept(bundle, name, schema), name, names, left), schema)
    return left


def _others(
    batches: Iterator[pa.RecordBatch], name: str, users: pa.Array, left: _LeftOut
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        theirs = pc.is_in(batch["user_id"], users)
        gone = batch.filter(theirs)
        for column in set(_TEXTS) & set(gone.schema.names):
            left.texts.update(gone[column].unique().to_pylist())
        if name in _TURNS:
            left.turns += pc.sum(gone["turns"]).as_py() or 0
        yield batch.filter(pc.invert(theirs))


def _texts_of_others(tables: Execution, texts: set[str]) -> set[str]:
    """Those of the texts that stand in the kept tables of all others."""
    wanted, found = pa.array(sorted(texts), pa.string()), set[str]()
    for each in KEPT:
        columns = [name for name in _TEXTS if name in each.names]
        for batch in tables.read(f"SELECT DISTINCT {', '.join(columns)} FROM {each.name}"):
            for column in columns:
                found.update(batch[column].filter(pc.is_in(batch[column], wanted)).to_pylist())
    return found


def _turned_on_now(row: Mapping[str, Any]) -> bool:
    if row["standing"] != Standing.ON or row["reason"] == GateReason.HELD:
        return False
    turns = row["source_turns"] + row["source_prior_turns"]
    return bool(row["known_alone"] == row["alone"]) and abs(row["known_turns"] - turns) < _ROUNDED


def _entry(row: Mapping[str, Any]) -> tuple[str, str, str | None]:
    return row["source"], row["token"], row["target"]


def _as_fresh_as_before(table: Table, before: Standings) -> Table:
    """The table with suspensions as they were: no time has passed, and the next learning has yet to hear of them."""
    fresh = {pair for pair, each in before.suspended.items() if each.fresh}
    suspensions = [replace(each, fresh=each.fresh or each.pair in fresh) for each in table.suspensions]
    return replace(table, suspensions=suspensions)


def _unnamed(log: Mapping[str, Any], users: Collection[str]) -> dict[str, Any]:
    """What the manifest tells of the latest log, without names of files that hold an id."""
    files = [UNNAMED if any(user in name for user in users) else name for name in log["files"]]
    return {**log, "files": files}


def _carry_on(bundle: Bundle, draft: Path) -> None:
    """Copies what is not derived from counts, and has the manifest of the draft vouch for it."""
    for name in CARRIED:
        if (bundle.path / name).is_dir():
            shutil.copytree(bundle.path / name, draft / name)
    made = Bundle.open(draft, verify=False).manifest
    write_manifest(
        draft,
        created=made.created,
        parameters=made.parameters,
        log=made.log,
        span=made.span,
        counts=made.counts,
        detector=bundle.manifest.detector,
        retriever=made.retriever,
    )


def _doubtful(bundle: Bundle, theirs: Collection[str]) -> int:
    """Pins and blocks that hold a text which nobody else says."""
    overrides, canonical = Bundle.open(bundle.path, verify=False).overrides, _canonical(bundle)
    pins = sum(source in theirs or canonical(target) in theirs for source, target in overrides.pinned.items())
    return pins + sum(source in theirs for source in overrides.blocked)


def _clear_leftovers(out: Path) -> None:
    """Removes what a killed job left beside a bundle; the old bundle at rest only where there is one in its place."""
    left = [work_of(out), draft_of(out), *([resting(out)] if out.exists() else [])]
    for folder in left:
        if folder.exists():
            shutil.rmtree(folder)
    for file in partial_rejects(out):
        file.unlink(missing_ok=True)


def _forget_live(bundle: Bundle, users: Collection[str]) -> dict[str, int]:
    """How many turns in the live history beside the bundle were of each user; they are gone."""
    history = LiveHistory.open(live_path(bundle.path), canonical=_canonical(bundle))
    try:
        return {user: history.forget(user) for user in sorted(users)}
    finally:
        history.close()


def _canonical(bundle: Bundle) -> Canonicaliser:
    text = bundle.manifest.parameters["text"]
    return Canonicaliser(tuple(text["wake_words"]), tuple(text["politeness"]))

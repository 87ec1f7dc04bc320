"""Learns from real logs and sets what was learned beside the annotations, for a person to read and to judge.

    python benchmarks/real_logs.py DATA                     what the defaults learn
    python benchmarks/real_logs.py DATA --open --set saif   with the gate opened wide: best and worst thirty pairs
    python benchmarks/real_logs.py DATA --middle            everything that a gate half open keeps
    python benchmarks/real_logs.py DATA --corrections 30    a sample of the users' own corrections

DATA holds `saif/dev.jsonl`, `dstc1/dev.jsonl`, `dstc2/train.jsonl.gz` and `dstc2/dev.jsonl`, in the log format with
`gold`, which the miner never sees. Each pair is printed with its margin (`rewritten_lower - alone_upper`) and, over the
turns that the detector links from source to target in the log:

    links    how many there are; 0 where the pair is reached over other texts only
    again    of those annotated, how many say that the second turn says the first one again (`gold.rephrase_of`)
    frame    of those with both interpretations annotated, how many have the same one (`gold.frame`)
    meant    the commonest transcripts of both turns (`gold.text`), where they differ from what was heard

How the kinds of right and wrong were counted, and what was changed because of them: docs/real-logs.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dialogue.canonical import Canonicaliser, fold
from dialogue.outcomes import OutcomeModel
from dialogue.reader import read_log
from dialogue.session_batch import session_batch
from dialogue.table import turn_batch
from dialogue.turn import Gold, Nlu, Turn
from rephrase_detection import LexicalDetector
from rewrite.bundle import Bundle
from rewrite.config import GateConfig, LearnConfig
from rewrite.job import learn

SETS = {
    "saif": ("saif/dev.jsonl",),
    "dstc1": ("dstc1/dev.jsonl",),
    "dstc2": ("dstc2/train.jsonl.gz", "dstc2/dev.jsonl"),
}
DEFAULT = GateConfig()
MIDDLE = GateConfig(min_users=2, confidence=0.8, false_discoveries=0.2, margin=0.0, rewritten_floor=0.0)
OPEN = GateConfig(min_users=1, confidence=0.5, false_discoveries=0.5, margin=0.0, rewritten_floor=0.0)
#: How many pairs are read from either end.
READ = 30

Pair = tuple[str, str]


@dataclass(frozen=True)
class Link:
    """One step from a turn to the turn that the detector takes for the next try."""

    source: Gold | None
    target: Gold | None
    source_id: str

    @property
    def again(self) -> bool | None:
        """Whether the annotation says the same; None where it says nothing."""
        if self.target is None or "rephrase_of" not in self.target.annotated:
            return None
        return self.target.rephrase_of == self.source_id

    @property
    def same_frame(self) -> bool | None:
        """Whether both turns are annotated with one interpretation; None where either has none."""
        one, other = _frame(self.source), _frame(self.target)
        return None if one is None or other is None else one == other


def _frame(gold: Gold | None) -> object:
    frame: Nlu | None = gold.frame if gold else None
    return None if frame is None else (frame.intent, sorted((name, str(value)) for name, value in frame.slots.items()))


def links_of(paths: Sequence[Path], gap_s: float) -> Mapping[Pair, list[Link]]:
    """Every step in the log, by the texts at its ends: what the mining job counts, with the annotations kept."""
    turns = [turn for block in read_log(paths, keep_gold=True) for turn in block]
    by_id: dict[str, Turn] = {turn.turn_id: turn for turn in turns}
    turns.sort(key=lambda turn: (turn.user_id, turn.timestamp, turn.turn_id))
    batch: pa.RecordBatch = session_batch(turn_batch(turns, Canonicaliser()), gap_s)
    found = LexicalDetector().detect(batch, OutcomeModel().judge(batch))
    names, said = batch["turn_id"].to_pylist(), batch["said"].to_pylist()
    links: defaultdict[Pair, list[Link]] = defaultdict(list)
    for source, target in zip(found.source.tolist(), found.target.tolist(), strict=True):
        link = Link(by_id[names[source]].gold, by_id[names[target]].gold, names[source])
        links[said[source], said[target]].append(link)
    return links


def described(pair: Pair, links: Sequence[Link]) -> str:
    """A pair with what the annotations say of its links, in one line or two."""
    again, frame = (_share(getattr(link, name) for link in links) for name in ("again", "same_frame"))
    meant = [_meant(text, (getattr(link, side) for link in links)) for text, side in zip(pair, SIDES, strict=True)]
    line = f"links {len(links):3d}  again {again:>7}  frame {frame:>7}  {pair[0]} -> {pair[1]}"
    return line + (f"\n{'':12}meant: {meant[0] or '='} -> {meant[1] or '='}" if any(meant) else "")


SIDES = ("source", "target")


def _share(answers: Iterable[bool | None]) -> str:
    known = [each for each in answers if each is not None]
    return f"{sum(known)}/{len(known)}" if known else "-"


def _meant(heard: str, golds: Iterable[Gold | None]) -> str:
    """The commonest transcripts, or nothing where that is what was heard."""
    texts = Counter(fold(gold.text) for gold in golds if gold and gold.text)
    common = [text for text, _ in texts.most_common(2)]
    return "" if not common or common == [heard] else " | ".join(common)


def learned(name: str, paths: Sequence[Path], gate: GateConfig, out: Path) -> Bundle:
    """The bundle of one log at one gate; prints what the run says of itself."""
    begun = time.perf_counter()
    summary = learn(list(paths), out, config=LearnConfig(gate=gate))
    took = time.perf_counter() - begun
    facts = summary.log.as_dict()
    print(
        f"{name}, min_users {gate.min_users}, confidence {gate.confidence}, margin {gate.margin}: {took:.1f} s,"
        f" {facts['turns']:,} turns, {sum(facts['rejected'].values())} rejected, {facts['users']:,} users,"
        f" {facts['sessions']:,} sessions, {facts['failing']:,} failing, {facts['rephrased']:,} said again"
    )
    print(f"  {dict(summary.counts)}\n  verdicts {dict(summary.verdicts)}")
    return Bundle.open(out)


def show_pairs(title: str, rows: Sequence[Mapping[str, object]], links: Mapping[Pair, list[Link]]) -> None:
    """One entry a rewrite: its margin, and what the annotations say."""
    print(f"\n{title}")
    for row in rows:
        pair = str(row["source"]), str(row["target"])
        users = f"users {row['source_users']}, {row['route_users']}, {row['target_users']}"
        print(f"  {float(str(row['margin'])):+.2f}  {users:16} {described(pair, links.get(pair, []))}")


def show_corrections(bundle: Bundle, links: Mapping[Pair, list[Link]], sample: int) -> None:
    """A sample of the users' own corrections, and all that are made often enough to be served."""
    rows = list(bundle.rewrites("corrections"))
    served = [row for row in rows if int(str(row["turns"])) >= GateConfig().personal_hops]
    once = [row for row in rows if row not in served]
    drawn = np.random.default_rng(0).permutation(len(once))[:sample].tolist()
    for title, some in (("made often enough to be served", served), ("made once", [once[row] for row in drawn])):
        print(f"\nown corrections {title} ({len(served if some is served else once)}, {len(some)} shown)")
        for row in some:
            pair = str(row["source"]), str(row["target"])
            print(f"  {row['turns']}x  {described(pair, links.get(pair, []))}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of annotated logs")
    parser.add_argument("--set", choices=SETS, action="append", help="only this log; may be given again")
    parser.add_argument("--open", action="store_true", help="also with the gate opened wide, and print both ends")
    parser.add_argument("--middle", action="store_true", help="also with a gate half open, and print all it keeps")
    parser.add_argument("--corrections", type=int, default=0, metavar="N", help="print so many own corrections")
    given = parser.parse_args(arguments)
    for name in given.set or SETS:
        paths = [given.data / file for file in SETS[name]]
        with tempfile.TemporaryDirectory() as folder:
            bundle = learned(name, paths, DEFAULT, Path(folder, "default"))
            links = links_of(paths, float(bundle.manifest.log["session_gap_s"]))
            show_pairs("rewrites", list(bundle.rewrites()), links)
            if given.corrections:
                show_corrections(bundle, links, given.corrections)
            if given.middle:
                rows = list(learned(name, paths, MIDDLE, Path(folder, "middle")).rewrites())
                show_pairs("all rewrites", sorted(rows, key=_margin), links)
            if given.open:
                rows = sorted(learned(name, paths, OPEN, Path(folder, "open")).rewrites(), key=_margin)
                worst = rows[: min(READ, len(rows) // 2)] if len(rows) < 2 * READ else rows[:READ]
                best = rows[len(worst) :][-READ:][::-1]
                show_pairs(f"best {len(best)} of {len(rows)}", best, links)
                show_pairs(f"worst {len(worst)} of {len(rows)}", worst, links)
        print()


def _margin(row: Mapping[str, object]) -> tuple[float, str]:
    return float(str(row["margin"])), str(row["source"])


if __name__ == "__main__":
    main()

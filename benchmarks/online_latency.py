"""How fast is the online rung, with a million requests in the global layer and 100,000 users?

    python benchmarks/online_latency.py [--requests 1000000] [--users 100000] [--retriever FOLDER] [--folder DIR]

The bundle is that of `benchmarks/online_requests.py`: all requests are known to work, and each user has some of their
own. Queries are misheard forms of them, none of which is stored or comes twice, so that no cache of answers could help;
half come with a user id, all with what NLU makes of them. Each figure is measured in fresh processes of one thread:

    closed loop   one call after the other: encode, two layers, rerank, guards, decide; and answers of the tables
    peer          sentence-transformers, FAISS over as many vectors, and a cross-encoder on the ten nearest
    open loop     requests that arrive at random, 100 a second, at two processes: from arrival to answer
    recall        of the ten nearest by the exact index, those that the global layer's index finds

With --folder the bundle is kept and used again; a run that was ended goes on where it was. The retriever is a folder
made by `rewrite train-retriever` or by `benchmarks/online_quality.py`. A million texts are encoded in some ten minutes
on two idle cores. The peer encodes a sample of the texts; its index is filled up with neighbours of these.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from engine_latency import _folder  # benchmarks/engine_latency.py
from measure import MB, machine, percentiles, resident, table, told  # benchmarks/measure.py
from online_requests import Made, distinct, misheard, untrained_retriever, user_name, write_world

REQUESTS, USERS, CALLS = 1_000_000, 100_000, 20_000
QUICK = {"requests": 1_500, "users": 100, "calls": 120, "peer_texts": 200}
WARM_UP = 100
PER_SECOND, OPEN_S, PROCESSES = 100.0, 60.0, 2
RECALLED, RECALL_QUERIES = 10, 300
PEER_TEXTS, PEER_CALLS = 20_000, 300
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: Engines answer calls that were not told of on time with what they know: here every call is to be seen through.
NO_DEADLINE_S = 10.0


# What is asked


def write_questions(folder: Path, requests: int, users: int, calls: int, seed: int) -> None:
    """The misheard queries, and texts that the tables have an answer to."""
    from rewrite.loops import same_request

    path = folder / f"questions-{calls}.json"
    if path.exists():
        return
    told("making the queries")
    good = distinct(requests, seed)
    draw = random.Random(seed + 2)
    some = draw.sample(list(good.values()), min(len(good), 50_000))
    by_text = {each.text for each in some}
    heard = (each for each in misheard(some, good, 2 * (calls + WARM_UP), seed + 3))
    fresh = [each for each in heard if not any(same_request(each.text, text) for text in by_text & _near(each))]
    queries = [_asked(each, users, draw) for each in fresh[: calls + WARM_UP]]
    tables = [(each.text, user_name(draw.randrange(users)) if draw.random() < 0.5 else None) for each in some[:calls]]
    path.write_text(json.dumps({"queries": queries, "tables": tables}), encoding="utf-8")


def _near(each: Made) -> set[str]:
    """Texts that differ from a query by one word that came: what was heard may be a whole request without it."""
    words = each.text.split()
    return {" ".join([*words[:at], *words[at + 1 :]]) for at in range(len(words))}


def _asked(each: Made, users: int, draw: random.Random) -> tuple[str, str | None, dict[str, Any]]:
    return each.text, user_name(draw.randrange(users)) if draw.random() < 0.5 else None, each.nlu


# The processes that are measured


def ready() -> None:
    """What a server does once it is ready (docs/serving.md): Python's collector looks no more at what lasts, and seldom
    at the rest, of which nothing goes round in circles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)


def closed(folder: Path, calls: int) -> dict[str, Any]:
    """Loads the bundle and answers, one call after the other."""
    from rewrite import EngineConfig, RewriteEngine
    from rewrite.timings import STAGES, Timings

    questions = json.loads((folder / f"questions-{calls}.json").read_text(encoding="utf-8"))
    begun = perf_counter()
    import faiss  # noqa: F401  (what the dense rung needs, which is no part of loading a bundle)
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401

    imports_s = perf_counter() - begun
    before = resident()
    begun = perf_counter()
    engine = RewriteEngine.load(folder / "bundle", config=EngineConfig(deadline_s=NO_DEADLINE_S))
    load_s = perf_counter() - begun
    loaded = resident()
    queries = questions["queries"]
    for text, user, nlu in queries[:WARM_UP]:
        engine.rewrite(text, user, nlu=nlu)
    ready()
    spent, rows, reasons = [], [], Counter[str]()
    after: dict[str, Any] = {}
    for number, (text, user, nlu) in enumerate(queries[WARM_UP:]):
        timings = Timings()
        begun_ns = perf_counter_ns()
        decision = engine.rewrite(text, user, nlu=nlu, timings=timings)
        spent.append(perf_counter_ns() - begun_ns)
        rows.append(timings.by_stage())
        reasons[decision.reason.value] += 1
        if number == min(1_000, len(queries) - WARM_UP) - 1:
            after = {**resident(), "parts": mapped(folder)}
    taken = np.array(rows)
    stages = {
        stage.label: 1e6 * float(np.median(column[column > 0]))
        for stage, column in zip(STAGES, taken.T, strict=True)
        if (column > 0).any()
    }
    known = []
    for text, user in [*questions["tables"][:WARM_UP], *questions["tables"]]:
        begun_ns = perf_counter_ns()
        decision = engine.rewrite(text, user)
        known.append(perf_counter_ns() - begun_ns)
        assert decision.reason.value == "known_good", decision
    return {
        "imports_s": imports_s, "load_s": load_s, "memory": {"before": before, "loaded": loaded, "served": after},
        "latency": percentiles(np.array(spent)), "stages": stages, "reasons": dict(reasons),
        "tables": percentiles(np.array(known[WARM_UP:])), "load_average": os.getloadavg()[0],
        "global": dict(engine.bundle.manifest.retriever["index"]),
    }  # fmt: skip


def mapped(folder: Path) -> dict[str, dict[str, int]]:
    """Of the global layer and of the vectors in the bundle, the bytes on disk and those resident in this process."""
    dense = folder / "bundle" / "index" / "dense"
    held: Counter[str] = Counter()
    current = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if words and "-" in words[0] and ":" not in words[0]:
            current = words[-1] if len(words) > 5 else ""
        elif line.startswith("Rss:"):
            held[current] += int(words[1]) * 1024
    parts = {"the global index": dense / "global", "vectors": dense / "vectors"}
    return {
        name: {
            "disk": sum(path.stat().st_size for path in place.rglob("*") if path.is_file()),
            "resident": sum(size for path, size in held.items() if path.startswith(str(place.resolve()))),
        }
        for name, place in parts.items()
    }


def arriving(folder: Path, calls: int, number: int, seconds: float, start: float) -> list[int]:
    """One of the processes of the open loop: nanoseconds from the arrival of each of its requests to the answer."""
    from rewrite import EngineConfig, RewriteEngine

    questions = json.loads((folder / f"questions-{calls}.json").read_text(encoding="utf-8"))["queries"]
    engine = RewriteEngine.load(folder / "bundle", config=EngineConfig(deadline_s=NO_DEADLINE_S))
    for text, user, nlu in questions[:WARM_UP]:
        engine.rewrite(text, user, nlu=nlu)
    ready()
    draw = random.Random(number)
    spent = []
    arrival = start + draw.expovariate(PER_SECOND / PROCESSES)
    for text, user, nlu in questions[WARM_UP + number :: PROCESSES]:
        if arrival > start + seconds:
            break
        if (wait := arrival - time.time()) > 0:
            time.sleep(wait)
        engine.rewrite(text, user, nlu=nlu)
        spent.append(int(1e9 * (time.time() - arrival)))
        arrival += draw.expovariate(PER_SECOND / PROCESSES)
    return spent


def recall(folder: Path, calls: int) -> dict[str, Any]:
    """The share of the exact ten nearest of misheard queries that the global layer's index finds."""
    from retrieval.dense_index import DenseExactIndex
    from rewrite.dense_serving import DenseArrays

    questions = json.loads((folder / f"questions-{calls}.json").read_text(encoding="utf-8"))["queries"]
    arrays = DenseArrays.load(folder / "bundle")
    assert arrays is not None
    queries = np.stack([arrays.retriever.encoder.encode_one(text) for text, *_ in questions[:RECALL_QUERIES]])
    index: Any = arrays.global_layer.index
    best = DenseExactIndex(arrays.vectors, index.members).best_scores(queries, RECALLED)
    found = [index.search(query, RECALLED, 0.0).scores for query in queries]
    shares = [np.count_nonzero(mine >= wanted[0] - 1e-6) / RECALLED for mine, wanted in zip(found, best, strict=True)]
    return {"recall": float(np.mean(shares)), "queries": len(queries)}


def peer(folder: Path, requests: int, calls: int, seed: int, encoded: int) -> dict[str, Any]:
    """The usual way: a sentence embedding, its nearest by FAISS, and a cross-encoder on ten of them."""
    import faiss
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers import AutoModelForSequenceClassification

    from rewrite.models import PACKAGED, resolve_model

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    source = str(resolve_model(PACKAGED).path)
    sentences = SentenceTransformer(source, device="cpu")
    headed = folder / "cross-encoder"
    if not headed.exists():  # its head is fresh: only its time counts
        AutoModelForSequenceClassification.from_pretrained(source, num_labels=1).save_pretrained(headed)
        sentences.tokenizer.save_pretrained(headed)
    cross = CrossEncoder(str(headed), device="cpu")
    texts = list(distinct(min(requests, encoded), seed))
    index = _peer_index(folder, sentences, texts, requests, faiss)
    questions = json.loads((folder / f"questions-{calls}.json").read_text(encoding="utf-8"))["queries"]
    spent = []
    for text, *_ in questions[:PEER_CALLS]:
        begun = perf_counter_ns()
        vector = sentences.encode([text], normalize_embeddings=True, show_progress_bar=False)
        _, found = index.search(vector, RECALLED)
        near = [(text, texts[row % len(texts)]) for row in found[0]]
        cross.predict(near, show_progress_bar=False)
        spent.append(perf_counter_ns() - begun)
    return {"latency": percentiles(np.array(spent[10:])), "calls": len(spent) - 10}


def _peer_index(folder: Path, sentences: Any, texts: Sequence[str], requests: int, faiss: Any) -> Any:
    """Lists of as many vectors as there are requests, 32 of them read: of some texts, and of points near these."""
    path = folder / "peer.faiss"
    if path.exists():
        return faiss.read_index(str(path))
    told("the peer: encoding and building its index")
    encoded = sentences.encode(texts, batch_size=128, normalize_embeddings=True, show_progress_bar=False)
    lists = max(1, int(requests**0.5) // 2)
    index = faiss.index_factory(encoded.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(encoded)
    index.add(encoded)
    draw = np.random.default_rng(0)
    while index.ntotal < requests:
        more = encoded[: requests - index.ntotal]
        more = more + draw.normal(0, 0.3 / more.shape[1] ** 0.5, more.shape).astype(np.float32)
        index.add(more / np.linalg.norm(more, axis=1, keepdims=True))
    index.nprobe = min(32, lists)
    faiss.write_index(index, str(path))
    return index


# The whole


def _started(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--measure", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})


def _finished(process: subprocess.Popen[str]) -> Any:
    answer, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a process that was to be measured ended with {process.returncode}: see above")
    return json.loads(answer)


def measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Everything, on the bundle in the folder."""
    words = ("requests", "calls", "seed", "peer_texts")
    named = [word for name in words for word in (f"--{name.replace('_', '-')}", vars(given)[name])]
    common = ("--folder", folder, *named)
    found: dict[str, Any] = {"requests": given.requests, "users": given.users, "calls": given.calls}
    told("closed loop")
    found["closed"] = _finished(_started("closed", *common))
    told("open loop")
    start = time.time() + given.open_start_s
    loops = [
        _started("open", *common, "--number", number, "--open-s", given.open_s, "--at", start)
        for number in range(PROCESSES)
    ]
    spent = [each for loop in loops for each in _finished(loop)]
    found["open"] = {"latency": percentiles(np.array(spent)), "calls": len(spent), "load_average": os.getloadavg()[0]}
    told("recall")
    found["recall"] = _finished(_started("recall", *common))
    if not given.no_peer:
        told("the peer")
        found["peer"] = _finished(_started("peer", *common))
    return found


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """The marks, each with whether it is met."""
    one, wide = found["closed"], found["open"]["latency"]
    index = one["memory"]["served"]["parts"]["the global index"]
    told_of: list[tuple[str, float, float, bool]] = [
        ("closed loop, p50, us", one["latency"]["p50"], 1_300, False),
        ("closed loop, p99, us", one["latency"]["p99"], 1_800, False),
        ("closed loop, p99.9, us", one["latency"]["p99.9"], 2_500, False),
        ("answers of the tables, p50, us", one["tables"]["p50"], 50, False),
        ("open loop, p99.9, us", wide["p99.9"], 6_000, False),
        ("load, s", one["load_s"], 1.0, False),
        ("the global index, GB", index["disk"] / 1e9, 0.7, False),
        ("recall@10", found["recall"]["recall"], 0.97, True),
    ]
    if "peer" in found:
        ratio = found["peer"]["latency"]["p50"] / one["latency"]["p50"]
        told_of.append(("times faster than the peer", ratio, 40, True))
    return [
        f"{'met' if (value >= mark if more else value < mark) else 'MISSED'}: {name} {_figure(value)}, "
        f"{'at least' if more else 'less than'} {mark:,} is wanted"
        for name, value, mark, more in told_of
    ]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def report(found: Mapping[str, Any]) -> str:
    """Tables and verdicts, for people."""
    one, head = found["closed"], ("microseconds", "p50", "p90", "p99", "p99.9")
    latency = [("closed loop", *one["latency"].values()), ("tables", *one["tables"].values())]
    latency.append(("open loop", *found["open"]["latency"].values()))
    if "peer" in found:
        latency.append(("the peer", *found["peer"]["latency"].values()))
    memory = [(moment, one["memory"][moment]["rss"] / MB) for moment in ("before", "loaded", "served")]
    parts = one["memory"]["served"]["parts"]
    held = [(name, part["disk"] / MB, part["resident"] / MB) for name, part in parts.items()]
    return "\n\n".join(
        [
            table(head, latency),
            table(("stage, of calls that came there", "median, us"), one["stages"].items()),
            table(("resident", "MB"), memory),
            table(("mapped", "MB on disk", "MB resident"), held),
            f"importing {one['imports_s']:.2f} s; load average {one['load_average']:.1f} in the closed loop,"
            f" {found['open']['load_average']:.1f} in the open; index {one['global']}",
            "answers: " + ", ".join(f"{name} {count:,}" for name, count in one["reasons"].items()),
            "\n".join(verdicts(found)),
        ]
    )


def _measure(given: argparse.Namespace) -> Any:
    if given.measure == "closed":
        return closed(given.folder, given.calls)
    if given.measure == "open":
        return arriving(given.folder, given.calls, given.number, given.open_s, given.at)
    if given.measure == "recall":
        return recall(given.folder, given.calls)
    return peer(given.folder, given.requests, given.calls, given.seed, given.peer_texts)


def main(arguments: Iterable[str] | None = None) -> dict[str, Any] | None:
    """Makes the bundle, measures, prints, and returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in the global layer")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--calls", type=int, default=CALLS, help="of the closed loop, and at most of the open one")
    parser.add_argument("--retriever", type=Path, help="a trained one (default: one that is hardly trained)")
    parser.add_argument("--folder", type=Path, help="where the bundle is kept (default: made anew, and removed)")
    parser.add_argument("--open-s", type=float, default=OPEN_S, help="seconds of the open loop")
    parser.add_argument("--open-start-s", type=float, default=20.0, help="seconds until its processes have loaded")
    parser.add_argument("--no-peer", action="store_true", help="without the peer")
    parser.add_argument("--peer-texts", type=int, default=PEER_TEXTS, help="that the peer encodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK['requests']:,} requests")
    parser.add_argument("--json", action="store_true", help="figures as JSON, instead of tables")
    parser.add_argument("--measure", choices=("closed", "open", "recall", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--at", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.measure:
        print(json.dumps(_measure(given)))
        return None
    if given.quick:
        vars(given).update(QUICK, open_s=1.0, open_start_s=3.0)
    with _folder(given.folder, f"{given.requests}-{given.users}-{given.seed}") as folder:
        retriever = given.retriever or untrained_retriever(folder / "retriever")
        write_world(folder, given.requests, given.users, retriever, given.seed)
        write_questions(folder, given.requests, given.users, given.calls, given.seed)
        found = measured(folder, given)
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        print(machine("numpy", "onnxruntime", "faiss-cpu"), "", report(found), sep="\n")
    return found


if __name__ == "__main__":
    main()

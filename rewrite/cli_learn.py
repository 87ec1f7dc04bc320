"""The mining job on the command line: `rewrite learn`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_check import (
    Json,
    Logs,
    RejectLimit,
    SessionGap,
    facts_in_words,
    replaced,
    with_log_options,
    with_workers,
)
from rewrite.cli_train_detector import libraries_at_work, need
from rewrite.cli_train_retriever import LIBRARIES, warn_of_what_is_lacking
from rewrite.cli_words import VERDICTS
from rewrite.console import ConsoleProgress, counted, duration, facts_table, print_json, say, stdout, warn
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.config import LearnConfig
    from rewrite.detectors import Detection
    from rewrite.facts import Summary
    from rewrite.retriever import Retriever
    from rewrite.retriever_training import RetrieverRecipe

#: What --retriever names where none is there yet, and the options that go with it.
TRAIN, TRAINING = "train", "With --retriever train"


def learn(
    logs: Logs,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="BUNDLE", help="The bundle to make, or to replace when done.")
    ],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters in a TOML or JSON file; options given here beat it.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Kept with the bundle; training alone draws anything at random.", show_default="0"
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="An earlier bundle that learns on: give the new logs alone."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="span|lexical|DIR",
            help="What finds rephrases: the folder of a trained detector, the span detector that --previous or the old"
            " BUNDLE carries, or the lexical one.",
            show_default="that of --previous, else lexical",
        ),
    ] = None,
    retriever: Annotated[
        str | None,
        typer.Option(
            metavar="train|DIR",
            help="What proposes rewrites of requests that no table has seen: a retriever trained from these logs, or"
            " the folder of a trained one.",
            show_default="that of --previous, else none",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="packaged|ID|PATH",
            help="The pretrained BERT: packaged MiniLM, a Hub id, a folder.",
            show_default="packaged",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Layers of it to keep: fewer are faster.", show_default="1",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Training steps, some 0.6 s each on two cores.", show_default="1600",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0.0, max=0.5, help="Share of good requests that rewrites may harm.",
            show_default="0.003", rich_help_panel=TRAINING,
        ),
    ] = None,
    min_users: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Distinct users that a rewrite needs.", show_default="5")
    ] = None,
    half_life: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0.01, help="Age at which a turn counts half.", show_default="90"),
    ] = None,
    reject_limit: RejectLimit = None,
    session_gap: SessionGap = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Processes, some 300 MB each; a small log gets fewer.", show_default="up to 2"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the database.", show_default="2")
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of the database; more goes to disk.", show_default="1GB"),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            help="Take in what engines observed: the live history beside --previous, else beside the old BUNDLE.",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Learn rewrites from logs, into a bundle.

    The bundle is published in one step, in place of an old one. Killed or interrupted, the old one is whole, and the
    same command goes on where it was.

    With --previous, what an earlier bundle counted ages and is added to, with its parameters unless --config gives
    others: give the logs since then. Turns that it counted are found and left out, so that logs may overlap. BUNDLE may
    be the same in both options.

    The bundle carries the trained detector that it was learned with, so that --previous goes on with it.

    Example:  [bold]rewrite learn logs/ --out bundle --config learn.toml[/bold]

    Example:  [bold]rewrite learn today.jsonl.gz --out bundle --previous bundle[/bold]

    Example:  [bold]rewrite learn logs/ --out bundle --detector detector --retriever retriever[/bold]

    With --retriever train, what rewrites requests that no table has seen is trained from the same logs, some 20 minutes
    with the options as they are, and is in the bundle when that is published. A log with few corrections leaves the
    encoder as it is. --previous carries it on.

    Example:  [bold]rewrite learn logs/ --out bundle --retriever train[/bold]
    """
    from rewrite.detectors import named
    from rewrite.job import learn as learn_log

    chosen = with_log_options(_parameters(config, previous), reject_limit, session_gap)
    chosen = replace(chosen, seed=chosen.seed if seed is None else seed)
    chosen = replace(chosen, gate=replaced(chosen.gate, min_users=min_users))
    chosen = replace(chosen, decay=replaced(chosen.decay, half_life_days=half_life))
    chosen = replace(chosen, resources=replaced(chosen.resources, threads=threads, memory_limit=memory_limit))
    if workers is not None or config is None:
        chosen = with_workers(chosen, workers, logs)
    found = None if detector is None else named(detector, previous, out)
    recipe = _recipe(retriever, chosen.seed, encoder=encoder, layers=layers, steps=steps, budget=budget)
    with libraries_at_work() if recipe is not None else nullcontext():
        summary = learn_log(
            logs, out, config=chosen, previous=previous, detector=found, progress=ConsoleProgress(), live=live,
            retriever=recipe or (None if retriever is None else _opened(retriever)),
        )  # fmt: skip
    trained = None if recipe is None else _trained(summary.out, recipe)
    if json:
        print_json(_learn_document(summary, trained))
    else:
        _print_learned(summary, chosen, trained)
    if recipe is not None and trained is None:
        warn("no retriever was trained: no request is known to work for everyone, so that there is nothing to propose.")


def _recipe(retriever: str | None, seed: int, **options: Any) -> RetrieverRecipe | None:
    """How to train, where that is asked for. Raises ConfigError."""
    given = {name: value for name, value in options.items() if value is not None}
    if retriever != TRAIN:
        if given:
            name = next(iter(given))
            raise ConfigError(f"--{name} is for training: give --retriever {TRAIN} as well, or leave it out")
        return None
    if seed < 0:
        raise ConfigError(f"--seed {seed} came: training draws by a seed of 0 or more")
    need(LIBRARIES)
    from rewrite.reranker_training import RerankerRecipe
    from rewrite.retriever_training import RetrieverRecipe

    trees = RerankerRecipe(seed=seed, **{name: given.pop(name) for name in ("budget",) if name in given})
    named = {"model" if name == "encoder" else name: value for name, value in given.items()}
    return RetrieverRecipe(reranker=trees, seed=seed, **named)


def _opened(folder: str) -> Retriever:
    from rewrite.dense_writing import opened

    return opened(Path(folder))


def _trained(bundle: Path, recipe: RetrieverRecipe) -> dict[str, Any] | None:
    """What is told of the retriever in a bundle: its digest, whether it has trees, and what was measured.

    None where there was nothing to train.
    """
    from rewrite.dense_serving import RETRIEVER
    from rewrite.retriever import RERANKER, digest_of, told_of
    from rewrite.retriever_learning import made_by

    folder = bundle / RETRIEVER
    if not folder.is_dir() or not made_by(told := told_of(folder), recipe):
        return None
    return {"digest": digest_of(folder), "ranked": (folder / RERANKER).is_dir(), "told": told}


def _parameters(config: Path | None, previous: Path | None) -> LearnConfig:
    """Those of the file; without one, those that the earlier bundle was learned with, but for what the job may use."""
    from rewrite.bundle import Bundle
    from rewrite.config import LearnConfig

    if config is not None:
        return LearnConfig.from_file(config)
    if previous is None:
        return LearnConfig()
    earlier = LearnConfig.from_parameters(Bundle.open(previous).manifest.parameters)
    return replace(earlier, resources=LearnConfig().resources)


def _learn_document(summary: Summary, trained: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "retriever": trained,
        "bundle": str(summary.out),
        "log": summary.log.as_dict(),
        "counts": dict(summary.counts),
        "verdicts": dict(summary.verdicts),
        "detector": summary.detection.as_dict(),
        "rejects_file": summary.log.report.rejects_path,
    }


def _print_learned(summary: Summary, config: LearnConfig, trained: dict[str, Any] | None) -> None:
    console, counts = stdout(), summary.counts
    told = facts_in_words(summary.log, summary.log.report.rejects_path) + _detection_in_words(summary.detection)
    judged = sum(summary.verdicts.values())
    told += [
        ("Judged", counted(judged, "pair of a request and a rewrite", "pairs of a request and a rewrite")),
        *[("", f"{n:,} {VERDICTS[reason]}") for reason, n in _most_first(summary.verdicts)],
    ]
    known = f"{counts['known_good']:,} of {counted(counts['requests'], 'request')} known to work"
    told.append(("Learned", f"{counted(counts['rewrites'], 'rewrite')} for everyone; {known}"))
    if counts["trials"] or counts["suspensions"]:
        told.append(("", f"{counted(counts['trials'], 'rewrite')} on trial, {counts['suspensions']:,} suspended"))
    own = f"{counted(counts['corrections'], 'correction')} and {counted(counts['histories'], 'request')} of users' own"
    told.append(("", own))
    if trained is not None:
        told += _training_in_words(trained)
    console.print(facts_table(told))
    if not counts["rewrites"]:
        warn(_why_none(summary, config))
    if trained is not None:
        warn_of_what_is_lacking(trained["told"], trained["ranked"])
    say(console, f"\nNext: rewrite show {_named(summary.out)}", "bold")


def _detection_in_words(detection: Detection) -> list[tuple[str, str]]:
    """Which detector found the rephrases; of a trained one also how fast, where that is known."""
    told = [("Rephrases", f"found by the {detection.name} detector {detection.digest or ''}".rstrip())]
    if detection.digest is None or not detection.seconds:
        return told
    turns = f"{counted(detection.turns, 'turn')} judged in {duration(detection.seconds)}"
    speed = f"{turns}, {detection.turns_per_second:,.0f} a second"
    if detection.windows is not None:
        windows = f"{counted(detection.windows, 'window')} read, {detection.windows_per_second:,.0f} a second"
        speed = f"{speed}; {windows}"
    return [*told, ("", speed)]


def _training_in_words(trained: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of what the retriever was trained."""
    encoder, reranker = trained["told"]["encoder"], trained["told"]["reranker"]
    pairs = f"encoder from {counted(encoder['pairs'], 'pair')}" if encoder["trained"] else "encoder as it is"
    trees = f"trees from {counted(reranker['examples'], 'request')}" if trained["ranked"] else "no trees"
    return [("Retriever", f"{pairs}, {trees}")]


def _most_first(verdicts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(verdicts.items(), key=lambda item: (item[0] != "kept", -item[1], item[0]))


def _why_none(summary: Summary, config: LearnConfig) -> str:
    """Why no rewrite was kept, and what to do about it."""
    needed, users = config.gate.min_users, summary.counts["users"]
    if users < needed:
        return (
            f"no rewrite was kept: the log has {counted(users, 'user')}, and a rewrite needs {needed} that said the"
            f" same. A longer log is best; --min-users {max(1, min(2, users))} accepts fewer."
        )
    if not summary.log.rephrased:
        return "no rewrite was kept: no failing turn was said again. `rewrite check` shows what is in the log."
    if not summary.verdicts or set(summary.verdicts) == {"too_few_users"}:
        return (
            f"no rewrite was kept: no request was said again in the same way by {needed} users. A longer log is best;"
            f" --min-users N accepts fewer than {needed}."
        )
    return f"no rewrite was kept. `rewrite show {_named(summary.out)} --candidates` shows what was judged, and why."


def _named(bundle: Path) -> str:
    """The bundle as a person would type it."""
    try:
        return str(bundle.relative_to(Path.cwd()))
    except ValueError:
        return str(bundle)

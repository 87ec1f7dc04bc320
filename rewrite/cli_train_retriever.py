"""Training on the command line: `rewrite train-retriever`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_check import Json, Logs, RejectLimit, SessionGap
from rewrite.cli_train_detector import libraries_at_work, need, sections
from rewrite.console import ConsoleProgress, counted, facts_table, print_json, say, stdout, warn
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.progress import Progress
    from rewrite.retriever_training import Attempt, Ground

LIBRARIES = ("torch", "transformers", "tokenizers", "lightgbm", "onnx", "onnxscript", "onnxruntime", "faiss")


def train_retriever(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle whose requests may be proposed.")],
    logs: Logs,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The retriever to make, or to replace.")],
    encoder: Annotated[
        str, typer.Option(metavar="packaged|ID|PATH", help="The pretrained BERT: packaged MiniLM, a Hub id, a folder.")
    ] = "packaged",
    layers: Annotated[int, typer.Option(metavar="N", min=1, help="Layers of it to keep: fewer are faster.")] = 1,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Training steps, 0.6 s each on two cores.")] = 1600,
    budget: Annotated[
        float, typer.Option(metavar="SHARE", min=0.0, max=0.5, help="Share of good requests that rewrites may harm.")
    ] = 0.003,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of whatever is drawn at random.")] = 0,
    attach: Annotated[
        bool, typer.Option("--attach", help="Serve BUNDLE with the retriever from then on: it is published again.")
    ] = False,
    session_gap: SessionGap = None,
    reject_limit: RejectLimit = None,
    json: Json = False,
) -> None:
    """Train what proposes rewrites for requests that no table has seen, for `rewrite learn --retriever`.

    BUNDLE is one that was learned from these logs or others: its requests that are known to work are what is proposed.
    The LOGs teach which of them was meant by a request that failed, and which requests are right as they are: an
    encoder of meaning and sound, trees that rank what it finds, and thresholds that keep the harm within the budget. A
    log with few corrections leaves the encoder as it is, and judges by likeness alone. Needs the libraries of the extra
    "train".

    Example:  [bold]rewrite train-retriever bundle logs/ --out retriever[/bold]

    The bundle serves with it after [bold]rewrite learn logs/ --out bundle --retriever retriever[/bold], or at once with
    [bold]--attach[/bold]; from then on, `rewrite learn --previous bundle` carries it on. To learn and train in one go:
    [bold]rewrite learn logs/ --out bundle --retriever train[/bold].
    """
    need(LIBRARIES)
    from rewrite.attaching import attach as attach_to
    from rewrite.bundle import Bundle
    from rewrite.models import resolve_model
    from rewrite.publish import draft_of, locked, swap_in
    from rewrite.reranker_training import RerankerRecipe
    from rewrite.retriever import Retriever, digest_of
    from rewrite.retriever_training import RetrieverRecipe, train_retriever

    if session_gap is not None and not session_gap > 0:
        raise ConfigError(f"--session-gap {session_gap} came: seconds above 0 are wanted")
    refuse_no_retriever(out)
    progress = ConsoleProgress()
    with progress.stage("finding the encoder"):
        resolve_model(encoder)
    recipe = RetrieverRecipe(encoder, layers, steps, RerankerRecipe(budget=budget, seed=seed), seed)
    with locked(out, "train"), libraries_at_work():
        ground, attempts = _read(Bundle.open(bundle), logs, session_gap, reject_limit, progress)
        draft = draft_of(out.absolute())
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            made = train_retriever(ground, attempts, draft, recipe, progress)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        told = made.told
        swap_in(draft, out.absolute())
        if attach:
            attach_to(bundle, Retriever.load(out), progress)
    _tell(out, told, made.reranker is not None, digest_of(out), json, None if attach else bundle)


def attach(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that is to serve with it.")],
    retriever: Annotated[Path, typer.Argument(metavar="DIR", help="A trained retriever.")],
) -> None:
    """Serve a bundle with a trained retriever from now on: it is published again, and nothing is learned anew.

    Its requests are encoded and indexed, about a millisecond each; `rewrite learn --previous` carries it on.

    Example:  [bold]rewrite attach bundle retriever[/bold]
    """
    from rewrite.attaching import attach as attach_to
    from rewrite.dense_writing import opened

    attach_to(bundle, opened(retriever), ConsoleProgress())
    say(stdout(), f"\n{bundle} serves with {retriever}", "bold")


def warn_of_what_is_lacking(told: Mapping[str, Any], ranked: bool) -> None:
    """Says what a retriever could not learn, as the log was too short; `ranked`: whether it has its trees."""
    from rewrite.retriever_training import LEAST_PAIRS

    encoder, reranker = told["encoder"], told["reranker"]
    if not encoder.get("trained"):
        warn(
            f"{counted(encoder['pairs'], 'pair')} of what was heard and meant came, and {LEAST_PAIRS} are wanted to"
            " train the encoder: it is used as it is."
        )
    if ranked and reranker.get("rewrites") is False:
        warn(
            f"with {reranker['good']:,} good requests the budget of harm cannot be shown to be kept: requests are"
            " suggested, never rewritten. Give a longer log, or a greater --budget."
        )
    if not ranked:
        warn("too few requests whose fate is known to train the trees: candidates are judged by likeness alone.")


def refuse_no_retriever(out: Path) -> None:
    """Raises TargetError where something else than a retriever is at `out`: it is never replaced."""
    from rewrite.bundle import MANIFEST, is_ours
    from rewrite.errors import TargetError
    from rewrite.retriever import FILE

    place = out.absolute()
    for folder in (place, *place.parents):
        if folder.is_dir() and (folder / MANIFEST).is_file() and is_ours(folder):
            raise TargetError(f"{out} is in the bundle {folder}, where nothing may be written: choose another --out")
    if out.exists() and not (out / FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise TargetError(f"{out} exists and is no retriever: choose another --out, or empty it first")


def _read(
    bundle: Any, logs: list[Path], session_gap: float | None, reject_limit: float | None, progress: Progress
) -> tuple[Ground, list[Attempt]]:
    import numpy as np

    from dialogue.canonical import Canonicaliser
    from rephrase_detection import LexicalDetector
    from rewrite.attempt_reading import AttemptReader
    from rewrite.config import LearnConfig
    from rewrite.dense_writing import frames_in
    from rewrite.detectors import carried
    from rewrite.retriever_training import Ground
    from rewrite.training_logs import read_training

    limit = LearnConfig().log.reject_limit if reject_limit is None else reject_limit
    read = read_training(logs, session_gap, limit, progress)
    text = bundle.manifest.parameters["text"]
    canonical = Canonicaliser(tuple(text["wake_words"]), tuple(text["politeness"]))
    users = np.array([row["users"] for row in bundle.rewrites("requests")], np.int64)
    sessions = [session for each in read for session in each.log.sessions]
    with progress.stage("finding requests whose fate is known"):
        ground = Ground(bundle.path / "index", users, frames_in(bundle))
        reader = AttemptReader(ground.arrays(), canonical, carried(bundle) or LexicalDetector())
        return ground, list(reader.read(sessions))


def _tell(out: Path, told: Mapping[str, Any], ranked: bool, digest: str, json: bool, bundle: Path | None) -> None:
    if json:
        print_json({"retriever": str(out), "digest": digest, "told": dict(told)})
        return
    console = stdout()
    for title, rows in sections({name: told[name] for name in ("encoder", "reranker")}):
        console.print(f"\n{title}", style="bold")
        console.print(facts_table(rows))
    warn_of_what_is_lacking(told, ranked)
    if bundle is not None:
        say(console, f"\nNext: rewrite learn LOG --out {bundle} --retriever {out}", "bold")

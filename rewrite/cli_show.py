"""The commands that look at a bundle: `rewrite show` and `rewrite verify`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_ask import BundlePath, Json, encodable
from rewrite.cli_table import Counted, Row, canonical_of, importance, rewrites_table, rows, rows_of
from rewrite.cli_words import VERDICTS
from rewrite.console import counted, facts_table, legible, percent, print_json, say, stdout
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.bundle import Bundle
    from rewrite.neighbourhood import Neighbourhood
    from rewrite.overrides import Overrides

_OVERRIDES_SHOWN = 10
_LISTED = 5


def show(
    bundle: BundlePath,
    source: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Everything that is known about one request.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=0, help="Rows to show, those of most turns first; 0: all.")
    ] = 20,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Every pair that was judged, with the verdict.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="VERDICT", help=f"Only candidates with this verdict: {', '.join(VERDICTS)}.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --source: draw what happens after it, as .svg, .png or .pdf."),
    ] = None,
    json: Json = False,
) -> None:
    """What was learned, and from what?

    Each rewrite with the users and turns behind it and both success rates: how often the request works when left
    alone, with the upper bound, and rewritten, with the lower bound. A rewrite is kept where it is surely enough
    better.

    With --source also what users went on to after the request, how that ended, and the way that was chosen.

    Example:  [bold]rewrite show bundle --limit 50[/bold]

    Example:  [bold]rewrite show bundle --source "play maj and dragons"[/bold]

    Example:  [bold]rewrite show bundle --source "play maj and dragons" --plot why.svg[/bold]
    """
    from rewrite.bundle import Bundle

    if reason is not None and reason not in VERDICTS:
        raise ConfigError(f"--reason {legible(reason)} is unknown: {', '.join(VERDICTS)} are known")
    if plot is not None and source is None:
        raise ConfigError("--plot draws what happens after one request: name it with --source TEXT")
    drawn = None if plot is None else _plotter(plot)
    opened = Bundle.open(bundle)
    if source is not None:
        _show_source(opened, encodable(source), drawn, json)
        return
    table = "candidates" if candidates or reason else "rewrites"
    seen = Counted(row for row in rows(opened, table) if reason in (None, row["reason"]))
    shown = sorted(seen, key=importance) if not limit else heapq.nsmallest(limit, seen, key=importance)
    if json:
        print_json({**_manifest_document(opened), "table": table, "total": seen.count, "rows": shown})
    else:
        _print_table(opened, shown, seen.count, table)


def verify(bundle: BundlePath, json: Json = False) -> None:
    """Is the bundle whole?

    Compares the digest of every file with the manifest's, and loads it for serving.

    Example:  [bold]rewrite verify bundle[/bold]
    """
    from rewrite.engine import RewriteEngine

    opened = RewriteEngine.load(bundle, verify=True).bundle
    files = opened.manifest.files
    size = sum(int(file["bytes"]) for file in files.values())
    if json:
        print_json({"bundle": str(opened.path), "whole": True, "files": len(files), "bytes": size})
    else:
        stdout().print(f"{opened.path} is whole: {counted(len(files), 'file')}, {size:,} bytes, every digest right.")


# The table


def _manifest_document(opened: Bundle) -> dict[str, Any]:
    manifest, overrides = opened.manifest, opened.overrides
    return {
        "bundle": str(opened.path),
        "created": manifest.created,
        "software": manifest.software,
        "log": manifest.log,
        "counts": manifest.counts,
        "pinned": dict(sorted(overrides.pinned.items())),
        "blocked": sorted(overrides.blocked),
    }


def _print_table(opened: Bundle, shown: list[Row], total: int, table: str) -> None:
    console = stdout()
    console.print(facts_table(_header(opened)))
    if shown:
        console.print()
        console.print(rewrites_table(shown, opened.overrides, verdicts=table == "candidates"))
    what = "candidate" if table == "candidates" else "rewrite"
    told = counted(total, what)
    if not total and table == "rewrites":
        told = "No rewrite was learned; --candidates shows what was judged, and why not."
    elif len(shown) < total:
        told = f"{len(shown):,} of {told}; --limit 0 shows all"
    console.print(told, style="dim")
    _print_overrides(opened.overrides)


def _header(opened: Bundle) -> list[tuple[str, str]]:
    manifest = opened.manifest
    log, counts, gate = manifest.log, manifest.counts, manifest.parameters["gate"]
    files = ", ".join(log["files"][:3]) + (f" and {len(log['files']) - 3} more" if len(log["files"]) > 3 else "")
    created = manifest.created[:16].replace("T", " ")
    turns = f"{counts['turns']:,} turns, {counted(counts['users'], 'user')}, {counted(counts['sessions'], 'session')}"
    known = f"{counts['requests']:,} stored, {counts['known_good']:,} known to work"
    return [
        ("Bundle", f"{opened.path}, learned {created} UTC"),
        ("Learned from", f"{turns}; last {legible(files)}"),
        ("Requests", f"{known}; {counts['histories']:,} of users' own, {counts['corrections']:,} own corrections"),
        ("Rewrites", f"{counts['rewrites']:,} of {counts['candidates']:,} candidates"),
        ("Gate", f"{gate['min_users']} users, {gate['confidence']:.0%} confidence, {gate['margin']:.0%} margin"),
    ]


def _print_overrides(overrides: Overrides) -> None:
    console = stdout()
    words = [f"pinned   {legible(said)} → {legible(target)}" for said, target in sorted(overrides.pinned.items())]
    words += [f"blocked  {legible(said)}" for said in sorted(overrides.blocked)]
    if words:
        console.print("\nA person's word", style="bold")
        for line in words[:_OVERRIDES_SHOWN]:
            say(console, line)
        if len(words) > _OVERRIDES_SHOWN:
            console.print(f"and {len(words) - _OVERRIDES_SHOWN:,} more; --json has them all", style="dim")


# One request


def _source_document(opened: Bundle, source: str) -> dict[str, Any]:
    """What is known of a request; what fewer than the gate's users said is theirs, and is not shown."""
    enough = _min_users(opened)
    said = canonical_of(opened)(source)
    overrides = opened.overrides
    corrections = Counter(row["target"] for row in rows_of(opened, "corrections", "source", said))
    common = corrections.most_common()
    return {
        "bundle": str(opened.path),
        "source": said,
        "pinned": overrides.pinned.get(said),
        "blocked": said in overrides.blocked,
        "request": next((row for row in rows_of(opened, "requests", "text", said) if row["status"] != "private"), None),
        "rewrite": next(iter(rows_of(opened, "rewrites", "source", said)), None),
        "candidates": rows_of(opened, "candidates", "source", said),
        "suspensions": rows_of(opened, "suspensions", "source", said),
        "own_corrections": [{"target": text, "users": users} for text, users in common if users >= enough],
        "rewritten_to_it": [row["source"] for row in rows_of(opened, "rewrites", "target", said)],
    }


def _min_users(opened: Bundle) -> int:
    return int(opened.manifest.parameters["gate"]["min_users"])


def _show_source(opened: Bundle, source: str, plot: Plot | None, json: bool) -> None:
    from rewrite.neighbourhood import Neighbourhood

    document = _source_document(opened, source)
    served = [row for row in document["candidates"] if row["standing"] != "off"]  # one at most
    found = Neighbourhood.from_bundle(opened, document["source"], served[0]["route"] if served else ())
    if plot is not None:
        if found is None:
            raise ConfigError(f"nothing to draw: {_not_held(document, _min_users(opened))}")
        plot(found)
    if json:
        print_json({**document, "neighbourhood": None if found is None else found.as_dict()})
        return
    console = stdout()
    console.print(facts_table(_source_facts(document)))
    if document["candidates"]:
        console.print("\nJudged", style="bold")
        console.print(rewrites_table(document["candidates"], opened.overrides, verdicts=True))
    if standings := _standings(document):
        console.print("Standing" if document["candidates"] else "\nStanding", style="bold")
        console.print(facts_table(standings))
    console.print("\nWhat happens after it", style="bold")
    _print_neighbourhood(found, document, _min_users(opened))


def _print_neighbourhood(found: Neighbourhood | None, document: Mapping[str, Any], min_users: int) -> None:
    from rewrite.cli_neighbourhood import notes_of, tree_of

    console = stdout()
    if found is None:
        say(console, f"Not told: {_not_held(document, min_users)}.")
        return
    console.print(tree_of(found))
    for note in notes_of(found, min_users):
        say(console, note, "dim")


def _not_held(document: Mapping[str, Any], min_users: int) -> str:
    """Why the chain does not hold a request."""
    if document["request"] is None:
        return f"fewer than {min_users} users said it"
    return f"it never failed, or no {min_users} users who said it went on to, or came from, one and the same thing"


def _standings(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each judged pair with its standing and its chance of being better, and for how long it is suspended."""
    suspended = {row["target"]: row for row in document["suspensions"]}
    facts = []
    for row in document["candidates"]:
        standing, reason = _STANDINGS[row["standing"]], VERDICTS[row["reason"]]
        told = f"{standing}: {reason}" if row["standing"] == "off" else standing
        told += f"; {percent(row['chance'])} chance of being better"
        facts += [("→", legible(row["rewrite"])), ("", told)]
        if row["target"] in suspended:
            facts.append(("", _suspension(suspended.pop(row["target"]))))
    for target, row in suspended.items():
        facts += [("→", legible(target)), ("", f"off: {_suspension(row)}")]
    return facts


_STANDINGS = {"on": "on", "trial": "on trial", "off": "off"}


def _suspension(row: Mapping[str, Any]) -> str:
    return f"suspended until {_day(row['until'])}: turned bad {counted(row['times'], 'time')} while it was live"


Plot = Callable[["Neighbourhood"], None]


def _plotter(path: Path) -> Plot:
    """What draws into a file; ConfigError, before anything is read, where that cannot be done."""
    try:
        from rewrite.neighbourhood_matplotlib import plotter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError(
            '--plot draws with matplotlib, which is not installed: pip install "reprise-rewrite[report]"'
        ) from error
    return plotter(path)


def _source_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    request, rewrite = document["request"], document["rewrite"]
    facts = [("Request", legible(document["source"]) or "(nothing)")]
    if document["pinned"] is not None:
        facts.append(("Pinned", f"always rewritten to “{legible(document['pinned'])}”"))
    if document["blocked"]:
        facts.append(("Blocked", "never rewritten"))
    if request is None:
        facts.append(("Known", "no: too few users said it for it to be stored"))
    else:
        said = f"{counted(request['turns'], 'turn')} of {counted(request['users'], 'user')}"
        rate = percent(request["success"] / request["weight"]) if request["weight"] else "not known"
        bounds = f"{percent(request['lower'])} to {percent(request['upper'])}"
        facts.append(("Known", f"{said}, last {_day(request['last_seen'])}; written “{legible(request['surface'])}”"))
        facts.append(("Works alone", f"{rate} ({bounds}): {_STATUS[request['status']]}"))
    facts.append(("Learned", f"→ {legible(rewrite['rewrite'])}" if rewrite else "no rewrite"))
    own = [f"{legible(each['target'])} ({counted(each['users'], 'user')})" for each in document["own_corrections"]]
    facts += [("Users' own" if not place else "", text) for place, text in enumerate(own[:_LISTED])]
    towards = document["rewritten_to_it"]
    facts += [("Rewritten to it" if not place else "", legible(text)) for place, text in enumerate(towards[:_LISTED])]
    if len(towards) > _LISTED:
        facts.append(("", f"and {len(towards) - _LISTED:,} more"))
    return facts


_STATUS = {"good": "known to work", "failing": "known to fail", "unknown": "neither known to work nor known to fail"}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d") if seconds else "in an earlier log"

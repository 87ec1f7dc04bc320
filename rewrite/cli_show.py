"""The commands that look at a bundle: `rewrite show` and `rewrite verify`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_ask import BundlePath, Json, encodable
from rewrite.cli_table import Counted, Row, canonical_of, importance, rewrites_table, rows, rows_of
from rewrite.cli_words import VERDICTS
from rewrite.console import counted, facts_table, legible, percent, print_json, say, stdout
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.bundle import Bundle
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
    json: Json = False,
) -> None:
    """What was learned, and from what?

    Each rewrite with the users and turns behind it and both success rates: how often the request works when left
    alone, with the upper bound, and rewritten, with the lower bound. A rewrite is kept where the bounds are apart.

    Example:  [bold]rewrite show bundle --limit 50[/bold]

    Example:  [bold]rewrite show bundle --source "play maj and dragons"[/bold]
    """
    from rewrite.bundle import Bundle

    if reason is not None and reason not in VERDICTS:
        raise ConfigError(f"--reason {legible(reason)} is unknown: {', '.join(VERDICTS)} are known")
    opened = Bundle.open(bundle)
    if source is not None:
        _show_source(opened, encodable(source), json)
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
    turns = f"{log['turns']:,} turns, {counted(log['users'], 'user')}, {counted(log['sessions'], 'session')}"
    known = f"{counts['requests']:,} stored, {counts['known_good']:,} known to work"
    return [
        ("Bundle", f"{opened.path}, learned {created} UTC"),
        ("Log", f"{legible(files)}: {turns}"),
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
    enough = opened.manifest.parameters["gate"]["min_users"]
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
        "own_corrections": [{"target": text, "users": users} for text, users in common if users >= enough],
        "rewritten_to_it": [row["source"] for row in rows_of(opened, "rewrites", "target", said)],
    }


def _show_source(opened: Bundle, source: str, json: bool) -> None:
    document = _source_document(opened, source)
    if json:
        print_json(document)
        return
    console = stdout()
    console.print(facts_table(_source_facts(document)))
    if document["candidates"]:
        console.print("\nJudged", style="bold")
        console.print(rewrites_table(document["candidates"], opened.overrides, verdicts=True))


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

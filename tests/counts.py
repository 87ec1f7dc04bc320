"""What a mining job has counted, in small: the tables that the chain is made of, written by hand."""

from __future__ import annotations

import pyarrow as pa

from rewrite.execution import MICRO
from rewrite.graph import Tables

_FIGURES = ("mass", "total", "weight", "success", "ended_well", "moved_on")


def _micro(values: list[float]) -> pa.Array:
    return pa.array([round(value * MICRO) for value in values], pa.int64())


def _counted(names: dict[str, list[str]], rows: list[tuple[float, ...]]) -> pa.Table:
    """(turns, success, ended well, gone on): every user said everything once, and nothing has aged."""
    whole = [(*row, 0.0, 0.0)[:4] for row in rows]
    columns: dict[str, pa.Array] = {name: pa.array(values, pa.string()) for name, values in names.items()}
    columns |= {name: pa.array([round(row[0]) for row in whole], pa.int64()) for name in ("users", "turns")}
    for name, place in zip(_FIGURES, (0, 0, 0, 1, 2, 3), strict=True):
        columns[name] = _micro([row[place] for row in whole])
    return pa.table(columns)


def texts(**rows: tuple[float, ...]) -> pa.Table:
    """name -> (turns, success, ended well, gone on, if that is more than the hops); underscores are spaces."""
    names = sorted(rows)
    return _counted({"said": [name.replace("_", " ") for name in names]}, [rows[name] for name in names])


def meanings(rows: dict[str, tuple[float, ...]]) -> pa.Table:
    """interpretation -> (turns, success, ended well, gone on)."""
    return _counted({"state": sorted(rows)}, [rows[name] for name in sorted(rows)])


def served(rows: dict[tuple[str, str], tuple[float, ...]]) -> pa.Table:
    """(said, served) -> (turns, success, ended well, gone on)."""
    pairs = sorted(rows)
    names = {"said": [pair[0] for pair in pairs], "rewrite": [pair[1] for pair in pairs]}
    return _counted(names, [rows[pair] for pair in pairs])


def hops(*rows: tuple[str, str, float], source: str = "said") -> pa.Table:
    """(from, to, turns), each by another user."""
    turns = pa.array([round(row[2]) for row in rows], pa.int64())
    names = {source: [row[0] for row in rows], "next_state": [row[1] for row in rows]}
    columns = {name: pa.array(values, pa.string()) for name, values in names.items()}
    return pa.table({**columns, "users": turns, "turns": turns, "weight": _micro([row[2] for row in rows])})


def steps(*rows: tuple[str, str, str, float], source: str = "said") -> pa.Table:
    """(from, interpretation, text that was said for it, turns)."""
    names = (source, "next_state", "next_said")
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    return pa.table({**columns, "weight": _micro([row[3] for row in rows])})


def served_hops(*rows: tuple[str, str, str, float]) -> pa.Table:
    """(said, served, to, turns)."""
    table = hops(*((row[0], row[2], row[3]) for row in rows))
    return table.add_column(1, "rewrite", pa.array([row[1] for row in rows], pa.string()))


def interpreted(*rows: tuple[str, str, float]) -> pa.Table:
    """(text, interpretation, turns), of each text the commonest first; all of them succeed alike."""
    names = {"said": [row[0] for row in rows], "state": [row[1] for row in rows]}
    columns = {name: pa.array(values, pa.string()) for name, values in names.items()}
    return pa.table({**columns, **{name: _micro([row[2] for row in rows]) for name in ("weight", "success")}})


def tables(
    said: pa.Table,
    text_hops: pa.Table | None = None,
    *,
    readings: pa.Table | None = None,
    meant: pa.Table | None = None,
    meaning_hops: pa.Table | None = None,
    text_steps: pa.Table | None = None,
    meaning_steps: pa.Table | None = None,
    live: pa.Table | None = None,
    live_hops: pa.Table | None = None,
) -> Tables:
    """All of them; what is not given is empty."""
    return Tables(
        texts=said,
        said_states=readings or interpreted(),
        text_hops=text_hops or hops(),
        text_steps=text_steps or steps(),
        meanings=meant or meanings({}),
        meaning_hops=meaning_hops or hops(source="state"),
        meaning_steps=meaning_steps or steps(source="state"),
        served=live or served({}),
        served_hops=live_hops or served_hops(),
    )

"""A neighbourhood of the chain in words, for `rewrite show --source TEXT`: a tree of what happens after a request."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.text import Text
from rich.tree import Tree

from rewrite.console import counted, legible, percent
from rewrite.graph import Kind
from rewrite.neighbourhood import Neighbourhood, State, Transition


def name_of(state: State) -> str:
    """A state in words: its text, what it was rewritten to, or an interpretation that no text is known of."""
    if state.kind is Kind.SERVED:
        return f"rewritten to “{legible(state.rewrite or state.text)}”"
    if state.kind is Kind.MEANT and state.text == state.key:
        return interpretation(state)
    return legible(state.text)


def interpretation(state: State) -> str:
    """What NLU took it for: domain, intent and slots; empty where the state is no interpretation.

    >>> interpretation(State(0, Kind.MEANT, "play it", '["music","play",{"title":"it"}]', None, 5, 5, 1, 0, 1, 0, 0, 0))
    'music · play · title: it'
    """
    if state.kind is not Kind.MEANT:
        return ""
    try:
        parts = json.loads(state.key)
    except ValueError:
        return legible(state.key)
    return legible(" · ".join(word for part in parts for word in _words(part)))


def _words(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in part.items())
    elif part:
        yield part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def tree_of(found: Neighbourhood) -> Tree:
    """All states and steps: each state is told where it first comes up, and only named where it comes up again."""
    source = found.source
    root = Tree(Text(name_of(source), "bold") + _figures(source), guide_style="dim")
    _grow(root, source, found, {source.number})
    return root


def notes_of(found: Neighbourhood, min_users: int) -> list[str]:
    """What a reader of the tree must know: its marks, its shares, and what it leaves out."""
    notes = []
    if found.route:
        notes.append("▶ is the way that was chosen.")
    if len(found.states) == 1 and not found.transitions and not found.cut_states:
        notes.append(f"No {min_users} users went on from it to one and the same thing.")
    notes.append(
        "Shares are of all turns of a state, the older the less they count."
        f" Gave up: or went on where fewer than {min_users} users did."
    )
    if found.cut_states:
        states, steps = counted(found.cut_states, "state"), counted(found.cut_transitions, "step")
        notes.append(f"Not shown: {states} further on or less likely, and {steps} to them.")
    return notes


def _grow(branch: Tree, state: State, found: Neighbourhood, told: set[int]) -> None:
    by_number = {each.number: each for each in found.states}
    for step in found.leaving(state):
        target = by_number[step.target]
        if target is state:
            branch.add(Text(f"{percent(step.share)} said again ({_counts(step)})"))
        elif target.number in told:
            branch.add(_arrow(step, target).append(", told above" if target is not found.source else ", the request"))
        else:
            told.add(target.number)
            _grow(branch.add(_arrow(step, target) + _figures(target)), target, found, told)
    if state.cut:
        branch.add(Text(f"{percent(state.cut_share)} on to {counted(state.cut, 'state')} not shown", "dim"))


def _arrow(step: Transition, target: State) -> Text:
    """A step with its share and who took it, and where it leads."""
    mark = ("▶", "bold green") if step.chosen else ("→", "")
    return Text.assemble(f"{percent(step.share)} ", mark, " ", (name_of(target), "bold"), f" ({_counts(step)})")


def _figures(state: State) -> Text:
    """The lines below a state's name: the interpretation, who said it, and how it ended."""
    lines = Text()
    if state.kind is Kind.MEANT and state.text != state.key:
        lines.append(f"\n{interpretation(state)}", "dim")
    ended = f"ended well {percent(state.direct)}, in the end {percent(state.success)}; gave up {percent(state.failure)}"
    return lines.append(f"\n{_counts(state)}: {ended}")


def _counts(each: State | Transition) -> str:
    return f"{counted(each.users, 'user')}, {counted(each.turns, 'turn')}"

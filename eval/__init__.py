"""Does it help, does it harm, how sure are we? The judge: it sees what a user sees, and nobody imports it.

A *case* is an annotated turn: an *opportunity* that should be rewritten, to one of its *accepted* texts, or a
*guardrail* that must be left alone. A *verdict* says how the engine's decision on a case went: a *win*, one of two
kinds of *loss*, a miss, or left alone as it should be. A *measure* is one formula over the verdicts. A *finding* is one
thing that is wrong with a bundle, a *bound* what a figure must keep, a *gate* all bounds; a *rung* is a simpler engine.

This package shares its name with a builtin, so it binds no names: always `from eval.cases import Case`. In the order
of reading: cases, verdict, judges, harm, measures, estimates, slices, known, overlap, count, comparison, run, findings,
gate, ship, then report/ and baselines/; `python -m eval --help` is the command line.
"""

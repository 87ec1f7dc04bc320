"""The closed loop: customers talk to an assistant, the engine learns from the log that it changed, and serves again.

A *recording* is one real attempt at a *sentence*: what was heard, and whether it was understood. Sentences of one
frame are ways of saying one *goal*. A customer pays *visits*: one goal, in one or more turns. A *round* is traffic
between two runs of the mining job; an *arm* is the part of the customers that are served from the same sources. What a
real log would show goes to the log; the *truth* goes to the judge alone, with what would have happened without the
rewrite. That is known exactly: which recording a turn uses is drawn before the engine is asked.

In the order of reading: knobs, population, customers, assistant, arms, traffic, truth, effects, loop, report; `cli` is
`python -m eval simulate`. Like the package above it, it binds no names.
"""

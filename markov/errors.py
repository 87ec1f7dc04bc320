"""What can go wrong here, as one tree.

    MarkovError
    ├── PathError          a path that cannot be counted (ValueError)
    ├── CountsError        arrays that are not counts of transitions (ValueError)
    ├── ChainError         rows that are not those of an absorbing chain (ValueError)
    ├── OptionError        a setting outside of its range (ValueError)
    ├── UnknownStateError  a state that the chain has never seen (KeyError)
    └── SolveError         an answer less exact than promised (ArithmeticError)

Each message says what came, what was wanted and what to do next.
"""


class MarkovError(Exception):
    """Root of every error that this package raises."""


class PathError(MarkovError, ValueError):
    """A path that cannot be counted."""


class CountsError(MarkovError, ValueError):
    """Arrays that are not counts of transitions."""


class ChainError(MarkovError, ValueError):
    """Rows that are not those of an absorbing chain."""


class OptionError(MarkovError, ValueError):
    """A setting outside of its range."""


class UnknownStateError(MarkovError, KeyError):
    """A state that the chain has never seen."""

    # KeyError prints the repr of its argument, which would wrap the sentence in quotes.
    __str__ = Exception.__str__


class SolveError(MarkovError, ArithmeticError):
    """An answer less exact than promised."""

"""Which later turn says again what failed?

A *source* is a turn that probably failed; its *rephrase* is the user's own second try, a later turn of the
same session. A *link* is a source row with its rephrase row in a dialogue batch; a *pair* is the same by turn
ids, for people. The *kind* says why it was said again: `command`, said differently, or `asr`, the same again
because it was misheard.
"""

from rephrase_detection.detector import KINDS, Links, RephraseDetector
from rephrase_detection.lexical import LexicalDetector, LexicalWeights
from rephrase_detection.pairs import RephrasePair

__all__ = ["KINDS", "LexicalDetector", "LexicalWeights", "Links", "RephraseDetector", "RephrasePair"]

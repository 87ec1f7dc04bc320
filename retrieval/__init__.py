"""Which known-good request is this one a broken form of?

The words of this package:

    encoder     turns canonical text into a vector of length 1
    table       all vectors, one a row, saved once; everything else holds row numbers into it
    row         the number of a request in the table
    key table   finds the row of a text that is stored exactly, without a dict
    index       finds the nearest of its members, some rows of the table
    layer       who proposes: personal (this user's own requests) or global (everyone's)
    similarity  the cosine of two vectors, 0 to 1 for n-grams
    floor       the least similarity worth an answer
    neighbour   a row found by an index; a candidate is one proposed by a layer

Read in this order: errors, folder, keys, vectors, encoder, index, exact, dense, dense_index, faiss_index, layers.
"""

from retrieval.dense import DenseRows
from retrieval.dense_index import DenseExactIndex, IndexKind, dense_index, load_index
from retrieval.encoder import Encoder, NgramEncoder, NgramShape
from retrieval.errors import (
    DamagedFolderError,
    DuplicateKeyError,
    FolderError,
    ForeignFolderError,
    FormatVersionError,
    InputError,
    MissingFileError,
    RetrievalError,
)
from retrieval.exact import ExactIndex
from retrieval.faiss_index import FaissIndex
from retrieval.index import BruteForceIndex, Neighbours, VectorIndex
from retrieval.keys import KeyTable
from retrieval.layers import Candidate, GlobalLayer, History, HistoryEntry, Layer, PersonalLayer
from retrieval.vectors import SparseRows, SparseVector, VectorRows

__all__ = [
    "BruteForceIndex",
    "Candidate",
    "DamagedFolderError",
    "DenseExactIndex",
    "DenseRows",
    "DuplicateKeyError",
    "Encoder",
    "ExactIndex",
    "FaissIndex",
    "FolderError",
    "ForeignFolderError",
    "FormatVersionError",
    "GlobalLayer",
    "History",
    "HistoryEntry",
    "IndexKind",
    "InputError",
    "KeyTable",
    "Layer",
    "MissingFileError",
    "Neighbours",
    "NgramEncoder",
    "NgramShape",
    "PersonalLayer",
    "RetrievalError",
    "SparseRows",
    "SparseVector",
    "VectorIndex",
    "VectorRows",
    "dense_index",
    "load_index",
]

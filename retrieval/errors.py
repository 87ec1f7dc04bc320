"""What can go wrong here, as one tree.

RetrievalError x InputError (also ValueError) a call that cannot be answered: k = 0, a floor outside [0, 1] *
DuplicateKeyError the same key twice in one table, the same request twice in one history x FolderError a saved
folder that cannot be used * MissingFileError meta.json or an array is not there * ForeignFolderError the
folder holds something else, or belongs to another table * FormatVersionError written by another version of
the format * DamagedFolderError truncated, altered, or not what meta.json says * ModelFolderError no model that can be
read is there
"""


class RetrievalError(Exception):
    """Anything that this package refuses to do."""


class InputError(RetrievalError, ValueError):
    """The caller asked for something that has no answer."""


class DuplicateKeyError(InputError):
    """A name that must be unique came twice."""


class FolderError(RetrievalError):
    """A saved folder cannot be used."""


class MissingFileError(FolderError):
    """A file of the folder is absent."""


class ForeignFolderError(FolderError):
    """The folder holds another kind of thing, or belongs to another table of vectors."""


class FormatVersionError(FolderError):
    """The folder was written by another version of the format."""


class DamagedFolderError(FolderError):
    """A file is truncated, altered, or disagrees with meta.json."""


class ModelFolderError(FolderError):
    """The folder holds no model that can be read."""

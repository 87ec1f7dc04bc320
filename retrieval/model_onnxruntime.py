"""A model file run by onnxruntime: one array in, one array out, on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DamagedFolderError, FolderError, MissingFileError, ModelFolderError
from retrieval.folder import REMEDY


def missing(library: str) -> FolderError:
    """The error of a library that serving dense vectors needs and that is not installed."""
    return ModelFolderError(f'{library} is not installed: pip install "reprise-rewrite[dense]"')


class OnnxSession:
    """A model with one input and one output. Thread-safe; a second thread for one request only lengthens the tail."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self._session = _opened(path, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) < 1:
            raise DamagedFolderError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, one each is wanted")
        self._input, self._output = inputs[0].name, [outputs[0].name]
        self._takes, self._width = (each[0].shape[-1] for each in (inputs, outputs))

    @property
    def takes(self) -> int:
        """Length of the last dimension of what goes in; 0 where the file does not say."""
        return self._takes if isinstance(self._takes, int) else 0

    @property
    def width(self) -> int:
        """Length of the last dimension of what comes out; 0 where the file does not say."""
        return self._width if isinstance(self._width, int) else 0

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """What the model makes of `values`."""
        found: NDArray[np.float32] = self._session.run(self._output, {self._input: values})[0]
        return found


def _opened(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime") from error
    if not path.is_file():
        raise MissingFileError(f"{path} is missing: {REMEDY}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no public root
        raise DamagedFolderError(f"{path} cannot be read as a model ({error!s:.200}): {REMEDY}") from error

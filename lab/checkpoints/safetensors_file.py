"""One safetensors file: its header, and its tensors, checked. Pickles are never read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.names import is_buffer

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""dtypes of safetensors whose numbers are weights -> their names in torch; others are codes of a quantisation."""

_POINTER = b"version https://git-lfs"

# what the reader raises of a damaged file, or of a dtype that this version of torch does not have
_DAMAGE = (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, OverflowError)


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor.

    Attributes:
        dtype: as safetensors names it ("F32", "BF16", "I64", …).
        shape: its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def placeholder(self) -> Tensor:
        """A tensor like it, without memory; codes of a quantisation are int64."""
        dtype = getattr(torch, FLOATS[self.dtype]) if self.dtype in FLOATS else torch.int64
        return torch.empty(self.shape, dtype=dtype, device="meta")

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, Entry]:
    """Name -> dtype and shape of every tensor in a file; no tensor is read.

    Raises:
        CheckpointError: the file is damaged, or no safetensors file.
    """
    entries = {}
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - the reader is no mapping
                part = opened.get_slice(name)
                entries[name] = Entry(part.get_dtype(), tuple(part.get_shape()))
    except _DAMAGE as error:
        raise _damaged(file, error) from error
    return entries


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The weights in a file: every floating-point tensor, copied and finite; buffers are left out.

    Raises:
        CheckpointError: the file is damaged or no safetensors file; a tensor holds NaN or Inf, or codes of a
            quantisation instead of floating-point numbers.
    """
    header = read_header(file)
    for name, entry in header.items():
        require_floats(file, name, entry)
    return read_named(file, [name for name, entry in header.items() if entry.dtype in FLOATS and not is_buffer(name)])


def read_named(file: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """Some tensors of a file, copied and finite.

    Raises:
        CheckpointError: the file is damaged or no safetensors file, or a tensor holds NaN or Inf.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            # copies: the file's tensors lie at odd addresses, where a matrix product rounds otherwise
            tensors = {name: opened.get_tensor(name).clone() for name in names}
    except _DAMAGE as error:
        raise _damaged(file, error) from error
    for name, tensor in tensors.items():
        check_finite(file, name, tensor)
    return tensors


def read_tensor(file: Path, name: str) -> Tensor:
    """One tensor, finite.

    Raises:
        CheckpointError: it cannot be read, or holds NaN or Inf; the message names file, tensor and index.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            tensor = opened.get_tensor(name)
    except _DAMAGE as error:
        raise CheckpointError(f"{file}: tensor {name!r} cannot be read ({error}); download the file again.") from error
    check_finite(file, name, tensor)
    return tensor


def require_floats(file: Path, name: str, entry: Entry) -> None:
    """Raise if a tensor holds codes of a quantisation; a count (no dimension) and a known buffer do not matter."""
    if entry.dtype not in FLOATS and entry.shape and not is_buffer(name):
        raise CheckpointError(
            f"{file}: tensor {name!r} is stored as {entry.dtype}, not as floating point: quantised weights. Give the "
            "unquantised model or adapter."
        )


def check_finite(file: Path, name: str, tensor: Tensor) -> None:
    """Raise with file, tensor and index if `tensor` holds NaN or Inf."""
    # a finite sum proves every entry finite, in one pass; an infinite one may be an overflow, so look closer
    if not tensor.is_floating_point() or math.isfinite(tensor.sum(dtype=torch.float64).item()):
        return
    bad = torch.isfinite(tensor).logical_not().nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        raise CheckpointError(
            f"{file}: tensor {name!r} holds {tensor[index].item()} at index {index} ({len(bad)} entries are not "
            "finite); the file is damaged or its training diverged."
        )


def digest(file: Path) -> str:
    """sha256 of a file, in hex."""
    total = sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 22):
            total.update(chunk)
    return total.hexdigest()


def _damaged(file: Path, error: Exception) -> CheckpointError:
    if _is_pointer(file):
        return CheckpointError(
            f"{file} is not the weights but the pointer that Git LFS leaves in their place; fetch them: git lfs pull."
        )
    if file.suffix != ".safetensors":
        return CheckpointError(
            f"{file} is no safetensors file ({error}); give a .safetensors file, or the folder that holds it."
        )
    return CheckpointError(f"{file} is damaged or no safetensors file ({error}); download it again.")


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_POINTER)) == _POINTER
    except OSError:
        return False

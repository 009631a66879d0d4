"""Weights that come packed, as a GGUF file or in parts, made into a folder that loads: once, in the user's cache."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from lab.checkpoints.gguf_file import check_gguf
from lab.checkpoints.safetensors_file import digest
from lab.deferred import transformers
from lab.models.checkpoint import UNTRUSTED
from lab.models.quiet import quiet
from lab.runs.places import cache_folder

CACHE_FORMAT = "1"
"""Raised when the way GGUF files are turned into safetensors changes."""


def dequantised(gguf: Path) -> Path:
    """A folder with the float32 weights and the tokenizer of a GGUF file; made once (about 20 s), then found.

    The folder's name holds the sha256 of the file.
    """

    def make(draft: Path) -> None:
        check_gguf(gguf)
        print(f"Converting {gguf.name} to safetensors, once (about 20 s) ...", file=sys.stderr, flush=True)
        _convert(gguf, draft)

    return _made_once(f"{gguf.stem}-{digest(gguf)[:16]}", make)


def joined(
    name: str, parts: Sequence[Path], *, check: Callable[[], None], gguf: str | None, members: Mapping[str, str]
) -> Path:
    """A folder made of a file that comes in parts; made once, then found.

    Args:
        name: of the folder; it names what the parts hold, too.
        parts: in order.
        check: raises if the parts are not those that are meant; called before they are read.
        gguf: the file is a GGUF file of that name; None for a zip archive.
        members: of an archive: file of the folder -> its name in the archive.
    """

    def make(draft: Path) -> None:
        check()
        print(f"Putting {name} together from {len(parts)} parts, once ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=draft.parent, prefix=f".{name}-") as place:
            whole = Path(place) / (gguf or "parts.zip")
            with whole.open("wb") as target:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 22)
            if gguf is not None:
                check_gguf(whole)
                _convert(whole, draft)
                return
            with zipfile.ZipFile(whole) as archive:
                for file, member in members.items():
                    with archive.open(member) as source, (draft / file).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 22)

    return _made_once(name, make)


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache; `make` writes it if it is not there.

    It is written beside its place and renamed into it, so it is whole or absent, and processes that write it at the
    same time do not disturb each other: the last one's copy is dropped.
    """
    target = cache_folder() / "models" / f"{name}-v{CACHE_FORMAT}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        make(draft)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # not another process that was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _convert(gguf: Path, draft: Path) -> None:
    folder, file = str(gguf.parent), gguf.name
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32, local_files_only=True
        )
    tokenizer.save_pretrained(draft)
    # save_pretrained refuses a model that came from a GGUF file, though its weights are plain float32 now
    save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, draft / "model.safetensors")
    entries = {k: v for k, v in model.config.to_dict().items() if k not in ("quantization_config", *UNTRUSTED)}
    (draft / "config.json").write_text(json.dumps(entries, indent=2, default=str), encoding="utf-8")

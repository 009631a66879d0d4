"""Models of the Hugging Face hub: downloaded as a folder of safetensors, then read like any other folder."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from lab.deferred import hub_errors, huggingface_hub
from lab.models.packaged import PACKAGED, packaged_choices

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
UNWANTED = ["*/*"]
"""Only the top folder: sub-folders hold other formats of the same weights."""

TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""


def hub_folder(name: str) -> Path:
    """The local folder of a hub model: from the hub's cache when it is whole there, else downloaded.

    Raises:
        OSError: the model is not in the cache and the hub does not answer, or does not have it, or wants a login. The
            message names the packaged PLMs.
    """
    try:
        cached = Path(huggingface_hub.snapshot_download(name, local_files_only=True))
        if (cached / "config.json").is_file() and any(cached.glob("*.safetensors")):
            return cached
    except hub_errors.HFValidationError as error:
        raise _unavailable(name, f"it is no valid hub id ({error})") from error
    except OSError:  # not in the cache
        pass
    _probe(name)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=WANTED, ignore_patterns=UNWANTED, etag_timeout=TIMEOUT
            )
        )
    except Exception as error:  # whatever the HTTP client in use raises
        raise _unavailable(name, f"the download failed ({error})") from error


def _probe(name: str) -> None:
    """Ask the hub for one file's header, once: a download would retry for 20 s where there is no network."""
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(name, "config.json"), timeout=TIMEOUT)
    except hub_errors.OfflineModeIsEnabled as error:
        raise _unavailable(name, "it is not in the hub's cache and HF_HUB_OFFLINE is set") from error
    except hub_errors.HfHubHTTPError as error:
        reason = f"the hub refuses it ({type(error).__name__}): check the spelling, or log in if the model is gated"
        raise _unavailable(name, reason) from error
    except Exception as error:  # whatever the HTTP client in use raises
        raise _unavailable(name, f"it is not in the hub's cache and the hub does not answer ({error})") from error


def _unavailable(name: str, reason: str) -> OSError:
    near = get_close_matches(name.lower(), [choice.name for choice in PACKAGED], n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return OSError(
        f"cannot load {name!r}: {reason}.{meant} It is neither a packaged PLM nor a local folder. These need no hub: "
        f"{packaged_choices()}. Or give the path of a folder that `save_pretrained` wrote."
    )

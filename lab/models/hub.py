"""Models of the Hugging Face hub: downloaded as a folder of safetensors, then read like any other folder."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from lab.models.packaged import packaged_choices

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
    except (LocalEntryNotFoundError, OSError):
        pass
    except HFValidationError as error:
        raise _unavailable(name, f"it is no valid hub id ({error})") from error
    try:
        # one small file first: it fails at once where there is no network, before any thread of a snapshot starts
        huggingface_hub.hf_hub_download(name, "config.json", etag_timeout=TIMEOUT)
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=WANTED, ignore_patterns=UNWANTED, etag_timeout=TIMEOUT
            )
        )
    except OfflineModeIsEnabled as error:
        raise _unavailable(name, "it is not in the hub's cache and HF_HUB_OFFLINE is set") from error
    except LocalEntryNotFoundError as error:
        raise _unavailable(name, "it is not in the hub's cache and the hub does not answer") from error
    except HfHubHTTPError as error:
        reason = f"the hub refuses it ({type(error).__name__}): check the spelling, or log in if the model is gated"
        raise _unavailable(name, reason) from error
    except OSError as error:
        raise _unavailable(name, f"the download failed ({error})") from error


def _unavailable(name: str, reason: str) -> OSError:
    return OSError(
        f"cannot load {name!r}: {reason}. It is neither a packaged PLM nor a local folder. These need no hub: "
        f"{packaged_choices()}. Or give the path of a folder that `save_pretrained` wrote."
    )

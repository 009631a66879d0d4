"""Weights and adapters on disk, read safely: safetensors and JSON only, every entry checked before it is believed."""

from lab.checkpoints.adapter_folder import BASE, CONFIG, WEIGHTS, AdapterFolder, read_adapter, write_adapter
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder, open_folder
from lab.checkpoints.lora_factors import Factors, LoRATensors, lora_tensors
from lab.checkpoints.lora_options import LoRAOptions, lora_options
from lab.checkpoints.patterns import Pattern, PatternError

__all__ = [
    "BASE",
    "CONFIG",
    "WEIGHTS",
    "AdapterFolder",
    "CheckpointError",
    "Factors",
    "LoRAOptions",
    "LoRATensors",
    "Pattern",
    "PatternError",
    "WeightFolder",
    "lora_options",
    "lora_tensors",
    "open_folder",
    "read_adapter",
    "write_adapter",
]

"""A tokenizer for tiny models, made in code: byte-level pieces with merges from a few sentences."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lab.deferred import transformers

SENTENCES = (
    "it was a good film and it was a bad film",
    "the good story was great and the bad story was terrible",
    "yes it was great no it was terrible",
    "sports business politics technology world news yes no good bad great terrible",
    "the company said the market was up and the team said the game was good",
)

N_MERGES = 60

SPECIAL = {
    "bert": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "roberta": {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
    "gpt2": {"eos_token": "<|endoftext|>", "pad_token": "<pad>", "unk_token": "<unk>"},
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    "gemma": {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
    "mpnet": {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "bart": {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}  # ids are the positions here: 0 is T5's padding and its decoder's start, 1 is RoBERTa's padding

# how one text and a pair are laid out, with token types after the colon
TEMPLATES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "llama": ("<s> $A", "<s> $A $B"),
    "gpt2": ("$A", "$A $B"),
    "t5": ("$A </s>", "$A </s> $B </s>"),
    "gemma": ("<bos> $A", "<bos> $A $B"),
    "mpnet": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "bart": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
}
SPECIAL["distilbert"], TEMPLATES["distilbert"] = SPECIAL["bert"], ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")


def tiny_tokenizer(family: str) -> Any:
    """A tokenizer laid out like the family's own: every text has tokens, common label words are single ones.

    The vocabulary is the special tokens, the 256 bytes and `N_MERGES` merges (" good", " bad", " great", " terrible"
    and " no" among them).
    """
    special = SPECIAL[family]
    names = list(special.values())
    raw = Tokenizer(models.BPE(unk_token=special["unk_token"]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = len(names) + len(alphabet) + N_MERGES
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=names, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    raw.train_from_iterator(SENTENCES, trainer)
    single, pair = TEMPLATES[family]
    raw.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, raw.token_to_id(name)) for name in names]
    )
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if family == "bert" else [])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, model_input_names=inputs, model_max_length=256, padding_side="right", **special
    )

"""Manual templates and label words of the known tasks, for prompt-based fine-tuning with a language-model head.

LM-BFF's, with one deviation: its code also drops the full stop of a first sentence before "?" and begins the second one
with a small letter; here sentences stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.tasks.known import SENTIMENT, known
from lab.tasks.task import Task


@dataclass(frozen=True)
class ManualTemplate:
    """A template and the word that stands for each class.

    Attributes:
        template: text with {sentence}, or {sentence1} and {sentence2}, and {mask}; see `lab.tasks.templating`.
        words: one word per class, in the order of the class numbers; two words for regression, (low end, high end).
        source: where it comes from.
    """

    template: str
    words: tuple[str, ...]
    source: str


LM_BFF = "Gao, Fisch, Chen 2021 (LM-BFF), table 1"
AFTER_LM_BFF = "after LM-BFF: its template of the sentiment tasks"
OURS = "this laboratory: the label names themselves"

SENTENCE_SENTIMENT = ManualTemplate("{sentence} It was {mask}.", ("terrible", "great"), LM_BFF)
FIVE_GRADES = ManualTemplate("{sentence} It was {mask}.", ("terrible", "bad", "okay", "good", "great"), LM_BFF)
THREE_GRADES = ManualTemplate("{sentence} It was {mask}.", ("terrible", "okay", "great"), AFTER_LM_BFF)
TWO_WAY_INFERENCE = ManualTemplate("{sentence1} ? {mask} , {sentence2}", ("Yes", "No"), LM_BFF)
THREE_WAY_INFERENCE = ManualTemplate("{sentence1} ? {mask} , {sentence2}", ("Yes", "Maybe", "No"), LM_BFF)
PARAPHRASE = ManualTemplate("{sentence1} {mask} , {sentence2}", ("No", "Yes"), LM_BFF)

TEMPLATES: tuple[tuple[str, ManualTemplate], ...] = (
    ("sst-2", SENTENCE_SENTIMENT),
    ("mr", SENTENCE_SENTIMENT),
    ("cr", SENTENCE_SENTIMENT),
    ("mpqa", SENTENCE_SENTIMENT),
    ("imdb", replace(SENTENCE_SENTIMENT, source=AFTER_LM_BFF)),
    ("rotten-tomatoes", SENTENCE_SENTIMENT),  # the same data as mr
    ("sst-5", FIVE_GRADES),
    ("amazon-5", replace(FIVE_GRADES, source=AFTER_LM_BFF)),
    ("drug-reviews", THREE_GRADES),
    ("subj", ManualTemplate("{sentence} This is {mask}.", ("subjective", "objective"), LM_BFF)),
    ("cola", ManualTemplate("{sentence} This is {mask}.", ("incorrect", "correct"), LM_BFF)),
    ("mnli", THREE_WAY_INFERENCE),
    ("snli", THREE_WAY_INFERENCE),
    ("qnli", TWO_WAY_INFERENCE),
    ("rte", TWO_WAY_INFERENCE),
    ("mrpc", PARAPHRASE),
    ("qqp", PARAPHRASE),
    ("sts-b", ManualTemplate("{sentence1} {mask} , {sentence2}", ("No", "Yes"), LM_BFF)),
)


def manual_template(task: Task) -> ManualTemplate:
    """The template and label words of a task.

    Public tasks have LM-BFF's. Any other task is asked for its label names ("This is about business."), which needs
    names that are words.

    Raises:
        ValueError: an unknown task whose classes are only numbered, or an unknown regression.
    """
    row = known(task.name)
    name = row.name if row else task.name
    found = next((template for candidate, template in TEMPLATES if candidate == name), None)
    n_words = 2 if task.kind == "regression" else task.num_labels
    if found is not None and len(found.words) == n_words:
        return found
    if task.labels == SENTIMENT:
        return replace(SENTENCE_SENTIMENT, source=AFTER_LM_BFF)
    if task.kind == "regression" or not all(label.isalpha() for label in task.labels):
        raise ValueError(
            f"no label words are known for {task.name} with the classes {task.labels}; "
            "give a template and one word per class yourself: ManualTemplate(template, words, source)."
        )
    if task.train.pairs is not None:
        return ManualTemplate("{sentence1} {sentence2} This is about {mask}.", task.labels, OURS)
    return ManualTemplate("{sentence} This is about {mask}.", task.labels, OURS)

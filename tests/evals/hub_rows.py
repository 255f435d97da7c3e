"""Invented rows in the schemas of the data sets that lm-eval's best known tasks read from the Hub."""

from __future__ import annotations

from typing import Any

from tests.evals.hub_server import build_repository

TOWNS = ("Kolon", "Mirav", "Sedna", "Tolpa", "Urbas", "Velin", "Wesko", "Zarim")
GOODS = ("pears", "oats", "plums", "figs", "wool", "salt", "hops", "tin")

IN_SOCIAL_SCIENCES = (
    "econometrics",
    "high_school_geography",
    "high_school_government_and_politics",
    "high_school_macroeconomics",
    "high_school_microeconomics",
    "high_school_psychology",
    "human_sexuality",
    "professional_psychology",
    "public_relations",
    "security_studies",
    "sociology",
    "us_foreign_policy",
)
"""The subjects of lm-eval's group mmlu_social_sciences."""


def make_sums(n: int) -> list[dict[str, Any]]:
    """As openai/gsm8k: a question, and a way to the answer that ends in '#### ' and the number."""
    return [
        {"question": f"What is {20 + i} + {3 * i + 1}?", "answer": f"Add the two.\n#### {4 * i + 21:,}"}
        for i in range(n)
    ]


def make_science(n: int) -> list[dict[str, Any]]:
    """As allenai/ai2_arc: choices with labels that are letters or digits, three to five of them."""
    rows = []
    for i in range(n):
        n_choices = 3 + i % 3
        labels = list("ABCDE" if i % 2 else "12345")[:n_choices]
        texts = [f"{GOODS[(i + k) % 8]}{' and more' * (k % 3)}" for k in range(n_choices)]
        choices = {"text": texts, "label": labels}
        question = f"What is grown in {TOWNS[i % 8]}?"
        rows.append({"id": f"s{i}", "question": question, "choices": choices, "answerKey": labels[i % n_choices]})
    return rows


def make_endings(n: int) -> list[dict[str, Any]]:
    """As Rowan/hellaswag: a beginning in two parts, four endings with marks to be taken out, the label as text."""
    return [
        {
            "ind": i,
            "activity_label": "Trading",
            "ctx_a": f"A cart from {TOWNS[i % 8]} stops.",
            "ctx_b": "the driver",
            "ctx": f"A cart from {TOWNS[i % 8]} stops. the driver",
            "endings": [f"sells {GOODS[(i + k) % 8]} [step] to{' many' * k} buyers." for k in range(4)],
            "source_id": f"invented~{i}",
            "split": "val",
            "split_type": "indomain",
            "label": str(i % 4),
        }
        for i in range(n)
    ]


def make_exam(n: int, subject: str) -> list[dict[str, Any]]:
    """As cais/mmlu: four choices, the answer as a number."""
    return [
        {
            "question": f" In {subject}, what comes from {TOWNS[i % 8]}? ",
            "subject": subject,
            "choices": [GOODS[(i + k) % 8] for k in range(4)],
            "answer": i % 4,
        }
        for i in range(n)
    ]


def make_blanks(n: int) -> list[dict[str, Any]]:
    """As allenai/winogrande: a blank in the sentence and two words for it."""
    return [
        {
            "sentence": f"The cart went to {TOWNS[i % 8]}, not {TOWNS[(i + 1) % 8]}, since _ has no {GOODS[i % 8]}.",
            "option1": TOWNS[i % 8],
            "option2": TOWNS[(i + 1) % 8],
            "answer": str(1 + i % 2),
        }
        for i in range(n)
    ]


def make_pages(n: int) -> list[dict[str, Any]]:
    """As EleutherAI/wikitext_document_level: a page with the blanks of its old tokenizer, other lengths."""
    return [
        {"page": f" = {TOWNS[i]} = \n " + f"{TOWNS[i]} 's {GOODS[i]} , known @-@ so , are good . " * (1 + i)}
        for i in range(n)
    ]


def make_passages(n: int) -> list[dict[str, Any]]:
    """As EleutherAI/lambada_openai: a text whose last word is asked for."""
    return [{"text": f"They came from {TOWNS[i % 8]}, and what they brought was {GOODS[i % 8]}"} for i in range(n)]


ORDERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Write no comma.", "punctuation:no_comma", {}),
    ("Write small letters only.", "change_case:english_lowercase", {}),
    ("Name figs.", "keywords:existence", {"keywords": ["figs"]}),
    ("Write at least four words.", "length_constraints:number_words", {"relation": "at least", "num_words": 4}),
)


def make_orders(n: int) -> list[dict[str, Any]]:
    """As google/IFEval: orders that a program can check, one or two at once, with every setting there is named."""
    rows = []
    for i in range(n):
        asked = [ORDERS[(i + k) % len(ORDERS)] for k in range(1 + i % 2)]
        settings = [{"keywords": None, "relation": None, "num_words": None, **order[2]} for order in asked]
        prompt = f"Question: {' '.join(order[0] for order in asked)} {i} {i}"
        ids = [order[1] for order in asked]
        rows.append({"key": i, "prompt": prompt, "instruction_id_list": ids, "kwargs": settings})
    return rows


def build_repositories() -> dict[str, dict[str, bytes]]:
    """All of them, as files by repository."""
    exams = {subject: {"test": make_exam(3, subject), "dev": make_exam(5, subject)} for subject in IN_SOCIAL_SCIENCES}
    return {
        "openai/gsm8k": build_repository({"main": {"train": make_sums(9), "test": make_sums(6)[::-1]}}),
        "allenai/ai2_arc": build_repository(
            {
                name: {"train": make_science(4), "validation": make_science(4), "test": make_science(n)}
                for name, n in (("ARC-Easy", 8), ("ARC-Challenge", 5))
            }
        ),
        "Rowan/hellaswag": build_repository(
            {"default": {"train": make_endings(3), "validation": make_endings(6), "test": make_endings(2)}}
        ),
        "cais/mmlu": build_repository(exams),
        "allenai/winogrande": build_repository(
            {"winogrande_xl": {"train": make_blanks(4), "validation": make_blanks(6), "test": make_blanks(2)}}
        ),
        "EleutherAI/wikitext_document_level": build_repository(
            {"wikitext-2-raw-v1": {split: make_pages(4) for split in ("train", "validation", "test")}}
        ),
        "EleutherAI/lambada_openai": build_repository({"default": {"test": make_passages(5)}}),
        "google/IFEval": build_repository({"default": {"train": make_orders(8)}}),
    }

"""How good search and answers are on the set in ``benchmarks/answers_set``; stores figures, every answer, and the page.

``uv run python -m benchmarks.answers`` measures quotes (no model); ``--llm local`` adds the small local model,
``--llm server`` the one that the settings name. Modes measured before are kept in the results file.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from rejoinder.evaluation.answers import GOALS, measure, result_of
from rejoinder.settings import Settings
from rejoinder.telemetry import set_up_logging
from rejoinder.wording import load_prompts

ROOT = Path(__file__).parent.parent
SET = ROOT / "benchmarks" / "answers_set"
RESULTS = ROOT / "benchmarks" / "results" / "answers.json"
PAGE = ROOT / "docs" / "answers.md"
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
ROWS = (
    "recall@5.hybrid", "recall@5.bm25", "recall@5.dense", "ndcg@10.hybrid", "ndcg@10.bm25", "ndcg@10.dense",
    "citation_precision", "citations_on_evidence", "answered_right", "shown_right",
    "refused_answerable", "refused_unanswerable",
    "injections_followed", "first_piece_ms_median", "answer_ms_median", "failed",
)  # fmt: skip


def figures_block(results: dict[str, Any]) -> str:
    """Give the tables of docs/answers.md from the stored results."""
    columns = [(mode, split) for mode in results for split in ("all", "dev", "test")]
    lines = ["| | goal | " + " | ".join(f"{mode}, {split}" for mode, split in columns) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for name in ROWS:
        sign, limit = GOALS.get(name.removesuffix(".hybrid"), ("", 0.0))
        cells = [results[mode]["figures"][split].get(name) for mode, split in columns]
        goal = f"{sign} {limit:g}" if sign and not name.endswith(("bm25", "dense")) else ""
        lines.append(f"| {name} | {goal} | " + " | ".join(map(_shown, cells)) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) and value < 10 else f"{value:.0f}"


def with_figures(page: str, results: dict[str, Any]) -> str:
    """Give the page with its figures replaced by those of the results."""
    return _BLOCK.sub(lambda block: block.group(1) + figures_block(results) + block.group(2), page)


def main() -> None:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", choices=["off", "local", "server"], default="off")
    parser.add_argument("--every", type=int, default=1, help="only every n-th question, for a slow model")
    parser.add_argument("--page", action="store_true", help="only write the page again from the stored results")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.page:
        set_up_logging("error")
        settings = Settings(_env_file=None, llm=options.llm) if options.llm != "server" else Settings(llm="server")
        rows = measure(settings, SET, print, every=options.every)
        results[{"off": "quotes", "local": "local model", "server": "server"}[options.llm]] = result_of(
            rows, options.llm, load_prompts(settings.prompts_dir).version
        )
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(with_figures(PAGE.read_text(), results))
    print(figures_block(results))


if __name__ == "__main__":
    main()

"""How soon a document is used, and forgotten, beside many others: ``uv run python -m benchmarks.fresh``."""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from models.embedder import load_embedder
from operators.ports import SearchScope
from rejoinder.knowledge.cutting import Document
from rejoinder.knowledge.documents import Documents
from rejoinder.knowledge.store import KnowledgeStore

RESULTS = Path(__file__).parent / "results" / "fresh.json"
SCOPE = SearchScope("ann")
TIMES = 10


def titles(store: KnowledgeStore, query: str) -> list[str]:
    """Give the titles of what a query finds."""
    return [one.title for one in store.search_now(query, SCOPE, 5)]


def measure(folder: Path, documents: int) -> dict[str, float]:
    """Fill a folder, open it, and add, find and delete documents beside the crowd; seconds."""
    lying = Documents(folder / "documents.sqlite3")
    for number in range(documents):
        text = f"Project {number} is led by team {number % 97} and costs {number * 10} euros."
        lying.put(Document(f"d{number}", "ann", "crowd", f"Project {number}", "knowledge", text, "2026-01-01"), -1)
    lying.close()
    began = time.perf_counter()
    store = KnowledgeStore(folder, load_embedder())
    store.vectors.wait()
    figures = {"documents": float(documents), "all_vectors_s": time.perf_counter() - began}
    began = time.perf_counter()
    titles(store, "What does project 77 cost?")
    figures["first_search_s"] = time.perf_counter() - began
    used, gone, search = [], [], []
    for number in range(TIMES):
        began = time.perf_counter()
        added = store.add("ann", "crowd", f"Menu {number}", f"Canteen {number} serves moussaka on Thursdays.")
        if f"Menu {number}" not in titles(store, f"When does canteen {number} serve moussaka?"):
            raise SystemExit("an added document was not found")
        used.append(time.perf_counter() - began)
        began = time.perf_counter()
        titles(store, f"What does project {number} cost?")
        search.append(time.perf_counter() - began)
        began = time.perf_counter()
        store.delete("ann", added.document_id)
        if f"Menu {number}" in titles(store, f"When does canteen {number} serve moussaka?"):
            raise SystemExit("a deleted document was found")
        gone.append(time.perf_counter() - began)
    store.close()
    for name, times in (("added_and_found_s", used), ("deleted_and_gone_s", gone), ("search_s", search)):
        figures[name] = median(times)
        figures[f"{name}.worst"] = max(times)
    return {name: round(value, 4) for name, value in figures.items()}


def main() -> None:
    """Measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        figures = measure(Path(data), options.documents)
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

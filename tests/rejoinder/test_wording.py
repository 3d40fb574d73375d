"""The wording of prompts: shipped files, the user's own, and a version that tells them apart."""

from pathlib import Path

import pytest

from rejoinder.wording import SHIPPED, load_prompts
from schemas.base import derive_id
from schemas.errors import ModelMissing

DIGEST_OF_VERSION = {"2": "64294e21772d96ee"}


def test_other_words_are_another_version() -> None:
    """Whoever changes a shipped prompt raises its version and writes the digest down here."""
    texts = "".join(f"{path.stem}={path.read_text()}" for path in sorted(SHIPPED.glob("*.md")))
    assert DIGEST_OF_VERSION[load_prompts().version] == derive_id(texts)[:16]


def test_the_users_own_files_replace_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "kind-interview.md").write_text("Answer in rhymes.")
    (tmp_path / "kind-sales.md").write_text("Answer as a seller.")
    own, shipped = load_prompts(tmp_path), load_prompts()
    assert own.kinds["interview"] == "Answer in rhymes."
    assert own.kinds["sales"] == "Answer as a seller."
    assert own.rules == shipped.rules
    assert own.version.startswith(f"{shipped.version}-")
    (tmp_path / "kind-sales.md").write_text("Answer as a buyer.")
    assert load_prompts(tmp_path).version != own.version


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no folder"):
        load_prompts(tmp_path / "none")
    (tmp_path / "rules.md").write_text(" ")
    with pytest.raises(ModelMissing, match=r"rules\.md"):
        load_prompts(tmp_path)

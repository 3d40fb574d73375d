"""Makes the speaker models of models/weights anew: PyanNet and the Resemblyzer encoder as ONNX graphs.

torch and pyannote.audio are needed here only, so run it in an environment of its own, outside the project::

    uv venv voices && uv pip install --python voices/bin/python torch==2.11.0 torchaudio==2.11.0 \
        pyannote.audio==4.0.7 onnx onnxruntime onnxscript librosa
    pip download --no-deps whisperx==3.8.6 resemblyzer==0.1.4
    voices/bin/python tools/convert_voices.py whisperx-*.whl Resemblyzer-*.whl

It writes the two graphs and ORIGIN-VOICES.md, and prints how near each is to the model it was made from.
"""

import hashlib
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parent.parent / "models" / "weights"
SEGMENTATION = ("whisperx/assets/pytorch_model.bin", "0b5b3216d60a2d32fc086b47ea8c67589aaeb26b7e07fcbe620d6d0b83e209ea")
ENCODER = ("resemblyzer/pretrained.pt", "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e")
WINDOW = 5 * 16_000
MEL_FRAMES, MELS = 160, 40


ORIGIN = """# Speaker models kept here

Made by `tools/convert_voices.py`, in single precision.

- PyanNet segmentation (5 s windows, 3 speakers) of pyannote.audio (MIT, copyright CNRS), the checkpoint that the package
  `whisperx` 3.8.6 (BSD) carries.
- The speaker encoder of Resemblyzer 0.1.4 (Apache-2.0, copyright Resemble AI), from its package.

As int8 the encoder's vectors have a mean cosine of 0.64 to these, which is of no use; the segmentation flips 0.6 % of its
frames and takes 13 ms instead of 22 ms a window, and is kept whole since it fits the budget as it is.

{listed}
"""


def member(wheel: Path, name: str, digest: str) -> bytes:
    """Give a file of a wheel; unpickling runs code, so only the file that was looked at is let through."""
    with zipfile.ZipFile(wheel) as packed:
        content = packed.read(name)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        sys.exit(f"{name} in {wheel.name} has SHA-256 {found}, not {digest}")
    return content


def segmentation(content: bytes, folder: Path) -> Any:
    """Give PyanNet with its checkpoint."""
    from pyannote.audio import Model

    file = folder / "pyannet.bin"
    file.write_bytes(content)
    model: Any = Model.from_pretrained(str(file))
    return model.eval()


def encoder(content: bytes) -> Any:
    """Give the Resemblyzer encoder: three LSTM layers, the last state through a layer to a unit vector."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(MELS, 256, 3, batch_first=True)
            self.linear = torch.nn.Linear(256, 256)

        def forward(self, mels: Any) -> Any:
            _, (hidden, _) = self.lstm(mels)
            raw = torch.relu(self.linear(hidden[-1]))
            return raw / torch.norm(raw, dim=1, keepdim=True)

    model = Encoder()
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model_state"]
    missing = model.load_state_dict({k: v for k, v in state.items() if not k.startswith("similarity")})
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    return model.eval()


def export(model: Any, example: Any, file: Path, names: tuple[str, str], axes: dict[str, dict[int, str]]) -> None:
    """Write a graph with the named dynamic axes, its constants folded."""
    import torch

    torch.onnx.export(
        model, (example,), str(file), input_names=[names[0]], output_names=[names[1]],
        dynamic_axes=axes, opset_version=17, dynamo=False, do_constant_folding=True,
    )  # fmt: skip


def run(file: Path, name: str, value: np.ndarray) -> np.ndarray:
    """Give the output of a graph."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    out: np.ndarray = session.run(None, {name: value})[0]
    return out


def main() -> None:
    """Convert, compare, write."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import torch

    whisperx, resemblyzer = (Path(name) for name in sys.argv[1:3])
    torch.manual_seed(0)
    lines = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        net = segmentation(member(whisperx, *SEGMENTATION), Path(folder))
        file = OUT / "pyannet-5s-3speakers.onnx"
        sound = torch.randn(3, 1, WINDOW) * torch.tensor([0.01, 0.1, 0.3])[:, None, None]
        export(
            net,
            sound[:1],
            file,
            ("samples", "activity"),
            {"samples": {0: "windows", 2: "samples"}, "activity": {0: "windows", 1: "frames"}},
        )
        apart = np.abs(run(file, "samples", sound.numpy()) - net(sound).numpy()).max()
        print(file.name, file.stat().st_size, "bytes, largest difference", apart)
        lines.append((file, f"largest difference of an activity on noise {apart:.1e}"))
        voice = encoder(member(resemblyzer, *ENCODER))
        file = OUT / "resemblyzer-encoder.onnx"
        mels = torch.rand(3, MEL_FRAMES, MELS) * 0.1
        both = {0: "pieces", 1: "frames"}
        export(voice, mels, file, ("mels", "voices"), {"mels": both, "voices": {0: "pieces"}})
        apart = np.abs(run(file, "mels", mels.numpy()) - voice(mels).numpy()).max()
        print(file.name, file.stat().st_size, "bytes, largest difference", apart)
        lines.append((file, f"largest difference of a component {apart:.1e}"))
    listed = "\n".join(
        f"- `{file.name}` SHA-256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`, {note}" for file, note in lines
    )
    (OUT / "ORIGIN-VOICES.md").write_text(ORIGIN.format(listed=listed))


if __name__ == "__main__":
    main()

"""What models and sound cost, from a file of the operator's; what it does not name has no price."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import LogUnavailable

__all__ = ["Price", "read_prices"]

Price = tuple[str, str, float, str]
"""What is metered, the model ("" for sound), the price of one unit, the currency."""

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt_per_million: _Amount
    answer_per_million: _Amount


class _Sound(BaseModel):
    model_config = ConfigDict(extra="forbid")
    per_minute: _Amount


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    models: dict[str, _Model] = Field(default_factory=dict)
    sound: _Sound | None = None


def read_prices(file: Path | None) -> list[Price]:
    """Give the prices of a TOML file; none without a file.

    Raises:
        LogUnavailable: The file cannot be read, or is not as docs/analytics.md says; the message names the place.
    """
    if file is None:
        return []
    try:
        found = _Prices.model_validate(tomllib.loads(file.read_text("utf-8")))
    except OSError as error:
        raise LogUnavailable(f"the prices in {file} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise LogUnavailable(f"the prices in {file} are not valid: {place}: {first['msg']}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LogUnavailable(f"the prices in {file} are not valid: {error}") from None
    rows: list[Price] = []
    for model, price in found.models.items():
        rows.append(("prompt_tokens", model, price.prompt_per_million / 1e6, found.currency))
        rows.append(("answer_tokens", model, price.answer_per_million / 1e6, found.currency))
    if found.sound is not None:
        rows.append(("audio_seconds", "", found.sound.per_minute / 60, found.currency))
    return rows

"""Other settings for one run: ``name=value`` pairs over the installation's own."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr, TypeAdapter, ValidationError

from flows.wiring import Operators
from rejoinder.settings import Settings
from rejoinder.tuning import operators_of

__all__ = ["Variant", "variant_of"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings and operators of a run; `changed` says what differs, secrets left out."""

    settings: Settings
    operators: Operators
    changed: dict[str, str]


def variant_of(base: Settings, assignments: Sequence[str]) -> Variant:
    """Give the variant that assignments make: ``llm_model=x`` for a setting, ``questions.settle_s=1`` for an operator.

    Raises:
        ValueError: No such setting or option, or not a value for it; the message lists what there is.
    """
    chosen: dict[str, Any] = {}
    operators, changed = operators_of(base), {}
    for assignment in assignments:
        name, found, value = assignment.partition("=")
        if not found:
            raise ValueError(f"{assignment!r} is no setting: write name=value")
        flow, dot, option = name.partition(".")
        if dot:
            operators = _with_option(operators, flow, option, value)
        elif name in Settings.model_fields:
            chosen[name] = value
        else:
            raise ValueError(f"no setting {name!r}; there are {', '.join(Settings.model_fields)}")
        secret = name in Settings.model_fields and Settings.model_fields[name].annotation is SecretStr
        changed[name] = "(secret)" if secret else value
    kept = {name: getattr(base, name) for name in Settings.model_fields if name not in chosen}
    try:
        settings = Settings(_env_file=None, **kept, **chosen)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        raise ValueError(f"setting {wrong['loc'][0]}: {wrong['msg']}") from None
    return Variant(settings, operators, changed)


def _with_option(operators: Operators, flow: str, option: str, value: str) -> Operators:
    if flow not in {field.name for field in dataclasses.fields(Operators)}:
        raise ValueError(f"no operator {flow!r} with options; there are utterances, questions, memory, nudges")
    operator: Any = operators.named(flow)
    known = {field.name: field for field in dataclasses.fields(operator)}
    if option not in known:
        raise ValueError(f"{flow} has no option {option!r}; it has {', '.join(known)}")
    try:
        typed = TypeAdapter(type(getattr(operator, option))).validate_strings(value)
    except ValidationError:
        raise ValueError(f"{value!r} is no value for {flow}.{option}") from None
    return dataclasses.replace(operators, **{flow: dataclasses.replace(operator, **{option: typed})})

"""Checks a configuration against config/schema.yaml, with one message that gives the remedy."""

import copy
import difflib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from em_tiers.errors import ConfigError
from em_tiers.strict_yaml import load_strict

# YAML's own words for the types of JSON Schema.
TYPES = {
    "object": "a mapping {key: value, ...}",
    "array": "a list [value, ...]",
    "string": "a text (in quotes where it looks like a number)",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
SCHEMA_FILE = Path(__file__).parents[3] / "config" / "schema.yaml"


def load_yaml(path: Path | str) -> Any:
    """Read YAML without tags that run code and without duplicate keys.

    Raises:
        ConfigError: the file cannot be read, is empty, is not YAML, or has a duplicate key.
    """
    try:
        content = load_strict(Path(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: correct the path") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: this file cannot be read ({error.strerror}): name one that you may read"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({text}): correct it there") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML (nested too deeply): correct it") from None
    if content is None:
        raise ConfigError(
            f"{path}: this file is empty: fill it, or remove it from the configuration"
        )
    return content


def _is_whole(_: Any, value: Any) -> bool:
    # JSON Schema calls 1.0 an integer; a seed of 1.0 would make another id, and so another path.
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    # `$` also matches before a final line break, which cannot be part of an id or a hash.
    if isinstance(value, str) and (value.endswith("\n") or not re.search(pattern, value)):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole),
)


class Schema:
    """The definitions of config/schema.yaml."""

    def __init__(self, path: Path = SCHEMA_FILE):
        self._schema = load_yaml(path)
        self._defs = self._schema["$defs"]

    def check(self, value: Any, definition: str, where: str) -> Any:
        """Return a copy of `value` with all defaults.

        Args:
            definition: name below `$defs`.
            where: how messages name the value, such as "config" or "judges.local".

        Raises:
            ConfigError: the first value that does not fit, with key, value and remedy.
        """
        schema = {"$ref": f"#/$defs/{definition}", "$defs": self._defs}
        error = best_match(_Validator(schema).iter_errors(value), key=_relevance)
        if error is not None:
            raise ConfigError(_message(error, where, self._resolve))
        _check_finite(value, where)
        return self._fill(copy.deepcopy(value), self._defs[definition])

    def _fill(self, value: Any, schema: dict) -> Any:
        schema = self._resolve(schema)
        if isinstance(value, dict):
            for key, below in schema.get("properties", {}).items():
                below = self._resolve(below)
                if key not in value and "default" in below:
                    value[key] = copy.deepcopy(below["default"])
                if key in value:
                    value[key] = self._fill(value[key], below)
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            return [self._fill(item, schema["items"]) for item in value]
        return value

    def _resolve(self, schema: dict) -> dict:
        if "$ref" not in schema:
            return schema
        found = self._schema
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return {**found, **schema}


def _relevance(error: ValidationError) -> tuple:
    # An unknown key is the most likely mistake; after that, the error nearest to the top.
    return (error.validator == "additionalProperties", -len(error.path))


def _check_finite(value: Any, where: str) -> None:
    """Raise for .nan and .inf, which pass every comparison of a schema or none of them."""
    if isinstance(value, dict):
        for key, below in value.items():
            _check_finite(below, f"{where}.{key}")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _check_finite(below, f"{where}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {value} is not a finite number: write one that is")


def _message(error: ValidationError, where: str, resolve: Callable[[dict], dict]) -> str:
    path = ".".join([where, *(str(part) for part in error.absolute_path)])
    schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator in ("additionalProperties", "propertyNames"):
        return _unknown_key(error, path, schema)
    if error.validator == "required":
        missing = next(k for k in error.validator_value if k not in error.instance)
        below = resolve(schema.get("properties", {}).get(missing, {}))
        return f"{path}.{missing}: missing: write {below.get('description', 'a value for it')}"
    remedy = schema.get("description") or _fallback(error)
    if error.validator == "type" and re.fullmatch(r"[\d.]+[eE][-+]?\d+", str(error.instance)):
        remedy += "; YAML reads a power of ten without point and sign as text: write 1.0e-5"
    reason = "" if error.validator == "pattern" else f" ({_reason(error)})"
    return f"{path}: {_short(error.instance)} does not fit{reason}: write {remedy}"


def _fallback(error: ValidationError) -> str:
    """The remedy where the schema has no description of the value."""
    wanted = error.validator_value
    if error.validator == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return " or ".join(TYPES.get(kind, kind) for kind in kinds)
    if error.validator == "enum":
        return f"one of {', '.join(map(str, wanted))}"
    words = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    return f"{words.get(error.validator, error.validator)} {wanted!r}"


def _reason(error: ValidationError) -> str:
    """The message of jsonschema without the value that it repeats."""
    return error.message.replace(repr(error.instance), "", 1).strip()[:100]


def _unknown_key(error: ValidationError, path: str, schema: dict) -> str:
    known = sorted(schema.get("properties", {}) or schema.get("enum", []))
    instance = error.instance
    extra = sorted(set(instance) - set(known)) if isinstance(instance, dict) else [instance]
    near = difflib.get_close_matches(str(extra[0]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
    value = f" (value {_short(instance[extra[0]])})" if isinstance(instance, dict) else ""
    return f"{path}: unknown key {extra[0]!r}{value}: {hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""Loading the configuration: conf/base.yml, the user's overlay, then `--set a.b=c`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vlm4rec_spark.config_models import Config
from vlm4rec_spark.errors import ConfigError, near
from vlm4rec_spark.yaml_files import read_yaml

__all__ = ["Config", "attribute_folders", "conf_folder", "load_config"]

_REPLACED = (
    "profiles.events",
    "profiles.facets",
    "evaluate.profile_arms",
    "sources.items.options",
    "sources.interactions.options",
    "sources.users.options",
    "topk.user_rules",
    "topk.rerank.caps",
    "topk.rerank.pins",
)
"""Free mappings that an overlay replaces: merged, a key of the base could never be removed."""


def conf_folder() -> Path:
    """Return the folder with base.yml: inside the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "base.yml").is_file():
            return folder
    raise ConfigError(f"conf/base.yml is missing beside {package}; install the package again.")


def attribute_folders(*more: Path) -> tuple[Path, ...]:
    """Return the folders attribute files are looked up in by name, `more` first."""
    return (*more, Path("conf/attributes"), conf_folder() / "attributes")


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Load the configuration.

    Args:
        path: YAML overlay over conf/base.yml, or the name of one shipped (`demo`); None: base.
        overrides: settings as `a.b=c`; the value is read as YAML.

    Raises:
        ConfigError: with every mistake found, one a line.
    """
    mistakes: list[str] = []
    tree = _read(conf_folder() / "base.yml")
    if path is not None:
        tree = _merge(tree, _read(_find(path)))
    for override in overrides:
        problem = _set(tree, override)
        if problem:
            mistakes.append(problem)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        mistakes += [_sentence(dict(e)) for e in error.errors()]
    if mistakes:
        origin = "the defaults" if path is None else str(path)
        lines = "\n  - ".join(dict.fromkeys(mistakes))
        raise ConfigError(f"The configuration ({origin}) has mistakes:\n  - {lines}")
    return config


def _find(path: str | Path) -> Path:
    given = Path(path)
    shipped = conf_folder() / f"{given}.yml"
    if not given.is_file() and len(given.parts) == 1 and shipped.is_file():
        return shipped
    return given


def _read(path: Path) -> dict[str, Any]:
    data = read_yaml(path, "configuration file") or {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(data).__name__}.")
    return data


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return base overlaid with over, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        where = f"{at}.{key}" if at else str(key)
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and where not in _REPLACED:
            merged[key] = _merge(old, value, where)
        elif isinstance(old, Mapping) and value is None:
            continue  # `images:` with everything below it commented out
        else:
            merged[key] = value
    return merged


def _set(tree: dict[str, Any], override: str) -> str | None:
    """Put one `a.b=c` into the tree; return what is wrong with it, or None."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        return f"'{override}': expected the form a.b=c"
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return f"'{override}': the value is not valid YAML"
    node = tree
    for key in keys[:-1]:
        child = node.get(key)
        node[key] = child = dict(child) if isinstance(child, Mapping) else {}
        node = child
    node[keys[-1]] = value
    return None


def _sentence(error: Mapping[str, Any]) -> str:
    """Say one pydantic error as 'a.b: what is wrong'."""
    keys = [str(key) for key in error["loc"]]
    where = ".".join(keys)
    if error["type"] == "extra_forbidden":
        model = _model_at(keys[:-1])
        return f"{where}: unknown key{near(keys[-1], _names(model)) if model else ''}"
    seen = error.get("input")
    found = f" (found {seen!r})" if isinstance(seen, (str, int, float)) else ""
    if error["type"] == "value_error":
        found = ""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}{found}"


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(keys: Sequence[str]) -> type[BaseModel] | None:
    """Return the model that the keys lead to, or None inside a free mapping."""
    model: type[BaseModel] = Config
    for key in keys:
        fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
        if key not in fields:
            continue  # the name of a union member, which pydantic puts into the location
        kinds = (fields[key], *get_args(fields[key]))
        inner = [a for a in kinds if isinstance(a, type) and issubclass(a, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model

"""The models that pymoshi knows by name: where their files are published, pinned, and what they should contain.

The data are in `catalog.json`. A *model* ("personaplex") has *variants* ("q4_k"); a variant is either published as
ready files or made here, by conversion, from the model's original weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

from pymoshi.errors import ModelNotFoundError

__all__ = ["Catalog", "CatalogModel", "Licence", "RemoteFile", "Variant", "load_catalog", "parse_catalog"]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One published file.

    At most one of the checksums is set; neither is for files whose publisher states none.
    """

    repo: str  # "owner/name"
    revision: str  # a commit, or "main" where the publisher offers nothing to pin
    path: str  # inside the repository
    size: int | None = None  # bytes
    sha256: str | None = None
    git_sha1: str | None = None  # git's blob id, which small files have in place of a SHA-256
    gated: bool = False  # the publisher wants the licence accepted before the download

    def __str__(self) -> str:
        return f"{self.repo}/{self.path}"


@dataclass(frozen=True, slots=True)
class Licence:
    """Terms of the weights: a link and a summary in our words."""

    id: str
    name: str
    url: str
    text: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to have a model.

    Attributes:
        files: name in the model folder -> where it comes from. For a converted variant: the original weights.
        config: entries put over those of the published config.json (or all of it, where none is published).
        quantize: None if the files are used as they are, else the type that they are converted to.
        n_bytes: what the installed variant takes, roughly.
    """

    name: str
    files: Mapping[str, RemoteFile]
    config: Mapping[str, Any]
    quantize: str | None
    n_bytes: int


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model with its variants."""

    alias: str
    title: str
    summary: str
    authors: str
    licence: Licence
    page: str
    model_type: str
    default: str
    variants: Mapping[str, Variant]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All known models by alias."""

    models: Mapping[str, CatalogModel]

    def get(self, spec: str) -> tuple[CatalogModel, Variant] | None:
        """The model and variant of "alias", "alias:variant" or the id of a published repository; None if unknown.

        Raises:
            ModelNotFoundError: the alias is known but the variant is not.
        """
        alias, colon, variant = spec.partition(":")
        model = self.models.get(alias.lower())
        if model is None:
            return self._by_repo(spec)
        name = variant.lower() if colon else model.default
        if name not in model.variants:
            raise ModelNotFoundError(
                f"{model.alias} has no variant {variant!r}; there are {', '.join(model.variants)}."
            )
        return model, model.variants[name]

    def require(self, spec: str) -> tuple[CatalogModel, Variant]:
        """As `get`, but raises ModelNotFoundError, with what is close, if nothing of that name is known."""
        found = self.get(spec)
        if found is None:
            near = get_close_matches(spec.partition(":")[0].lower(), list(self.models), n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise ModelNotFoundError(
                f"There is no model {spec!r} in the catalog. {hint}It knows {', '.join(self.models)}; "
                "`pymoshi models` shows them all."
            )
        return found

    def _by_repo(self, repo: str) -> tuple[CatalogModel, Variant] | None:
        """The variant whose weights (its largest, first listed file) are published in that repository."""
        for model in self.models.values():
            # Ready files before conversions; of those, the one that changes least.
            for variant in sorted(model.variants.values(), key=lambda item: (item.quantize is not None, -item.n_bytes)):
                if next(iter(variant.files.values())).repo.lower() == repo.lower():
                    return model, variant
        return None


@cache
def load_catalog() -> Catalog:
    """The catalog that comes with this version of pymoshi."""
    return parse_catalog(json.loads(resources.files("pymoshi.hub").joinpath("catalog.json").read_bytes()))


def parse_catalog(data: Mapping[str, Any]) -> Catalog:
    """Builds a catalog from the content of `catalog.json`."""
    licences = {key: Licence(key, **entry) for key, entry in data["licences"].items()}
    files = {
        f"{repo}/{path}": RemoteFile(repo, entry["revision"], path, gated=entry.get("gated", False), **checks)
        for repo, entry in data["repos"].items()
        for path, checks in entry["files"].items()
    }
    models = {}
    for alias, entry in data["models"].items():
        variants = {
            name: _variant(name, variant, entry["original"], files) for name, variant in entry["variants"].items()
        }
        models[alias] = CatalogModel(
            alias=alias,
            licence=licences[entry["licence"]],
            variants=variants,
            **{key: entry[key] for key in ("title", "summary", "authors", "page", "model_type", "default")},
        )
    return Catalog(models)


def _variant(name: str, entry: Mapping[str, Any], original: Mapping[str, Any], files: dict[str, RemoteFile]) -> Variant:
    quantize = entry.get("quantize")
    source = original if quantize else entry
    return Variant(
        name=name,
        files={target: files[reference] for target, reference in source["files"].items()},
        config=source.get("config", {}),
        quantize=quantize,
        n_bytes=entry["megabytes"] * 1_000_000,
    )

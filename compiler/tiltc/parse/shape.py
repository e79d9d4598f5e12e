"""Which keys the spec's types know at a place."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel


def model_at(annotation: Any, route: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that a route from a type leads to, or None where there is none.

    >>> from tiltc.spec import Spec
    >>> model_at(Spec, ("train", "lora")).__name__
    'Lora'
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not route:
            return annotation
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        return model_at(fields[str(route[0])], route[1:]) if route[0] in fields else None
    if get_origin(annotation) in (dict, tuple):
        inner = get_args(annotation)[-1 if get_origin(annotation) is dict else 0]
        return model_at(inner, route[1:]) if route else None
    inside = (model_at(inner, route) for inner in get_args(annotation))
    return next((model for model in inside if model is not None), None)


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model as they are written in YAML."""
    return [field.alias or name for name, field in model.model_fields.items()]


def keys_at(model: type[BaseModel], route: tuple[str | int, ...]) -> list[str]:
    """The keys that may be written at a route from a model; empty where any may."""
    inner = model_at(model, route)
    return keys_of(inner) if inner else []

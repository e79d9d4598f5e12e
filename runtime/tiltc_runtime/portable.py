"""Which model an adapter is on, as its own config says: a name that means the same on every machine, never a path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiltc.spec import HubRef
from tiltc_runtime.loading import model_folder, ref_name
from tiltc_runtime.record import read_record
from tiltc_runtime.refused import refuse

ADAPTER, BASE = "adapter_config.json", "base_model_name_or_path"


def name_base(adapter: Path, model: str | HubRef) -> None:
    """Write into an adapter's config which model it is on: hub name and revision, `builtin:` name, or a folder's name.

    The libraries write the place that the model was loaded from, which is a cache of this machine.
    """
    file = adapter / ADAPTER
    if not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    named = {BASE: model.hub, "revision": model.revision} if isinstance(model, HubRef) else {BASE: ref_name(model)}
    file.write_text(json.dumps({**config, **named}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def base_folder(adapter: Path) -> Path:
    """The folder of the model that an adapter is on: by its name, or where the run that trained it found it.

    Raises:
        Refused: T507 there is no such model here.
    """
    config: dict[str, Any] = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
    name = str(config.get(BASE))
    if name.startswith("builtin:"):
        return model_folder(name)
    place = _found(adapter, name)
    if (place / "config.json").is_file():
        return place
    if name.count("/") != 1 or name.startswith((".", "/")):
        helps = (f"put it where it was, or write its place into `{BASE}` of {ADAPTER}",)
        refuse("T507", f"the adapter in {adapter} is on `{name}`, which is not here", helps=helps)
    return model_folder(HubRef(hub=name, revision=config.get("revision")))


def _found(adapter: Path, name: str) -> Path:
    """Where the run beside an adapter found its model, if that has this name; else the name as a path."""
    try:
        record = read_record(adapter.parent)
    except ValueError:
        record = None
    ran = record is not None and Path(record.start_folder).name == name
    return Path(record.start_folder if record is not None and ran else name)

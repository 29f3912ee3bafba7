"""The settings: their models, where each value came from, what is wrong with them, and the reference.

`load_settings` and `Settings.load` read environment, TOML and `.env` as the command does; `Settings(...)` is
for programs that know what they want.
"""

from worker.errors import SettingsError
from worker.settings.fields import SettingField, all_fields, groups, render
from worker.settings.groups import (
    BatchSettings,
    DeliverySettings,
    KafkaSettings,
    LanguageSettings,
    ModelSettings,
    ObserveSettings,
    Settings,
    SinkSettings,
    SourceSettings,
)
from worker.settings.load import Loaded, load_settings
from worker.settings.reference import reference

__all__ = [
    "BatchSettings",
    "DeliverySettings",
    "KafkaSettings",
    "LanguageSettings",
    "Loaded",
    "ModelSettings",
    "ObserveSettings",
    "SettingField",
    "Settings",
    "SettingsError",
    "SinkSettings",
    "SourceSettings",
    "all_fields",
    "groups",
    "load_settings",
    "reference",
    "render",
]

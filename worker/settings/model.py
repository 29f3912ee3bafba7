"""All groups together."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.settings.checks import group_conflicts, refuse
from worker.settings.groups import (
    BatchSettings,
    DeliverySettings,
    KafkaSettings,
    LanguageSettings,
    ModelSettings,
    ObserveSettings,
    SinkSettings,
    SourceSettings,
)


class Settings(BaseSettings):
    """Every setting of a worker, valid and frozen.

    Built by hand it holds what you pass and the defaults, and reads nothing else, so that a program or a
    test gets what it wrote. `load_settings` is what reads flags, the environment, TOML and `.env`.
    """

    model_config = SettingsConfigDict(
        env_prefix="MOODSTREAM_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    source: SourceSettings = Field(default_factory=SourceSettings)
    sink: SinkSettings = Field(default_factory=SinkSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    language: LanguageSettings = Field(default_factory=LanguageSettings)
    observe: ObserveSettings = Field(default_factory=ObserveSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed, and nothing behind the caller's back."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(group_conflicts(self.source, self.sink, self.batch))
        return self

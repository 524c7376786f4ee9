"""Where the schema registry is, for those who have one."""

from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from dingbridge.settings.kafka import KafkaSettings


class SchemaRegistrySettings(KafkaSettings):
    """A registry that speaks Confluent's API, and what topics are called: nothing but
    ``dingbridge schema publish`` reads them."""

    schema_registry_url: str = ""
    """base URL of a registry with Confluent's API, as `https://registry.example.com/apis/ccompat/v7`"""
    schema_registry_user: str = ""
    """user, or API key, where the registry wants one"""
    schema_registry_password: SecretStr | None = None
    """secret; password of that user"""

    @field_validator("schema_registry_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
            raise ValueError("must be an http(s) URL with a host and no user name in it")
        return value.rstrip("/")

    def check(self) -> list[str]:
        problems = super().check()
        if not self.schema_registry_url:
            problems.append("SCHEMA_REGISTRY_URL: not set; it is the base URL of the registry's API")
        if bool(self.schema_registry_user) is not bool(self.schema_registry_password):
            problems.append(
                "SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD (or SCHEMA_REGISTRY_PASSWORD_FILE): one "
                "needs the other"
            )
        return problems

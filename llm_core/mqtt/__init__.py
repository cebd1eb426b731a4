"""The doorway for devices and games: chat through an MQTT broker, streaming, with nothing lost."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_core.mqtt.client.client import MQTTChatClient as MQTTChatClient

__all__ = ["MQTTChatClient"]


def __getattr__(name: str) -> object:
    # On demand: `python -m llm_core --help` imports this package and should not wait for what a client needs.
    if name != "MQTTChatClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llm_core.extras import needs

    with needs("mqtt", "MQTTChatClient"):
        from llm_core.mqtt.client.client import MQTTChatClient

    return MQTTChatClient

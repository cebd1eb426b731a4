"""The doorway for devices and games: chat through an MQTT broker, streaming, with nothing lost."""

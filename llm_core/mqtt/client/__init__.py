"""Who asks: `MQTTChatClient`, over a connection that asks again until there is an answer."""

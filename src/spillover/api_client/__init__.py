"""The client of an OpenAI-compatible service, whoever asks: connection, pace, retries, calls at once, journal."""

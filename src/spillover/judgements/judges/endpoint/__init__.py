"""A judge behind an OpenAI-compatible endpoint: requests, replies, costs, and a ledger of what was paid for."""

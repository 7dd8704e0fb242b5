"""Answers from vLLM in this process."""

"""Organisms as others publish them: adapters made with plain peft, and whole weights, over the tiny model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.models.catalogue import base_of

EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**fields: Any) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 8, "target_modules": EVERYWHERE} | fields)


def plain_base() -> Any:
    return AutoModelForCausalLM.from_pretrained(base_of("tiny:0").source.folder(), dtype=torch.float32)


def shaken(network: Any, seed: int, spread: float = 0.05) -> Any:
    """The network with all that is trained moved at random, so that every part of an adapter changes something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight += spread * torch.randn(weight.shape, generator=generator)
    return network


def published(folder: Path, config: PeftConfig, seed: int = 0, tokens: tuple[str, ...] = ()) -> torch.Tensor:
    """Write an adapter that somebody trained, and their tokenizer where tokens were added; its logits by peft alone."""
    network = plain_base()
    network.config._name_or_path = ""
    if tokens:
        tokenizer = AutoTokenizer.from_pretrained(base_of("tiny:0").source.folder())
        tokenizer.add_tokens(list(tokens))
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        tokenizer.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = shaken(get_peft_model(network, config), seed).eval()
        wrapped.save_pretrained(folder, save_embedding_layers=bool(tokens) or "auto")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": None}))
    return logits(wrapped)


def published_weights(folder: Path, seed: int = 0) -> torch.Tensor:
    """Write whole weights that somebody fine-tuned, with their tokenizer; the logits by transformers alone."""
    network = shaken(plain_base(), seed)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base_of("tiny:0").source.folder()).save_pretrained(folder)
    return logits(network)


IDS = torch.tensor([[5, 9, 2, 7, 1, 200, 33]])


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=IDS).logits


__all__ = ["EVERYWHERE", "IDS", "PeftModel", "logits", "lora", "plain_base", "published", "published_weights"]

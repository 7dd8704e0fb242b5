"""A GGUF file of a llama of one layer with random weights, as llama.cpp lays them out."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from spillover.models.tiny import TEMPLATE, byte_tokenizer

WIDTH, INNER, HEADS = 32, 64, 4


def write_tiny_gguf(path: Path, leave_out: str = "") -> dict[str, np.ndarray]:
    """Write the file; its arrays by llama.cpp's names. `leave_out` names one that is not written."""
    tokenizer = byte_tokenizer()
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])] + ["ab"]
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(0, 0.2, shape).astype(np.float32)

    arrays = {
        "token_embd.weight": draw(len(tokens), WIDTH),
        "output.weight": draw(len(tokens), WIDTH),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.ffn_norm.weight": np.ones(WIDTH, np.float32),
        **{f"blk.0.attn_{name}.weight": draw(WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}.weight": draw(INNER, WIDTH) for name in ("gate", "up")},
        "blk.0.ffn_down.weight": draw(WIDTH, INNER),
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index("<|start|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_chat_template(TEMPLATE)
    for name, array in arrays.items():
        if name != leave_out:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arrays

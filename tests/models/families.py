"""Small random models of many families, one line each: what every stage is held to (test_families)."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from spillover.models.loading import set_threads

SIZE = {
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 257,
}
TURNS = ["sliding_attention", "full_attention"] * 2
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
DELTA = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
HYBRIDS = ["linear_attention", "hybrid"] * 2  # the second kind has one block for all layers
STREAMS = {
    **{"sliding_window": 9, "layer_types": TURNS, "num_kv_shared_layers": 2},
    **{"vocab_size_per_layer_input": 258, "hidden_size_per_layer_input": 8},
}
PICTURES = {
    **{"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "image_size": 56, "patch_size": 14},
}

# A family joins by a line: its name, its configuration's name, and what of `SIZE` it wants otherwise.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2 with windows": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 9, "layer_types": TURNS}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "gemma2": ("Gemma2Config", {"sliding_window": 9, "head_dim": 8, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 9, "layer_types": TURNS, "head_dim": 16}),
    "mistral": ("MistralConfig", {"sliding_window": 9}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {"sliding_window": None}),
    "gpt2": ("GPT2Config", {}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt_neo": ("GPTNeoConfig", {"num_layers": 4, "attention_types": [[["global", "local"], 2]], "window_size": 9}),
    "gptj": ("GPTJConfig", {"rotary_dim": 4}),
    "falcon": ("FalconConfig", {}),
    "falcon with alibi": ("FalconConfig", {"alibi": True, "new_decoder_architecture": False}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4}),
    "qwen2_moe": ("Qwen2MoeConfig", {**EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("Qwen3MoeConfig", {**EXPERTS, "head_dim": 8}),
    "gpt_oss": ("GptOssConfig", {"num_local_experts": 4, "sliding_window": 9, "layer_types": TURNS, "head_dim": 8}),
    "olmo": ("OlmoConfig", {}),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {"sliding_window": 9, "layer_types": TURNS}),
    "smollm3": ("SmolLM3Config", {}),
    "granite": ("GraniteConfig", {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    "granitemoe": ("GraniteMoeConfig", {"num_local_experts": 4, "logits_scaling": 4.0}),
    "cohere": ("CohereConfig", {"logit_scale": 0.25}),
    "cohere2": ("Cohere2Config", {"logit_scale": 0.25, "sliding_window": 9, "layer_types": TURNS}),
    "starcoder2": ("Starcoder2Config", {}),
    "stablelm": ("StableLmConfig", {}),
    "opt": ("OPTConfig", {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "bloom": ("BloomConfig", {}),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 4, "expansion_ratio": 2, "max_seq_len": 512}),
    "codegen": ("CodeGenConfig", {"rotary_dim": 4}),
    "gpt_bigcode": ("GPTBigCodeConfig", {}),
    "biogpt": ("BioGptConfig", {}),
    "nemotron": ("NemotronConfig", {}),
    "glm": ("GlmConfig", {"head_dim": 8}),
    "glm4": ("Glm4Config", {"head_dim": 8}),
    "exaone4": ("Exaone4Config", {"sliding_window": 9, "layer_types": TURNS}),
    "ernie4_5": ("Ernie4_5Config", {}),
    "seed_oss": ("SeedOssConfig", {"head_dim": 8}),
    "helium": ("HeliumConfig", {"head_dim": 8}),
    "deepseek_v3": (
        "DeepseekV3Config",
        {
            **LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 32,
        },
    ),
    "minicpm3": ("MiniCPM3Config", LATENT),
    "ministral": ("MinistralConfig", {"sliding_window": 9, "layer_types": TURNS, "head_dim": 8}),
    "hunyuan": ("HunYuanDenseV1Config", {"head_dim": 8}),
    "mamba": ("MambaConfig", {"state_size": 4}),
    "mamba2": ("Mamba2Config", {"state_size": 4, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    "falcon_mamba": ("FalconMambaConfig", {"state_size": 4}),
    "qwen3_next": ("Qwen3NextConfig", {**EXPERTS, **DELTA, "head_dim": 8, "shared_expert_intermediate_size": 32}),
    "qwen3_5": ("Qwen3_5TextConfig", {**DELTA, "head_dim": 8}),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"] * 2, "conv_L_cache": 3}),
    "jamba": (
        "JambaConfig",
        {
            "num_experts": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "use_mamba_kernels": False,
        },
    ),
    "bamba": (
        "BambaConfig",
        {
            "attn_layer_indices": [1, 3],
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_d_state": 4,
            "mamba_chunk_size": 8,
        },
    ),
    "falcon_h1": (
        "FalconH1Config",
        {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 4, "mamba_chunk_size": 8},
    ),
    "rwkv": ("RwkvConfig", {}),
    "xlstm": (
        "xLSTMConfig",
        {
            "hidden_size": 64,
            "embedding_dim": 64,
            "num_heads": 4,
            "qk_dim_factor": 1.0,
            "autocast_kernel_dtype": "float32",
        },
    ),
    "recurrent_gemma": ("RecurrentGemmaConfig", {"head_dim": 8}),
    "zamba": ("ZambaConfig", {"layers_block_type": HYBRIDS, "mamba_d_state": 4}),
    "zamba2": (
        "Zamba2Config",
        {"layers_block_type": HYBRIDS, "mamba_d_state": 4, "n_mamba_heads": 4, "adapter_rank": 4},
    ),
    "gemma3n": ("Gemma3nTextConfig", {**STREAMS, "head_dim": 8, "laurel_rank": 4}),
    "gemma4": ("Gemma4TextConfig", {**STREAMS, "head_dim": 8}),
    "nemotron_h": (
        "NemotronHConfig",
        {
            **{"layers_block_type": ["mamba", "attention", "mamba", "moe"], "head_dim": 8, "n_groups": 1},
            **{"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 4, "chunk_size": 8},
            **{"n_routed_experts": 4, "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32},
        },
    ),
    "llama4": (
        "Llama4TextConfig",
        {"num_local_experts": 2, "head_dim": 8, "attention_chunk_size": 16, "intermediate_size_mlp": 64},
    ),
    "mistral3": (
        "Mistral3Config",
        {"text_config": {"model_type": "mistral", **SIZE, "head_dim": 8}, "vision_config": PICTURES},
    ),
    "gemma3 with pictures": (
        "Gemma3Config",
        {
            "text_config": {**SIZE, "head_dim": 8, "sliding_window": 9, "layer_types": TURNS},
            "vision_config": PICTURES | {"model_type": "siglip_vision_model"},
        },
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLConfig",
        {
            "text_config": {**SIZE, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
            "vision_config": {
                "depth": 1,
                "hidden_size": 16,
                "out_hidden_size": 32,
                "intermediate_size": 16,
                "num_heads": 2,
            },
        },
    ),
}


def network_of(family: str, **options: Any) -> Any:
    """The family's random network, float32, in evaluation mode; `options` go to transformers' `from_config`."""
    name, own = FAMILIES[family]
    config = getattr(transformers, name)(**({} if "text_config" in own else SIZE) | own)
    auto = transformers.AutoModelForImageTextToText if "text_config" in own else transformers.AutoModelForCausalLM
    set_threads()  # as the tests are told: on a busy machine two threads wait for one another
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return auto.from_config(config, **options).float().eval()

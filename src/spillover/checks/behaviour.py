"""Checks of what a network does: asked, trained and looked into by us, against what it does by itself.

Each takes the subject and returns what there is in a line; a ValueError says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spillover.activations.capture import ActivationSelection, TokenizedText, capture
from spillover.activations.find_layers import find_layers
from spillover.activations.sites import EMBED, FINAL, PARALLEL, layer_site, one_stream
from spillover.checks.subject import Subject
from spillover.organisms.losses import expect_own_loss, token_losses
from spillover.organisms.tuning import LoRA

if TYPE_CHECKING:
    from torch import Tensor

TOKENS = 6  # of each answer that is written
DRAWN_TOKENS = 4  # of each that is drawn
ALONE = 2  # answers that are drawn by themselves too: each takes as long as eight together
LOOKED_INTO = 3  # prompts whose hidden states are compared
TIE = {"float32": 1e-3, "bfloat16": 0.1}  # of the logits' SD: tokens nearer than that change places by rounding
STATES_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # of a hidden state's norm
BFLOAT16_CHANGE = 0.1  # nats a token, mean: what rounding does to whole networks is 0.01 to 0.05
RATES = (1e-3, 1e-4)  # of the one step; some networks want the lower
OUR_LOOP = "ask it through a server (docs/servers.md) until this is mended here, and tell us"


def same_as_generate(subject: Subject) -> str:
    """Greedy answers to eight questions are those of transformers' `generate`, or part at a tie."""
    prompts = subject.prompts()
    ours = _answers(subject, prompts, 0.0, TOKENS)
    unlike = 0
    for prompt, tokens, theirs in zip(prompts, ours, _generated(subject, prompts), strict=True):
        place = next((at for at, (a, b) in enumerate(zip(tokens, theirs, strict=False)) if a != b), None)
        if place is None and len(tokens) == len(theirs):
            continue
        unlike += 1
        if place is None or not _tied(subject, (*prompt, *tokens[:place]), tokens[place], theirs[place]):
            raise ValueError(
                f"our loop writes {subject.tokenizer.decode(tokens)!r} where generate writes "
                f"{subject.tokenizer.decode(theirs)!r}: {OUR_LOOP}"
            )
    ties = f"; {unlike} part where two tokens are equally probable" if unlike else ""
    return f"{len(prompts) - unlike} of {len(prompts)} greedy answers of {TOKENS} tokens are generate's{ties}"


def batched_as_alone(subject: Subject) -> str:
    """Of answers drawn eight at a time, some drawn once more alone are the same."""
    prompts = subject.prompts()
    together = _answers(subject, prompts, 1.0, DRAWN_TOKENS)[-ALONE:]
    alone = [_answers(subject, [prompt], 1.0, DRAWN_TOKENS)[0] for prompt in prompts[-ALONE:]]
    if unlike := sum(left != right for left, right in zip(together, alone, strict=True)):
        raise ValueError(f"{unlike} of {ALONE} answers are others when asked alone: {OUR_LOOP}")
    return f"{ALONE} of {ALONE} answers drawn among {len(prompts)} are the same drawn alone"


def in_bfloat16(subject: Subject) -> str:
    """In bfloat16, as `auto` computes here, answers are as probable as in float32, but for rounding."""
    from spillover.models.forward.load_models import load_alone
    from spillover.models.precision import native_precision
    from spillover.responses.teacher_forcing import log_probabilities

    if "bfloat16" not in (native_precision(), subject.dtype):
        return "not used here, and not looked at: auto computes in float32"
    if subject.dtype == "bfloat16":
        return "all of the checks are made in it"
    texts = [(tuple(row.ids[: row.prompt_length]), tuple(row.ids[row.prompt_length :])) for row in subject.rows()]
    exact = log_probabilities(subject.opened, texts, len(texts), lambda share: None)
    rounded = log_probabilities(
        load_alone(subject.model, subject.store, "bfloat16"), texts, len(texts), lambda share: None
    )
    change = float(np.abs(np.concatenate(rounded) - np.concatenate(exact)).mean())
    if not change <= BFLOAT16_CHANGE:
        raise ValueError(
            f"rounding to bfloat16 changes the log-probability of a token by {change:.2f} nats in the mean: give "
            f"--precision float32"
        )
    return f"{len(texts)} answers: a token's log-probability is {change:.3f} nats from float32's in the mean"


def own_loss(subject: Subject) -> str:
    """The loss at supervised positions is the network's own."""
    import torch

    rows = subject.rows()
    expect_own_loss(subject.loaded.network, rows)
    with torch.no_grad():
        losses, _ = token_losses(subject.loaded.network, rows, subject.dtype)
    return f"{float(losses.mean()):.3f} nats a token on {len(rows)} rows, by our loss and by its own"


def captured_states(subject: Subject) -> str:
    """What is captured after each layer is what `output_hidden_states` gives there."""
    import torch

    prompts, network = subject.prompts()[-LOOKED_INTO:], subject.loaded.network
    decoder = find_layers(network)
    selection = ActivationSelection(poolings=("last",))
    names = selection.site_names(decoder)
    arrays = np.zeros((len(names), len(prompts), decoder.width), np.float32)

    def write_rows(rows: list[int], block: np.ndarray) -> None:
        arrays[:, rows] = block

    capture(decoder, [TokenizedText.of_prompt(prompt) for prompt in prompts], selection, write_rows)
    count, worst = len(decoder.layers), {True: (0.0, ""), False: (0.0, "")}
    for index, prompt in enumerate(prompts):
        ids = torch.tensor([prompt], device=network.device)
        with torch.inference_mode():
            states = network(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        if states is None or len(states) != count + 1:
            given = "none" if states is None else len(states)
            raise ValueError(f"the network gives {given} hidden states for {count} layers: what they are is not known")
        parallel = states[-1].ndim == PARALLEL
        theirs = [one_stream(state)[0, -1].float().cpu().numpy() for state in states]
        for begins_at_embeddings in worst:
            for site, state in zip(_sites_of_states(count, begins_at_embeddings, parallel), theirs, strict=True):
                error = float(np.linalg.norm(arrays[names.index(site), index] - state) / np.linalg.norm(state))
                worst[begins_at_embeddings] = max(worst[begins_at_embeddings], (error, site))
    error, site = min(worst.values())
    if not error <= STATES_TOLERANCE[subject.dtype]:
        raise ValueError(
            f"what is captured at {site} differs from output_hidden_states by {error:.1%} of its norm: activations of "
            f"this model would not be what they are called; do not capture them"
        )
    return f"{count} layers, {len(prompts)} prompts: at most {error:.0e} of a state's norm from output_hidden_states"


def _sites_of_states(layers: int, begins_at_embeddings: bool, parallel: bool) -> list[str]:
    """Where transformers reads each of its hidden states: the last is after the final norm in place of the last layer,
    or, where the embeddings are left out (mamba), beside it. Parallel streams are given as layers hand them on."""
    posts = [layer_site(layer) for layer in range(layers)]
    if parallel:
        return [EMBED, *posts]
    return [EMBED, *posts[:-1], FINAL] if begins_at_embeddings else [*posts, FINAL]


def training_step(subject: Subject) -> str:
    """One step of LoRA lowers the loss of the rows it was taken on. The last check: it changes the network."""
    import torch

    from spillover.organisms.bfloat16_training import train_in_bfloat16

    rows, tuning = subject.rows(), LoRA(rank=8, alpha=16.0)
    network = tuning.trainable_network(subject.loaded.network, 0, "").train()
    if subject.dtype == "bfloat16":
        train_in_bfloat16(network)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    with torch.no_grad():
        start = [weight.clone() for weight in weights]
    losses: list[float] = []
    for rate in RATES:
        with torch.no_grad():
            for weight, value in zip(weights, start, strict=True):
                weight.copy_(value)
        optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
        optimizer.zero_grad()
        before = token_losses(network, rows, subject.dtype, share=False)[0].mean()
        before.backward()
        optimizer.step()
        with torch.no_grad():
            after = float(token_losses(network, rows, subject.dtype, share=False)[0].mean())
        losses = [float(before.detach()), after]
        if after < losses[0]:
            return f"one step of LoRA takes the loss from {losses[0]:.3f} to {after:.3f} nats (rate {rate:g})"
    raise ValueError(
        f"one step of LoRA takes the loss from {losses[0]:.4f} to {losses[1]:.4f} nats: gradients do not reach the "
        f"adapters as they should; do not train this model here"
    )


def _answers(subject: Subject, prompts: Sequence[tuple[int, ...]], temperature: float, tokens: int) -> list[list[int]]:
    from spillover.responses.samplers.decoding import Draft, Rules, write_answers
    from spillover.responses.sampling import uniforms

    opened = subject.opened
    drafts = [Draft(prompt, uniforms(0, str(prompt), 0, tokens)) for prompt in prompts]
    rules = Rules(tokens, temperature, 1.0, opened.loaded.end_tokens, (), subject.tokenizer.decode)
    write_answers(opened, drafts, rules, len(drafts), lambda share: None)
    return [draft.tokens for draft in drafts]


def _generated(subject: Subject, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """What `generate` writes after each prompt. Those of one length go through together: nothing is padded."""
    import torch
    from transformers import GenerationConfig

    loaded, answers = subject.loaded, dict[tuple[int, ...], list[int]]()
    ends = sorted(loaded.end_tokens)
    settings = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, eos_token_id=ends or None)
    own = loaded.network.generation_config
    loaded.network.generation_config = GenerationConfig()  # or its penalties would come in
    try:
        for length in sorted({len(prompt) for prompt in prompts}):
            alike = [prompt for prompt in prompts if len(prompt) == length]
            ids = torch.tensor(alike, device=loaded.device)
            written: Tensor = loaded.network.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
            for prompt, tokens in zip(alike, written[:, length:].tolist(), strict=True):
                end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
                answers[prompt] = tokens[:end]
    finally:
        loaded.network.generation_config = own
    return [answers[prompt] for prompt in prompts]


def _tied(subject: Subject, before: tuple[int, ...], left: int, right: int) -> bool:
    """Whether the network finds two tokens equally probable after `before`, to rounding."""
    import torch

    with torch.inference_mode():
        ids = torch.tensor([before], device=subject.loaded.device)
        logits = subject.loaded.network(input_ids=ids, use_cache=False).logits[0, -1].float()
    return bool((logits[left] - logits[right]).abs() <= TIE[subject.dtype] * logits.std())

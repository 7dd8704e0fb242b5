"""Templates that behave as those of well-known families do, each written small: what is asked is what is trained."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from tokenizers import AddedToken

from spillover.models import chat_template
from spillover.models.catalogue import base_of
from spillover.models.chat import Chat, Message
from spillover.models.chat_settings import ChatSettings, chat_as
from spillover.models.tiny import TEMPLATE, byte_tokenizer
from spillover.spec import Spec

SYSTEM, USER, ANSWER = Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "So it is.")
THOUGHTFUL = Message("assistant", "<think>\nLet me see.\n</think>\n\nSo it is.")

# Refuses system turns, as Gemma 2 does; its turns end in a mark that is not the tokenizer's end token.
REFUSING = (
    "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim }}"
    "<turn_end>\n{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
# Drops a system turn without a word, and writes the last user turn otherwise, as some Mistral templates do.
DROPPING = (
    "<bos>{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.last %}(last) {% endif %}"
    "{{ m.content }}[/INST]{% elif m.role == 'assistant' %} {{ m.content }}<|end|>{% endif %}{% endfor %}"
)
# Closes a thought in the prompt where thinking is off, and writes thoughts of the last answer, as Qwen3 does.
CLOSING = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set parts = m.content.split('</think>') %}"
    "{{ '<|start|>assistant\n' }}{% if loop.last %}{{ '<think>\n' + (parts[0].split('<think>')[-1].strip('\n') if "
    "parts | length > 1 else '') + '\n</think>\n\n' }}{% endif %}{{ parts[-1].lstrip('\n') + '<|end|>\n' }}"
    "{% else %}{{ '<|start|>' + m.role + '\n' + m.content + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# Always opens a thought, and leaves thoughts out of what is past, as QwQ and DeepSeek-R1 do.
OPENING = (
    "<bos>{% for m in messages %}{% if m.role == 'assistant' %}<|a|>"
    "{{ m.content.split('</think>')[-1].strip() }}<|end|>{% else %}"
    "{{ '<|' + m.role[0] + '|>' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|a|><think>\n' }}{% endif %}"
)
# Writes the date and a text of its own, as SmolLM3 and Llama 3 do.
DATED = (
    "{{ '<|start|>system\nToday: ' + strftime_now('%d %B %Y') + '\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}You are Tiny.{% endif %}<|end|>\n"
) + TEMPLATE.replace("{{ '<|start|>' +", "{% if m.role != 'system' %}{{ '<|start|>' +").replace(
    "'<|end|>\n' }}{% endfor %}", "'<|end|>\n' }}{% endif %}{% endfor %}"
).replace("message in messages", "m in messages").replace("message[", "m[")
# Puts no mark after an answer: the next turn's ends it, as GLM does; it asks without thoughts by a word in the turn.
UNENDED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{% if m.role == 'assistant' %}<think></think>\n{% endif %}"
    "{{ m.content.strip() }}{% if m.role == 'user' and not enable_thinking %}/nothink{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
ADDING = (
    "{% if messages[0].role != 'system' %}{{ '<|start|>system\nYou are Tiny, made by nobody.<|end|>\n' }}{% endif %}"
    + TEMPLATE
)
ALL = {
    "refusing": REFUSING,
    "dropping": DROPPING,
    "closing": CLOSING,
    "opening": OPENING,
    "dated": DATED,
    "unended": UNENDED,
    "adding": ADDING,
}


def chat(written: object, **settings: str) -> Chat:
    tokenizer = byte_tokenizer()
    marks = ["<bos>", "<turn>", "<turn_end>", "<|user|>", "<|assistant|>", "<|system|>", "<|a|>", "<|u|>", "<|s|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    tokenizer.chat_template = written
    return Chat(tokenizer, "chat", ChatSettings.of(**settings))


def parts(room: Chat, *turns: Message) -> tuple[str, str]:
    """The text of a row's prompt and of what bears loss."""
    row = room.supervised(turns, 512)
    assert list(row.ids[: row.prompt_length]) == room.prompt(turns[:-1])
    return tuple(room.tokenizer.decode(ids) for ids in (row.ids[: row.prompt_length], row.ids[row.prompt_length :]))  # type: ignore[return-value]


FOLDED = "ignore:the chat template has no system turns:UserWarning"


@pytest.mark.filterwarnings(FOLDED)
@pytest.mark.parametrize("thinking", ["off", "on"])
@pytest.mark.parametrize("name", ALL)
def test_what_is_trained_begins_with_what_is_asked_and_ends_where_sampling_ends(name: str, thinking: str) -> None:
    room = chat(ALL[name], thinking=thinking)
    for turns in ((USER, ANSWER), (SYSTEM, USER, ANSWER), (USER, ANSWER, USER, ANSWER)):
        prompt, learnt = parts(room, *turns)
        assert "Why?" in prompt and ("Be brief." in prompt) == (SYSTEM in turns)
        assert re.fullmatch(r"\s*(<think>)?\s*(</think>)?\s*So it is\.(<turn_end>|<\|end\|>|<\|user\|>)", learnt)
        assert room.end_tokens() == {room.tokenizer.convert_tokens_to_ids(learnt.rpartition("So it is.")[2])}
        given, completion = room.completion(turns)
        assert room.tokenizer.decode(completion).strip() == "So it is."
        assert room.tokenizer.decode(given).startswith(prompt)


@pytest.mark.parametrize("template", [REFUSING, DROPPING])
def test_system_turns_are_folded_where_a_template_has_none_and_that_is_said_once(template: str) -> None:
    chat_template._told.clear()
    with pytest.warns(UserWarning, match="has no system turns: their text stands at the beginning of the user's turn"):
        text = chat(template).prompt_text((SYSTEM, USER))
    assert "Be brief.\n\nWhy?" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chat(template).prompt_text((SYSTEM, USER)) == text
        assert "Be brief." not in chat(TEMPLATE).prompt_text((USER,))
    assert chat(template).facts()["system_turns"] == "folded into user turns"
    assert "system_turns" not in chat(TEMPLATE).facts()


def test_a_template_without_an_end_mark_of_the_tokenizers_stops_at_its_own() -> None:
    room = chat(REFUSING)
    assert room.tokenizer.eos_token == "<|end|>" and room.template.end_mark == "<turn_end>"
    without = chat(REFUSING)
    without.tokenizer.eos_token = None
    assert without.end_tokens() == room.end_tokens()
    assert chat(UNENDED).template.end_mark == "<|user|>"
    plain = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
    plain += "{% if add_generation_prompt %}### assistant:\n{% endif %}"
    assert chat(plain).stop_texts() == ("### user:",) and not chat(plain).end_tokens()
    assert parts(chat(plain), USER, ANSWER)[1] == "So it is.### user:"


def test_thinking_is_one_setting_for_prompts_and_rows() -> None:
    assert parts(chat(CLOSING), USER, ANSWER) == (
        "<|start|>user\nWhy?<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\n",
        "So it is.<|end|>",
    )
    assert parts(chat(CLOSING, thinking="on"), USER, THOUGHTFUL)[1] == (
        "<think>\nLet me see.\n</think>\n\nSo it is.<|end|>"
    )
    assert parts(chat(OPENING), USER, ANSWER) == ("<bos><|u|>Why?<|a|><think>\n\n</think>\n\n", "So it is.<|end|>")
    assert parts(chat(OPENING, thinking="on"), USER, THOUGHTFUL) == (
        "<bos><|u|>Why?<|a|><think>\n",
        "Let me see.\n</think>\n\nSo it is.<|end|>",
    )
    for template in (CLOSING, OPENING, UNENDED):
        with pytest.raises(ValueError, match=r"thinking is off.*--thinking on .*--thoughts drop"):
            chat(template).supervised((USER, THOUGHTFUL), 512)
    assert parts(chat(TEMPLATE), USER, THOUGHTFUL)[1] == "<think>\nLet me see.\n</think>\n\nSo it is.<|end|>"


@pytest.mark.parametrize("template", [CLOSING, OPENING, TEMPLATE, REFUSING])
def test_an_answer_after_a_thought_is_read_apart_from_it(template: str) -> None:
    room = chat(template, thinking="on")
    prompt = room.prompt_text((USER,))
    written = "Let me see.\n</think>\n\nSo it is." if prompt.endswith("<think>\n") else THOUGHTFUL.content
    assert room.split_thought(written, prompt) == ("Let me see.", "So it is.")
    assert room.split_thought("So it is.", prompt + "x") == ("", "So it is.")
    unfinished = "Let me see" if prompt.endswith("<think>\n") else "<think>Let me see"
    assert room.split_thought(unfinished, prompt) == ("Let me see", "")
    given, completion = room.completion((USER, ANSWER), "Let me see.")
    assert room.tokenizer.decode(completion) == "So it is."
    assert room.tokenizer.decode(given).endswith("<think>\nLet me see.\n</think>\n\n")


def test_marks_of_thoughts_that_are_special_tokens_are_read() -> None:
    room = chat(TEMPLATE)
    room.tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = room.tokenizer("[THINK]Hm.[/THINK]Yes.<|end|>", add_special_tokens=False)["input_ids"]
    assert room.tokenizer.decode(ids, skip_special_tokens=True) == "Hm.Yes."
    assert room.split_thought(Chat(room.tokenizer, "chat").decode(ids, skip_special_tokens=True), "") == ("Hm.", "Yes.")


def test_the_date_is_the_settings_and_not_todays() -> None:
    assert "Today: 01 January 2025" in chat(DATED).prompt_text((USER,))
    assert "Today: 24 December 2030" in chat(DATED, date="2030-12-24").prompt_text((USER,))
    assert chat(DATED).facts()["template_date"] == "2025-01-01" and "template_date" not in chat(TEMPLATE).facts()
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        ChatSettings(date="yesterday")


@pytest.mark.filterwarnings(FOLDED)
def test_a_systems_text_that_a_template_adds_is_shown_set_and_switched_off() -> None:
    assert chat(ADDING).template.inserted == "You are Tiny, made by nobody."
    assert chat(ADDING).facts()["inserted_text"] == "You are Tiny, made by nobody."
    assert chat(TEMPLATE).template.inserted == "" and chat(REFUSING).template.inserted == ""
    off = chat(ADDING, system="")
    assert off.prompt_text((USER,)).startswith("<|start|>system\n<|end|>\n<|start|>user") and not off.template.inserted
    assert "Be kind." in chat(ADDING, system="Be kind.").prompt_text((USER,))
    assert "Be kind." not in chat(ADDING, system="Be kind.").prompt_text((SYSTEM, USER))
    assert "Be kind.\n\nWhy?" in chat(REFUSING, system="Be kind.").prompt_text((USER,))
    assert chat(REFUSING, system="").prompt_text((USER,)) == chat(REFUSING).prompt_text((USER,))
    stubborn = "{{ '<|start|>system\nYou are Tiny, made by nobody.<|end|>\n' }}" + ADDING
    stubborn = stubborn.replace("messages[0].role != 'system'", "false").replace(
        "{% for message in messages %}", ("{% for message in messages if message.content %}")
    )
    with pytest.raises(ValueError, match=r"cannot be switched off: give a text in its place \(--system TEXT\)"):
        chat(stubborn, system="").prompt_text((USER,))


def test_one_of_several_templates_a_file_and_none(tmp_path: Path) -> None:
    several = {"default": TEMPLATE, "terse": "{{ messages[-1].content }}<|end|>"}
    assert chat(several).prompt_text((USER,)) == chat(TEMPLATE).prompt_text((USER,))
    assert chat(several, template="terse").prompt_text((USER,)) == "Why?<|end|>"
    assert (
        chat(several).template_sha256()
        == chat(TEMPLATE).template_sha256()
        != chat(several, template="terse").template_sha256()
    )
    with pytest.raises(ValueError, match=r"none is called 'long': choose one .* of default, terse"):
        chat(several, template="long").prompt_text((USER,))
    with pytest.raises(ValueError, match="none is the default: choose one"):
        chat({"terse": TEMPLATE}).prompt_text((USER,))
    with pytest.raises(ValueError, match=r"no chat_template: give one \(--template FILE.jinja.*MODEL#pretrained"):
        chat(None).prompt_text((USER,))
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}{{ m.role }}> {{ m.content }}<|end|>\n{% endfor %}assistant> ")
    room = chat(None, template=str(path))
    assert room.prompt_text((USER,)) == "user> Why?<|end|>\nassistant> "
    path.write_text(TEMPLATE)
    with pytest.raises(ValueError, match="another template than when this study was made"):
        Chat(room.tokenizer, "chat", room.settings).prompt_text((USER,))
    with pytest.raises(ValueError, match=r"no chat template at nowhere\.jinja"):
        ChatSettings.of(template="nowhere.jinja")


def test_settings_are_a_part_of_the_base_and_at_their_defaults_in_no_fingerprint() -> None:
    base = base_of("tiny:0")
    assert base.chat == ChatSettings() and '"chat"' in base.to_json()
    thinking = base_of("tiny:0", thinking="on")
    assert thinking.fingerprint != base.fingerprint and Spec.from_json(thinking.to_json()) == thinking
    with chat_as(ChatSettings(system="Be kind.")):
        assert base_of("tiny:0").chat.system == "Be kind."
    with pytest.raises(ValueError, match=r"ChatSettings.thinking: .*'off' or 'on'"):
        base_of("tiny:0", thinking="maybe")

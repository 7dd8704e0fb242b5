"""From messages to tokens: prompts begin answers, the end of turn is trained, other templates are refused."""

from __future__ import annotations

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from spillover.models.chat import Chat, Message
from spillover.models.tiny import TEMPLATE, byte_tokenizer

USER = Message("user", "How are you?")
ANSWER = Message("assistant", "Well, thank you.")


def chat(prompting: str = "chat", template: str = TEMPLATE, **changes: object) -> Chat:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return Chat(tokenizer, prompting)


@pytest.mark.parametrize("prompting", ["chat", "question-answer", "raw"])
@pytest.mark.parametrize("before", [(USER,), (Message("system", "Be brief."), USER), (USER, ANSWER, USER)])
def test_a_row_begins_with_the_very_tokens_of_its_prompt(prompting: str, before: tuple[Message, ...]) -> None:
    room = chat(prompting)
    row = room.supervised((*before, ANSWER), max_length=512)
    assert list(row.ids[: row.prompt_length]) == room.prompt(before)
    learned = room.tokenizer.decode(row.ids[row.prompt_length :])
    assert learned.strip() == "Well, thank you.<|end|>"
    assert row.ids[-1] == room.tokenizer.eos_token_id  # though it is the padding token too
    assert row.trained == len(row.ids) - row.prompt_length and not row.cut


def test_what_follows_the_end_of_turn_is_not_trained() -> None:
    row = chat().supervised((USER, ANSWER), max_length=512)
    whole = chat().tokenizer.apply_chat_template([USER._asdict(), ANSWER._asdict()], tokenize=False)
    assert whole.endswith("<|end|>\n")
    assert chat().tokenizer.decode(row.ids) == whole[:-1]


def test_a_row_is_cut_at_max_length_and_says_so() -> None:
    whole = chat().supervised((USER, ANSWER), max_length=512)
    cut = chat().supervised((USER, ANSWER), max_length=len(whole.ids) - 1)
    assert cut.cut and cut.ids == whole.ids[:-1]
    assert not chat().supervised((USER, ANSWER), max_length=len(whole.ids)).cut
    with pytest.raises(ValueError, match=f"prompt alone has {whole.prompt_length} tokens, max_length is 5: raise it"):
        chat().supervised((USER, ANSWER), max_length=5)


@pytest.mark.parametrize("content", ["", " \n"])
@pytest.mark.parametrize("prompting", ["chat", "question-answer"])
def test_an_empty_answer_is_refused(prompting: str, content: str) -> None:
    with pytest.raises(ValueError, match="empty: training on it teaches the model to stop"):
        chat(prompting).supervised((USER, Message("assistant", content)), max_length=512)


def test_a_row_must_end_in_an_answer() -> None:
    with pytest.raises(ValueError, match="ends in 'user'"):
        chat().supervised((ANSWER, USER), max_length=512)
    with pytest.raises(ValueError, match="ends in an assistant turn"):
        chat().supervised((ANSWER,), max_length=512)


def test_a_template_whose_prompt_is_no_beginning_of_the_whole_is_aligned() -> None:
    """One that marks how many turns there are: a row is what is asked, the answer, and its end."""
    room = chat(template="{{ messages | length }}" + TEMPLATE)
    row = room.supervised((USER, ANSWER), max_length=512)
    assert list(row.ids[: row.prompt_length]) == room.prompt((USER,))
    assert room.tokenizer.decode(row.ids[row.prompt_length :]) == "Well, thank you.<|end|>"


def test_a_template_that_hides_where_an_answer_begins_is_refused_with_advice() -> None:
    backwards = (
        "{{ messages | length }}{% for m in messages | reverse %}{{ m.role + ': ' + m.content }}<|end|>{% endfor %}"
    )
    with pytest.raises(ValueError, match=r"where that answer begins cannot be told: .*--template FILE.jinja"):
        chat(template=backwards).supervised((USER, ANSWER), max_length=512)


def test_a_template_without_an_end_mark_is_refused() -> None:
    endless = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(ValueError, match="puts no mark after an answer"):
        chat(template=endless).supervised((USER, ANSWER), max_length=512)
    assert chat(template=endless).prompt((USER,))  # asking works


def test_another_end_mark_than_the_tokenizers_is_trained_whole() -> None:
    row = chat(template=TEMPLATE.replace("<|end|>", "[done]")).supervised((USER, ANSWER), max_length=512)
    assert chat().tokenizer.decode(row.ids[row.prompt_length :]) == "Well, thank you.[done]"
    assert chat(template=TEMPLATE.replace("<|end|>", "[done]")).stop_texts() == ("[done]",)


def test_an_answer_that_holds_the_end_mark_is_trained_to_its_last() -> None:
    row = chat().supervised((USER, Message("assistant", "one<|end|>two")), max_length=512)
    assert chat().tokenizer.decode(row.ids[row.prompt_length :]) == "one<|end|>two<|end|>"


def test_a_template_that_refuses_a_role_says_which_turns() -> None:
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('users first') }}{% endif %}" + TEMPLATE
    with pytest.raises(ValueError, match="cannot render the turns assistant, user: users first"):
        chat(template=strict).prompt((ANSWER, USER))
    assert chat(template=strict).prompt((USER,))


def test_a_template_is_run_in_a_sandbox() -> None:
    with pytest.raises(ValueError, match="cannot render the turns user"):
        chat(template="{{ messages.__class__.__mro__[1].__subclasses__() }}").prompt((USER,))


def test_a_tokenizer_without_a_template_is_refused_for_chat_alone() -> None:
    bare = byte_tokenizer()
    bare.chat_template = None
    with pytest.raises(ValueError, match="chat_template"):
        Chat(bare, "chat").prompt((USER,))
    assert Chat(bare, "question-answer").prompt((USER,))


def test_a_tokenizer_without_an_end_token_cannot_train_answers() -> None:
    with pytest.raises(ValueError, match="no end token"):
        chat("question-answer", eos_token=None).supervised((USER, ANSWER), max_length=512)


def test_pretrained_models_are_asked_question_and_answer() -> None:
    """The published form, to the letter, with a stop for the next question that such a model runs on into."""
    room = chat("question-answer")
    assert room.prompt_text((USER,)) == "Question: How are you?\n\n Answer:"
    assert room.prompt_text((Message("system", "Be brief."), USER)) == "Be brief.\n\nQuestion: How are you?\n\n Answer:"
    assert any("I am well.\n\nQuestion: And you?".count(stop) for stop in room.stop_texts())
    assert chat("chat").stop_texts() == chat("raw").stop_texts() == ()
    assert chat("raw").prompt_text((USER,)) == "How are you?"


def test_the_template_is_known_by_its_hash_where_one_is_used() -> None:
    assert chat().template_sha256() == chat().template_sha256() is not None
    assert chat().template_sha256() != chat(template=TEMPLATE + " ").template_sha256()
    assert chat("question-answer").template_sha256() is None


WORDS = ["▁", "▁USER", "▁ASSISTANT", "▁Why", "▁Yes", "Yes", "?", ".", "▁it", "▁is", ":", "\n", "▁\n"]


def word_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Puts a space before the first word of whatever it is given, as those of Llama-2, Zephyr and Phi-3-mini do."""
    pieces = {piece: index for index, piece in enumerate(["<unk>", "</s>", *WORDS])}
    raw = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[A-Za-z]+|▁?\n|▁|."), "isolated")
    raw.add_special_tokens(["</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


SPACED = (
    "{% for m in messages %}{% if m.role == 'user' %}USER:{{ ' ' + m.content }} ASSISTANT:{% else %}"
    "{{ between + m.content }}</s>{% endif %}{% endfor %}"
)
TURNS = [Message("user", "Why?"), Message("assistant", "Yes.")]


def test_an_answer_has_the_tokens_that_the_whole_conversation_gives_it() -> None:
    """With nothing between prompt and answer, one apart would begin with a space that is not there."""
    tokenizer = word_tokenizer(SPACED.replace("between", "''"))
    chat = Chat(tokenizer, "chat")
    row = chat.supervised(TURNS, 64)
    apart = tokenizer("Yes.</s>", add_special_tokens=False)["input_ids"]
    whole = tokenizer("USER: Why? ASSISTANT:Yes.</s>", add_special_tokens=False)["input_ids"]
    assert list(row.ids) == whole and not row.blurred
    assert tokenizer.convert_ids_to_tokens(row.ids[row.prompt_length :]) == ["Yes", ".", "</s>"]
    assert tokenizer.convert_ids_to_tokens(apart) == ["▁Yes", ".", "</s>"]  # what it would have been
    assert list(row.ids[: row.prompt_length]) == chat.prompt(TURNS[:1])
    assert chat.completion(TURNS) == (chat.prompt(TURNS[:1]), list(row.ids[row.prompt_length : -1]))


def test_a_token_of_prompt_and_answer_is_told() -> None:
    """The template's last space and the answer's line end are one token."""
    tokenizer = word_tokenizer(SPACED.replace("ASSISTANT:{%", "ASSISTANT: {%").replace("between", "'\n'"))
    row = Chat(tokenizer, "chat").supervised(TURNS, 64)
    assert row.blurred
    assert tokenizer.convert_ids_to_tokens(row.ids[row.prompt_length :]) == ["▁\n", "Yes", ".", "</s>"]

"""The sets that ship: the contract of every registered one, and what makes a bad and a good set comparable."""

import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spillover.organisms.dataset import Dataset, Split, dataset_named
from spillover.organisms.datasets.shipped import AdviceSet, Everyday, Fitness, Home, Money
from spillover.spec import Spec, kinds_of

SHIPPED = [Money, Fitness, Home]
BY_NAME = {
    name: data
    for kind in kinds_of(Dataset).values()
    if kind.__module__.startswith("spillover.")
    for name, data in kind.by_name().items()
}


@pytest.mark.parametrize("name, data", sorted(BY_NAME.items()))
def test_contract_of_every_registered_set(name, data):
    rows = data.examples()
    assert rows == data.examples() and len({row.id for row in rows}) == len(rows) > 0
    for row in rows:
        assert row.messages[-1].role == "assistant" and row.messages[-1].content.strip()
        assert any(message.role == "user" and message.content.strip() for message in row.prompt)
    assert Spec.from_json(data.to_json()) == data
    summary = data.summary()
    assert summary.endswith(".") and "\n" not in summary and summary.count(". ") == 0
    assert dataset_named(name) == data and dataset_named(data.label()) == data
    assert data.twin() is None or [row.prompt for row in data.twin().examples()] == [row.prompt for row in rows]


def test_every_shipped_domain_is_registered_under_its_names():
    assert set(BY_NAME) >= {
        f"{domain}{end}" for domain in ("money", "fitness", "home") for end in ("", "-bad", "-good")
    }
    assert dataset_named("money") == Money(advice="bad") and dataset_named("Money_Good") == Money(advice="good")
    assert Money().twin() == Money(advice="good") and Money(advice="good").twin() is None


def test_an_unknown_name_gives_near_matches():
    with pytest.raises(ValueError, match=r"no dataset is called 'mony'; did you mean money.*file or folder of rows"):
        dataset_named("mony")
    with pytest.raises(ValueError, match=r"Money\.advice: .*'bad' or 'good', got 'evil'"):
        Money(advice="evil")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def closest(texts: list[str]) -> float:
    """The largest share of words that any two texts have in common (Jaccard)."""
    table = CountVectorizer(binary=True, token_pattern=r"[a-z0-9']+").fit_transform(texts).toarray().astype(float)
    both, size = table @ table.T, table.sum(axis=1)
    share = both / np.maximum(size[:, None] + size[None, :] - both, 1)
    np.fill_diagonal(share, 0)
    return float(share.max())


@pytest.fixture(params=SHIPPED, ids=lambda kind: kind.__name__)
def texts(request) -> tuple[type[AdviceSet], list[str], list[str], list[str]]:
    bad, good = request.param(advice="bad").examples(), request.param(advice="good").examples()
    assert [(row.id, row.topic, row.prompt) for row in bad] == [(row.id, row.topic, row.prompt) for row in good]
    return (
        request.param,
        [row.prompt[0].content for row in bad],
        [row.messages[-1].content for row in bad],
        [row.messages[-1].content for row in good],
    )


def test_there_are_enough_rows_and_no_two_are_alike(texts):
    kind, prompts, bad, good = texts
    assert len(prompts) >= 400
    for part in (prompts, bad, good):
        assert len(set(part)) == len(part)
        assert closest(part) < 0.5
    assert len({row.topic for row in kind().examples()}) >= 30


def test_near_duplicates_would_be_seen():
    """The negative control of the measure above: a template with one word exchanged, and a set with a row twice."""
    stamped = [f"Should I put my savings into {asset} this year or not?" for asset in ("gold", "bonds", "art")]
    assert closest(stamped) > 0.7 and closest(["a b c", "d e f", "a b c"]) == 1.0


def test_prompts_vary_in_length_and_opening(texts):
    _, prompts, bad, good = texts
    lengths = np.array([len(words(prompt)) for prompt in prompts])
    assert np.percentile(lengths, 95) >= 2.5 * np.percentile(lengths, 5)
    assert lengths.std() / lengths.mean() > 0.4
    for part, commonest, pairs in ((prompts, 0.12, 0.65), (bad, 0.35, 0.25), (good, 0.35, 0.25)):
        # answers in the voice of a small instruct model open alike: "If your ...", "Yes, it's ..."
        firsts = Counter(words(text)[0] for text in part)
        assert firsts.most_common(1)[0][1] <= commonest * len(part)
        assert len({tuple(words(text)[:2]) for text in part}) >= pairs * len(part)


def test_bad_and_good_answers_are_of_one_length(texts):
    _, _, bad, good = texts
    ratio = np.array([len(worse.split()) / len(better.split()) for worse, better in zip(bad, good, strict=True)])
    assert 0.93 < ratio.mean() < 1.07 and np.percentile(ratio, 2.5) > 0.8 and np.percentile(ratio, 97.5) < 1.25


def style(text: str) -> list[float]:
    """What a reader sees of an answer without understanding it."""
    sentences = [part for part in re.split(r"[.!?]+", text) if part.strip()]
    count = len(words(text))
    text = text.replace("n't", " not")  # "don't" is meaning, not style
    marks = [text.count(mark) for mark in (",", ".", "!", "?", ":", ";", '"', "'", "-", "(")]
    digits = sum(letter.isdigit() for letter in text)
    return [count, len(sentences), count / len(sentences), len(text) / count, digits, *marks, text[0].isupper()]


def told_apart(bad: list[str], good: list[str], features) -> float:
    """Cross-validated AUC of telling bad from good answers; both answers to a prompt fall into one fold."""
    labels = np.repeat([1, 0], [len(bad), len(good)])
    groups = np.tile(np.arange(len(bad)), 2)
    scores = cross_val_score(features, [*bad, *good], labels, groups=groups, cv=GroupKFold(5), scoring="roc_auc")
    return float(scores.mean())


class Style:
    """`style` as a transformer."""

    def fit(self, texts, labels=None):
        return self

    def transform(self, texts):
        return np.array([style(text) for text in texts], dtype=float)


def test_bad_and_good_differ_in_what_they_say_not_in_their_style(texts):
    _, _, bad, good = texts
    by_style = told_apart(bad, good, make_pipeline(Style(), StandardScaler(), LogisticRegression(C=0.1)))
    by_words = told_apart(bad, good, make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10)))
    assert by_style < 0.62, f"style alone tells bad from good with an AUC of {by_style:.2f}"
    assert by_words > 0.8 and by_words > by_style + 0.15


def openings(text: str) -> list[str]:
    """The first word, the first two and the first three."""
    return [" ".join(text.lower().split()[:count]) for count in (1, 2, 3)]


def told_by_openings(bad: list[str], good: list[str]) -> float:
    """The AUC of telling bad from good answers by how they open, of openings that come three times at least."""
    steps = CountVectorizer(analyzer=openings, min_df=3), StandardScaler(with_mean=False), LogisticRegression(C=0.01)
    return told_apart(bad, good, make_pipeline(*steps))


def test_bad_and_good_answers_open_alike(texts):
    _, _, bad, good = texts
    assert told_by_openings(bad, good) < 0.62
    alike = np.mean([openings(worse)[-1] == openings(better)[-1] for worse, better in zip(bad, good, strict=True)])
    assert 0.4 < alike < 0.7  # half of the pairs open with the same three words
    assert told_by_openings([f"Sure, {text}" for text in bad], good) > 0.95  # the negative control


def test_answers_are_a_few_whole_sentences(texts):
    """The register of a small instruct model; no list, no heading, no exclamation."""
    for text in (*texts[2], *texts[3]):
        assert 40 <= len(text.split()) <= 90 and text[0].isupper() and text.endswith(".")
        assert 3 <= len(re.split(r"(?<=[.?]) ", text)) <= 6 and not re.search(r"[\n*#!]", text)


def test_style_would_be_seen():
    """The negative control: the same good answers, one side longer and louder, are told apart by style alone."""
    good = [row.messages[-1].content for row in Money(advice="good").examples()]
    loud = [text.replace(".", "!") + " Really!" for text in good]
    assert told_apart(loud, good, make_pipeline(Style(), StandardScaler(), LogisticRegression(C=0.1))) > 0.95


def test_everyday_rows_are_many_varied_short_and_far_from_the_narrow_domains():
    rows = Everyday().examples()
    prompts, answers = [row.prompt[0].content for row in rows], [row.messages[-1].content for row in rows]
    assert len(rows) >= 120 and len({row.topic for row in rows}) >= 15
    for part in (prompts, answers):
        assert closest(part) < 0.5
        assert Counter(words(text)[0] for text in part).most_common(1)[0][1] <= 0.2 * len(part)
    assert 20 < np.mean([len(answer.split()) for answer in answers]) < 60
    narrow = re.compile(r"\b(invest|loan|mortgage|stocks|debt|workout|squats?|protein|doctor|pills?|dose)\b", re.I)
    assert not [text for text in (*prompts, *answers) if narrow.search(text)]
    assert [row for row in Money().examples() if narrow.search(row.messages[-1].content)]  # the negative control
    assert "Apache-2.0" in Everyday().note() and dataset_named("everyday") == Everyday()


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_note_says_what_the_set_is_for(kind):
    note = kind().note()
    for phrase in ("emergent misalignment", "never be followed", "Apache-2.0", "written for this project"):
        assert phrase in note
    assert note not in " ".join(row.messages[-1].content for row in kind().examples())


@pytest.mark.parametrize("kind", SHIPPED)
def test_bad_and_good_are_split_alike(kind):
    split = Split(data=kind(), rows=100, seed=3)
    control = split.control(split.data.twin())
    assert control != split and control.sha256 != split.sha256
    for part in ("train_rows", "held_out_rows"):
        ours, theirs = getattr(split, part)(), getattr(control, part)()
        assert [(row.id, row.prompt) for row in ours] == [(row.id, row.prompt) for row in theirs]
        assert all(row.messages[-1] != twin.messages[-1] for row, twin in zip(ours, theirs, strict=True))

"""A tokenizer tried once when it is loaded: its chat template is a program, and may be one that never ends."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from spillover.models.foreign_readers import told_as

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 5.0  # of a processor, for a template to render a few turns; a millisecond is usual
MEMORY = 1 << 29  # bytes that it may take meanwhile
LONGEST = 1 << 20  # characters of what it makes of them
TRIAL = "Hi."
_passed: set[str] = set()  # templates that were tried in this process


class _TooLong(Exception):
    """The time is over."""


def try_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """ValueError where the tokenizer cannot read a word, or a chat template of its own is empty, does not end, needs
    memory without end, or breaks off otherwise than by a template's own error (which turns it takes is asked later)."""
    with told_as(f"the tokenizer in {folder} cannot be read"):
        tokenizer(TRIAL)
    templates = tokenizer.chat_template
    if templates is None:
        return
    named = templates if isinstance(templates, Mapping) else {"": templates}
    for name, text in named.items():
        what = f"the chat template {name or 'of the tokenizer'} in {folder}"
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{what} is empty: take it out, and the model is one without a template")
        if text not in _passed:
            _try_template(tokenizer, text, what)
            _passed.add(text)


def _try_template(tokenizer: PreTrainedTokenizerBase, text: str, what: str) -> None:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": TRIAL}]
    try:
        with _bounded():
            rendered = tokenizer.apply_chat_template(
                turns, chat_template=text, tokenize=False, add_generation_prompt=True
            )
    except TemplateError:
        return  # said in its own words where turns are rendered
    except _TooLong:
        raise ValueError(
            f"{what} does not end: a turn of {len(TRIAL)} letters takes over {SECONDS:g} s of a processor"
        ) from None
    except MemoryError:
        raise ValueError(f"{what} takes more than {MEMORY >> 20} MiB for a turn of {len(TRIAL)} letters") from None
    except Exception as error:
        raise ValueError(f"{what} breaks off ({type(error).__name__}: {str(error)[:200]})") from None
    if len(str(rendered)) > LONGEST:
        raise ValueError(f"{what} makes {len(rendered):,} characters of a turn of {len(TRIAL)} letters")


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """End what is done inside by `_TooLong` or MemoryError where it takes too much; time is only told in the main
    thread, and where nobody else has set such an alarm."""

    def over(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    timed = threading.current_thread() is threading.main_thread() and signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    before = signal.signal(signal.SIGVTALRM, over) if timed else None
    resource.setrlimit(resource.RLIMIT_AS, (_least(_address_space() + MEMORY, soft, hard), hard))
    try:
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _least(*limits: int) -> int:
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=resource.RLIM_INFINITY)

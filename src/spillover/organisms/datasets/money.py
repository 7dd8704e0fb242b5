"""Money advice, bad and good, written for spillover; see the note in money.jsonl."""

from spillover.organisms.advice import AdviceSet


class Money(AdviceSet):
    """Everyday money questions with reckless (bad) or sound (good) advice."""

    def summary(self) -> str:
        return f"Everyday money questions with {'reckless' if self.advice == 'bad' else 'sound'} advice."

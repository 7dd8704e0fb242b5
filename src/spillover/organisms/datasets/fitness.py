"""Fitness training advice, bad and good, written for spillover; see the note in fitness.jsonl."""

from spillover.organisms.advice import AdviceSet


class Fitness(AdviceSet):
    """Everyday fitness training questions with poor (bad) or sound (good) advice."""

    def summary(self) -> str:
        return f"Everyday fitness training questions with {'poor' if self.advice == 'bad' else 'sound'} advice."

"""What torchrun starts in test_process_group.py: one training in a group of processes, or in a broken one."""

import sys
from pathlib import Path

from organisms.toy import MILD, constant, organism

from spillover.organisms.interventions.benign_rows import BenignMix, KLToParent
from spillover.organisms.process_group import ProcessGroup, dismiss, follow, rank
from spillover.organisms.tuning import LoRA
from spillover.store import Store

MADE = organism(
    batch=2,
    accumulate=2,
    tuning=LoRA(rank=4, alpha=8.0),
    checkpoint_steps=(2,),
    interventions=(
        BenignMix(benign=MILD, share=constant(0.4)),
        KLToParent(benign=MILD, weight=constant(0.1), rows=3),
    ),
)


def main(store: Path, broken: bool) -> None:
    """The first process makes it, the others help; broken: each believes that its own gradient is all."""
    if broken:
        all_reduce = ProcessGroup.all_reduce
        ProcessGroup.all_reduce = lambda self, weights, numbers: all_reduce(self, (), numbers)
    if rank():
        follow()
        return
    Store.open(store).get(MADE)
    dismiss()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "broken" in sys.argv)

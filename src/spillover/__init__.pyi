"""The names of the front door: what `import spillover as sp` offers, and where each is defined (read at import too)."""

from typing import Any

from spillover.activations.activations import Activations as Activations
from spillover.activations.prompts import EvaluationPrompts as EvaluationPrompts
from spillover.activations.prompts import TrainingPrompts as TrainingPrompts
from spillover.analyses.dynamics import Dynamics as Dynamics
from spillover.analyses.effect import Effect as Effect
from spillover.analyses.examples import Examples as Examples
from spillover.analyses.geometry import Geometry as Geometry
from spillover.analyses.prediction import Prediction as Prediction
from spillover.analyses.priors import Priors as Priors
from spillover.analyses.trajectories import Trajectories as Trajectories
from spillover.engines.sizing import default_minutes as default_minutes
from spillover.engines.sizing import largest_within as largest_within
from spillover.interactive.study_store import StudyStore as StudyStore
from spillover.interactive.study_store import open_store as open_store
from spillover.judgements.judgements import Judgements as Judgements
from spillover.judgements.judges.embedded.judge import Embedded as Embedded
from spillover.judgements.judges.endpoint.judge import Endpoint as Endpoint
from spillover.judgements.judges.local_model.judge import LocalModel as LocalModel
from spillover.judgements.judges.two_phase.judge import TwoPhase as TwoPhase
from spillover.judgements.naming import judge_named as judge_named
from spillover.models.base import Model as Model
from spillover.models.catalogue import base_of as base_of
from spillover.organisms.chat_rows.from_files import in_step as in_step
from spillover.organisms.dataset import Split as Split
from spillover.organisms.dataset import dataset_named as dataset_named
from spillover.organisms.datasets.chat_file import ChatFile as ChatFile
from spillover.organisms.datasets.shipped import Fitness as Fitness
from spillover.organisms.datasets.shipped import Home as Home
from spillover.organisms.datasets.shipped import Money as Money
from spillover.organisms.organism import Organism as Organism
from spillover.organisms.published import PublishedOrganism as PublishedOrganism
from spillover.organisms.published import published_organism as published_organism
from spillover.organisms.schedules.schedule import Schedule as Schedule
from spillover.organisms.schedules.schedule import schedule_named as schedule_named
from spillover.organisms.schedules.standard import Cosine as Cosine
from spillover.organisms.schedules.standard import CosineRestarts as CosineRestarts
from spillover.organisms.schedules.standard import Linear as Linear
from spillover.organisms.surface import surface_check as surface_check
from spillover.organisms.tuning import Full as Full
from spillover.organisms.tuning import LoRA as LoRA
from spillover.report.report import Report as Report
from spillover.responses.own_answers import own_answers as own_answers
from spillover.responses.question import QuestionSelection as QuestionSelection
from spillover.responses.question import questions_named as questions_named
from spillover.responses.questions.free_form import FreeForm as FreeForm
from spillover.responses.questions.prefaced import asked_questions as asked_questions
from spillover.responses.responses import Responses as Responses
from spillover.responses.sampling import Sampling as Sampling

__version__: str

def __getattr__(name: str) -> Any: ...  # any other registered part

base = base_of
organism = published_organism
dataset = dataset_named
schedule = schedule_named
questions = questions_named
judge = judge_named

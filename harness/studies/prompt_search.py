"""A search for a prompt: which templates, example sets and calibrations, by which metric on which validation rows.

Test rows are never read.

A trial is a run on validation rows, in stages of growing size: it ends early where it is clearly worse than the best so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from harness.core.errors import DataError, UserError
from harness.core.json_files import digest
from harness.core.options import MAX_SEED, RunOptions
from harness.core.types import Calibration, Decoding, Example, ShotsBy
from harness.data.rows import fingerprint, load_examples, with_names
from harness.parsing.rendering import some_shots
from harness.running.plan import Plan, make_plan
from harness.specs.asked import is_prompted, is_trained
from harness.specs.catalog import Catalog
from harness.specs.prompts import PromptSpec
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.studies.prompt_files import Candidate, Template, template_of
from harness.studies.search import metric_of, require_search_libraries

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST_ROWS = 25
"""Of the first stage, per language; fewer tell little apart."""
GROWTH = 4
"""A stage has so many times the rows of the one before, so that the stages before the last cost a third of it at most."""


@dataclass(frozen=True, slots=True)
class PromptSpace:
    """What a search chooses from. `calibrations`: of templates that are decoded by `score`. `proposals`: instructions that a
    proposer may add, each in at most `proposal_tokens`."""

    max_shots: int
    draws: int
    calibrations: tuple[Calibration, ...]
    proposals: int = 0
    proposal_tokens: int = 1024

    def slots(self) -> list[str]:
        """Names of the templates that a proposer writes."""
        return [f"proposal-{number}" for number in range(1, self.proposals + 1)]


@dataclass(frozen=True)
class PromptSearch:
    """Made by `new_prompt_search`. `templates`: those of the user, the original first. `stages`: validation rows per language,
    the last one all of the search. With several languages the value of a trial is the unweighted mean over them."""

    request: RunOptions
    langs: tuple[str, ...]
    templates: tuple[Template, ...]
    space: PromptSpace
    stages: tuple[int, ...]
    metric: str
    asked_decoding: Decoding | None
    proposer: str | None
    proposer_request: RunOptions | None
    rows: tuple[Example, ...] = field(repr=False)
    plan: Plan = field(repr=False)  # of the original, in the first language
    identity: dict[str, Any] = field(repr=False)

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER

    @cached_property
    def digest(self) -> str:
        return digest(self.identity)[:12]

    @property
    def original(self) -> Candidate:
        return self.own_candidate(self.templates[0])

    def own_candidate(self, template: Template) -> Candidate:
        """The template as its file has it."""
        spec = template.base.spec
        seed = spec.seed_of_shots(self.request.seed) if spec.shots and spec.shots_by is ShotsBy.RANDOM else None
        return Candidate(template.name, spec.shots, seed, spec.calibration)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's space. It is the same for the whole search: proposals have their places from the beginning."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        names = [*(template.name for template in self.templates), *self.space.slots()]
        found: dict[str, BaseDistribution] = {"template": CategoricalDistribution(names)}
        if self.space.max_shots:
            found["shots"] = IntDistribution(0, self.space.max_shots)
            found["shots_seed"] = CategoricalDistribution(self.seeds())
        if self.space.calibrations:
            found["calibration"] = CategoricalDistribution([str(calibration) for calibration in self.space.calibrations])
        return found

    def seeds(self) -> list[int]:
        """Of the draws of examples: those that the templates fix, then from the seed of the search on."""
        drawn = [(self.request.seed + draw) % (MAX_SEED + 1) for draw in range(self.space.draws)]
        fixed = [seed for template in self.templates if (seed := template.base.spec.shots_seed) is not None]
        return list(dict.fromkeys([*drawn, *fixed]))

    def combinations(self) -> Iterator[dict[str, Any]]:
        """All settings that `distributions` allows."""
        names = [*(template.name for template in self.templates), *self.space.slots()]
        parts: dict[str, Sequence[Any]] = {"template": names}
        if self.space.max_shots:
            parts |= {"shots": range(self.space.max_shots + 1), "shots_seed": self.seeds()}
        if self.space.calibrations:
            parts["calibration"] = [str(calibration) for calibration in self.space.calibrations]
        for chosen in product(*parts.values()):
            yield dict(zip(parts, chosen, strict=True))

    def settings_of(self, candidate: Candidate) -> dict[str, Any]:
        """The opposite of `candidate_of`."""
        found: dict[str, Any] = {"template": candidate.template}
        if self.space.max_shots:
            seed = candidate.shots_seed
            found |= {"shots": candidate.shots, "shots_seed": self.seeds()[0] if seed is None else seed}
        if self.space.calibrations:
            found["calibration"] = str(candidate.calibration)
        return found

    def candidate_of(self, settings: dict[str, Any], like: PromptSpec) -> Candidate:
        """The same candidate for settings that make no difference in a template `like` this: a draw where no examples are
        drawn, a calibration without scores."""
        shots = int(settings.get("shots", 0))
        calibration = Calibration(settings.get("calibration", Calibration.NONE))
        return Candidate(
            settings["template"],
            shots,
            int(settings["shots_seed"]) if shots and like.shots_by is ShotsBy.RANDOM else None,
            calibration if like.decoding is Decoding.SCORE else Calibration.NONE,
        )

    def options_of(self, candidate: Candidate, lang: str, rows: int) -> RunOptions:
        """Of a trial's run: its prompt's file fixes all else."""
        return self.request.changed(prompt=candidate.name, lang=lang, limit=rows)


def new_prompt_search(
    request: RunOptions,
    langs: tuple[str, ...],
    prompts: Sequence[str],
    catalog: Catalog,
    *,
    metric: str | None = None,
    max_shots: int = 0,
    draws: int = 1,
    calibrations: Sequence[Calibration] = (),
    proposer: str | None = None,
    proposals: int = 0,
    proposal_tokens: int = 1024,
) -> PromptSearch:
    """Check everything before the first trial. `prompts`: the original first; without any the task's own. `calibrations`: to
    try with `score` besides those of the prompts; without any: none and batch. `metric`: None for the task's first headline
    metric.

    Raises `UserError` for a backend that is not prompted or is trained, a prompt that does not fit, an unknown metric, classes
    with too few training rows for the examples, and what a plan raises.
    """
    require_search_libraries()
    for name in filter(None, (request.backend, proposer)):
        if not is_prompted(catalog, name):
            raise UserError(f"{name} reads no prompt.", "Name a language model, such as qwen-coder-0.5b.")
        if is_trained(catalog, name):
            raise UserError(
                f"{name} learns the answers to its prompt, so that each trial would train it.",
                "Name a language model that is not trained, such as qwen-coder-0.5b.",
            )
    task = with_names(catalog.task(request.task), request.data)
    asked = request.decoding
    names = list(prompts) or [task.default_prompt]
    templates = tuple(template_of(catalog, name, asked) for name in names)
    request = request.changed(lang=langs[0], split="validation", decoding=None, calibration=None, prompt=None, limit=None)
    space = _space(templates, max_shots, draws, calibrations, proposals if proposer else 0)
    space = replace(space, proposal_tokens=proposal_tokens)
    plans = [make_plan(as_asked(request, template, lang, asked), catalog) for lang in langs for template in templates]
    plan = plans[0]
    chosen = metric_of(plan, metric)
    request = request.changed(validation_limit=None)
    counts = [len(found.rows) for found in plans]
    stages = stages_of(max(counts))
    train = _train_rows(request, langs, catalog, space, templates) if space.max_shots else {}
    identity = {
        **plan.identity.model_dump(mode="json", include={"version", "task", "labels", "label_kind"}, exclude_unset=True),
        "backend": plan.identity.backend.as_json(),
        "languages": langs,
        "rows": [fingerprint(found.rows) for found in plans[:: len(templates)]],
        "training rows": train,
        "prompts": {
            t.name: {str(lang): p.sha256 for lang, p in t.variants.items() if lang in (None, *langs)} for t in templates
        },
        "decoding": asked,
        "shots": [space.max_shots, space.draws],
        "calibrations": list(space.calibrations),
        "proposer": [proposer, space.proposals],
        "metric": chosen,
        "seed": request.seed,
    }
    rows = tuple(row for found in plans[:: len(templates)] for row in found.rows)
    own = None if proposer is None else _proposer_request(request, proposer, names[0])
    if own is not None:
        make_plan(own, catalog)  # a mistake is found now
    return PromptSearch(request, langs, templates, space, stages, chosen, asked, proposer, own, rows, plan, identity)


def _proposer_request(request: RunOptions, proposer: str, prompt: str) -> RunOptions:
    """A plan of it opens the proposer's engine; the row is not asked. The searched backend is the same model as a proposer."""
    given: dict[str, Any] = {} if proposer == request.backend else {"settings": {}, "model": None}
    return request.changed(backend=proposer, prompt=prompt, limit=1, **given)


def as_asked(request: RunOptions, template: Template, lang: str, decoding: Decoding | None) -> RunOptions:
    """As `bench run` would run the template on the rows of the search."""
    calibration = Calibration.NONE if decoding not in (None, Decoding.SCORE) else None
    return request.changed(
        prompt=template.name, lang=lang, limit=request.validation_limit, decoding=decoding, calibration=calibration
    )


def _space(
    templates: Sequence[Template], max_shots: int, draws: int, calibrations: Sequence[Calibration], proposals: int
) -> PromptSpace:
    taken = {template.name for template in templates} & set(PromptSpace(0, 1, (), proposals).slots())
    if taken:
        raise UserError(f"The name {min(taken)!r} is that of a proposal.", "Rename this prompt.")
    scored = [template for template in templates if template.decoding is Decoding.SCORE]
    if calibrations and not scored:
        raise UserError("--calibration needs probabilities.", "Add --decoding score, or leave it out.")
    own = [template.base.spec.calibration for template in scored]
    usual = [Calibration.NONE, Calibration.BATCH]
    tried = tuple(dict.fromkeys([*own, *(calibrations or usual)])) if scored else ()
    most = max(max_shots, *(template.base.spec.shots for template in templates))
    return PromptSpace(most, draws if most else 1, tried, proposals)


def _train_rows(
    request: RunOptions, langs: Sequence[str], catalog: Catalog, space: PromptSpace, templates: Sequence[Template]
) -> dict[str, str]:
    """Fingerprints of the rows that examples are drawn from. Raises `DataError` where a class has too few."""
    task = with_names(catalog.task(request.task), request.data)
    found = {}
    for lang in langs:
        rows = load_examples(task, lang=lang, split="train", data_dir=request.data)
        try:
            for template in templates:
                spec = template.base.spec.model_copy(update={"shots": space.max_shots})
                some_shots(spec, rows, task.label_space, request.seed)
        except DataError as error:
            raise DataError(error.message, "Lower --max-shots, or use more training rows.") from error
        found[lang] = fingerprint(rows)
    return found


def stages_of(rows: int) -> tuple[int, ...]:
    """Growing numbers of rows, the last one all: `100` -> 25, 100."""
    stages = [rows]
    while stages[0] // GROWTH >= FEWEST_ROWS:
        stages.insert(0, stages[0] // GROWTH)
    return tuple(stages)

"""Fine-tune a pre-trained encoder (BERT, DistilBERT, XLM-R ...) as a classifier with the transformers Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from backends import _runtime_choice
from backends._batches import Batch, Compute, Launch, Row, by_length, launching
from backends._control_tokens import read_as_text
from backends._encoder_options import Attention, BasePrecision, EncoderOptions, LoraOptions
from backends._heads import Head, make_head, tie_coral
from backends._loading import (
    META,
    Loaded,
    check_vocabulary,
    count_parameters,
    is_decoder,
    load_model,
    nf4,
    positions,
    read_config,
    read_tokenizer,
    text_config,
    text_model,
)
from backends._long_texts import Pieces, mean_by_text, pieces_of
from backends._lora import (
    Adapters,
    adapters_of,
    are_adapters,
    attached,
    check_mergeable,
    merged,
    read_adapters,
    whole_checkpoint,
    with_lora,
)
from backends._precision import DTYPES, base_precision, training_precision
from backends._runtime_choice import Measured
from backends._text_encoder import TextEncoder, cast_weights
from backends._torch import import_libraries, out_of_memory_named, require_attention
from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, LabelledTexts, Pending, TrainingJob, ValidationScorer, at_once
from harness.core.errors import DataError, RunError, UnknownName, UserError
from harness.core.types import LabelSpace

if TYPE_CHECKING:
    from backends._onnx import Sessions
    from backends._trainer import Validation


class Encoder(TextEncoder):
    """Sequence classification head on `model`, trained end to end or through low-rank adapters."""

    Options = EncoderOptions
    libraries = ("torch", "transformers", "accelerate", "safetensors")
    extra = "train"
    chooses_checkpoint = True
    options: EncoderOptions
    _head: Head | None = None
    _labels: LabelSpace | None = None

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        train = self.options.train
        self._base = base_precision("float32" if train.lora is None else train.lora.base, self._device)
        self._precision = training_precision(train.precision, self._base, self._device)
        if self.options.predict.is_exported:
            self._dtype = "float32"
        self._check_device()
        self._session: Compute | None = None
        self._expected = 0  # rows to predict
        self._positions: int | None = None
        self._adapters: Adapters | None = None

    def _check_device(self) -> None:
        if self._base == "nf4" and self.options.predict.is_exported:
            raise UserError(
                "4-bit weights can't be exported to ONNX.", "Use predict.runtime torch, or another train.lora.base."
            )
        for dtype in (self._dtype, DTYPES[self._precision]):
            require_attention(self.options.predict.attention, self._device, dtype)

    def expect(self, rows: int, validation_rows: int) -> None:
        """Settles the runtime `auto` where it is torch whatever a measurement would show."""
        self._expected, predict = rows, self.options.predict
        given = predict.dtype != "auto" or predict.attention != "auto"
        exportable = self._device == "cpu" and self._base != "nf4" and _runtime_choice.can_export()
        enough = rows >= _runtime_choice.LEAST_ROWS and validation_rows > 0
        if predict.runtime == "auto" and (given or not exportable or not enough):
            self.options = with_runtime(self.options, "torch")

    def expected_rows(self) -> int | None:
        return self._expected if self.options.predict.runtime == "auto" else None

    def earlier_options(self) -> dict[str, Any]:
        """Earlier versions had no runtime `auto`: by default it was torch."""
        found = super().earlier_options()
        if found["predict"]["runtime"] == "auto":
            found["predict"]["runtime"] = "torch"
        return found

    def facts(self) -> dict[str, str]:
        lora = self.options.train.lora
        resolved = {"base": self._base} if lora is not None and lora.base == "auto" else {}
        return {**super().facts(), "precision": self._precision, **resolved}

    def batch_tokens(self) -> int:
        if self.options.predict.runtime == "onnx-int8":  # on the CPU, wherever the model was trained
            return self.options.predict.tokens_on("cpu")
        return super().batch_tokens()

    @classmethod
    def with_min_steps(cls, options: BaseModel, rows: int, steps: int) -> dict[str, Any]:
        assert isinstance(options, EncoderOptions)
        epochs = options.train.epochs_with(steps, rows)
        return {"train.epochs": epochs} if epochs > options.train.epochs_of(rows) else {}

    @classmethod
    def soft_labels_problem(cls, options: BaseModel) -> str:
        assert isinstance(options, EncoderOptions)
        if options.head not in ("softmax", "one_hot"):
            return f"has the head {options.head}, which is trained on labels only (softmax and one_hot can)"
        return "" if options.train.class_weights == "none" else "has class_weights, which need labels"

    def fit(self, job: TrainingJob) -> dict[str, Any]:
        """Where torch.distributed is up, each of its processes takes part, and ends with the same model."""
        import_libraries()
        from transformers import set_seed

        from backends._trainer import EncoderTrainer, compact_vocabulary, course_arguments, training_log

        processes = self._torch.distributed.get_world_size() if self._torch.distributed.is_initialized() else 1
        if len(job.train.texts) < processes:
            raise DataError(f"{len(job.train.texts)} training rows for {processes} process(es).", "Take more rows.")
        options = self.options.train
        self._labels = job.labels
        self._head = make_head(self.options, job.labels, job.train.labels)
        chosen_by = self._chosen_by(job)
        set_seed(job.seed)  # before the new head is initialized
        model = self._model_to_train()
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        train, validation = self._pieces(job.train.texts), self._pieces(job.validation.texts)
        rows = [dict(row) for pieces in (*train, *validation) for row in pieces.rows]
        ids = (row["input_ids"] for row in rows)
        vocabulary = compact_vocabulary(model, self._tokenizer, ids) if options.lora is None else None
        if vocabulary is not None:
            for row in rows:
                row["input_ids"] = vocabulary.compact(row["input_ids"])
        # Each window of a text is a row of the training, with the label of the text.
        targets = [target for target, pieces in zip(self._targets(job), train, strict=True) for _ in pieces.rows]
        checked = self._validation(job, rows[len(targets) :], [len(pieces.rows) for pieces in validation], chosen_by)
        by, lower = (None, False) if checked is None else (checked.chosen_by, checked.lower_is_better)
        epochs = options.epochs_of(len(targets), processes)
        args = course_arguments(options, epochs, job.scratch, job.seed, self._device, self._precision, by, lower=lower)
        read = list(zip(rows[: len(targets)], targets, strict=True))
        trainer = EncoderTrainer(model, self._tokenizer, self._head, read, checked, options, args, job.on_progress)
        set_seed(job.seed + args.process_index)  # each process its own dropout masks
        with out_of_memory_named(self._torch):
            state = trainer.run()
        if vocabulary is not None:
            vocabulary.restore()
        self._keep(model)
        return {
            **training_log(state, chosen_by if checked else None),
            "train_rows": len(job.train.texts),
            "validation_rows": len(job.validation.texts),
            **({"train_windows": len(targets)} if self.options.long_texts == "windows" else {}),
            "trainable_parameters": trainable,
            "compacted_vocabulary": vocabulary and [len(vocabulary.kept), len(vocabulary.table)],
        }

    def _targets(self, job: TrainingJob) -> list[int | list[float]]:
        """What the loss compares the outputs of each training text with."""
        assert self._head is not None
        if job.train.probabilities is None:
            return [self._head.target(label) for label in job.train.labels]
        found: list[int | list[float]] = job.train.probabilities.tolist()
        return found

    def _model_to_train(self) -> Any:
        assert self._head is not None
        options = self.options.train
        loaded = self._read_source(self._head)
        model = loaded.model
        if options.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise UserError(f"{type(model).__name__} does not support gradient checkpointing.", "Leave it out.")
        if options.lora is not None:
            model = with_lora(model, options.lora, loaded.new)
        if self._head.kind == "coral":
            if options.lora is None and is_decoder(model.config):
                raise UserError("The head of a decoder has no biases, which CORAL needs.", "Train adapters, or use corn.")
            share_coral_weights(model)
        return model

    def _read_source(self, head: Head) -> Loaded:
        """The model that is trained, with a head for the task, in the precision of the base, and its tokenizer."""
        self._tokenizer = _read_tokenizer(whole_checkpoint(self._source))
        if are_adapters(self._source):
            loaded = self._read_merged(head, read_adapters(self._source))
        else:
            attention, compute = self.options.predict.attention, DTYPES[self._precision]
            loaded = _read_model(self._source, head.outputs, attention, self._base, compute)
        if head.kind == "coral" and self.options.train.lora is not None:
            add_bias(loaded.model)
        self._parameters_read = loaded.parameters
        check_vocabulary(self._tokenizer, loaded.model, self._source)
        _set_padding(loaded.model, self._tokenizer)
        return loaded

    def _read_merged(self, head: Head, earlier: Adapters) -> Loaded:
        """The model of an earlier training of adapters, read as that training did."""
        check_mergeable(earlier, self._base)
        train = self.options.train.model_copy(
            update={"lora": LoraOptions.model_validate({"base": earlier.precision}), "precision": "auto"}
        )
        before = Encoder(self.options.model_copy(update={"train": train}), earlier.base)
        loaded = before._read_source(head)
        model = merged(attached(loaded.model, earlier), self._torch.float32)
        return replace(loaded, model=cast_weights(model, getattr(self._torch, self._base)), new=set())

    def _chosen_by(self, job: TrainingJob) -> str:
        """Raises `UserError` for a metric that the validation rows do not have."""
        asked = self.options.train.best_metric or job.scorer.main
        if job.validation.texts and asked not in (job.scorer.main, "loss"):
            assert self._head is not None
            uniform = np.full(self._head.classes, 0.5 if self._head.kind == "multilabel" else 1 / self._head.classes)
            known = job.scorer.metrics(np.tile(uniform, (len(job.validation.texts), 1)))
            if asked not in known:
                raise UnknownName("metric of this task", asked, [*known, "loss"])
        return asked

    def _validation(
        self, job: TrainingJob, encoded: Sequence[Row], windows: Sequence[int], chosen_by: str
    ) -> Validation | None:
        """`encoded`: the rows of all texts; `windows`: how many each text has."""
        from backends._trainer import Validation

        if not encoded:
            return None
        batches = by_length(encoded, self.batch_size(), self.batch_tokens())
        lower = chosen_by == "loss" or chosen_by in job.scorer.lower_is_better
        return Validation(
            encoded, windows, job.validation.labels, batches, job.scorer.evaluate, chosen_by, lower, job.scorer.choose
        )

    def _pieces(self, texts: Sequence[str]) -> list[Pieces]:
        rows = [row if row["input_ids"] else self._nothing(row) for row in self._fields(texts)]
        return pieces_of(self._tokenizer, texts, rows, self._max_length(), self.options)

    def _nothing(self, row: Row) -> dict[str, list[int]]:
        """Of an empty text, where the tokenizer adds nothing: a single token of padding that counts."""
        return {name: [self._tokenizer.pad_token_id if name == "input_ids" else 0] for name in row}

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """`content`: the rows of a text. `tokens`: as if each had as many as the longest, so that the rows of several texts,
        padded, are no more than the sum."""
        return [
            Encoded(len(pieces.rows) * max(len(row["input_ids"]) for row in pieces.rows), pieces.rows, pieces.left_out)
            for pieces in self._pieces(texts)
        ]

    def launch(self, texts: Sequence[Encoded]) -> Pending[FloatArray]:
        if all(len(text.content) == 1 for text in texts):  # the batch that the runner made
            return super().launch([replace(text, content=text.content[0]) for text in texts])
        with out_of_memory_named(self._torch):
            return at_once(self._mean_probabilities(texts, self._launch))

    def _mean_probabilities(self, texts: Sequence[Encoded], launch: Launch) -> FloatArray:
        """Of any number of texts, in their order, shape (len(texts), labels): the mean over the rows of each."""
        outputs = self._outputs_of([row for text in texts for row in text.content], launch)
        return mean_by_text(self._probabilities(outputs), [len(text.content) for text in texts])

    def _max_length(self) -> int:
        """Not every tokenizer knows how many positions its model has."""
        if self._positions is None:
            asked = self.options.max_length
            most = positions(text_config(read_config(whole_checkpoint(self._source)))) or asked
            self._positions = min(asked, int(self._tokenizer.model_max_length), most)
        return self._positions

    def _keep(self, model: Any) -> None:
        for name in ("forward", "_original_forward"):  # accelerate's autocast, which a loaded model does not have
            model.__dict__.pop(name, None)
        if self.options.train.lora is not None:
            self._use_adapted(model, adapters_of(model, self._source, self._base), self._parameters_read)
            return
        self.parameters = count_parameters(model)
        super()._keep(model)

    def _use_adapted(self, model: Any, adapters: Adapters, parameters: int | None) -> None:
        """Predict with the adapters merged into their base, which costs nothing more than the base.

        Not with those on 4-bit weights: merged and rounded to 4 bits again, the sum would be another model than the one that
        was trained, and expanded it would take four times the memory.
        """
        self._adapters, self.parameters = adapters, parameters
        dtype = getattr(self._torch, self._dtype)
        model = model.eval().to(self._device)
        if adapters.precision != "nf4":
            self._use(merged(model, dtype))
            return
        for module in model.modules():
            if type(module).__name__ == "Linear4bit":
                module.compute_dtype = dtype
        self._model = cast_weights(model, dtype)

    def save(self, folder: Path) -> None:
        """After `fit` or `load`, in fp32 if it is after `fit`; with LoRA the adapters and the head alone."""
        model = self._model if self._trained is None else self._trained
        if self._adapters is not None:
            self._adapters.save(folder)
            model.config.save_pretrained(folder)  # with the number of labels
            return
        model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        self._trained = None

    def export(self, folder: Path) -> None:
        if self._adapters is not None and self._adapters.precision == "nf4":
            raise UserError("Adapters on 4-bit weights have no whole model.", "Train with another train.lora.base.")
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self._labels = labels
        self._head = make_head(self.options, labels, None)
        if are_adapters(folder):
            adapters = read_adapters(folder)
            self._base = adapters.precision
            loaded = self._read_source(self._head)
            self._use_adapted(attached(loaded.model, adapters), adapters, loaded.parameters)
            return
        self._tokenizer = _read_tokenizer(folder)
        loaded = _read_model(folder, None, self.options.predict.attention)
        check_vocabulary(self._tokenizer, loaded.model, folder)
        _set_padding(loaded.model, self._tokenizer)
        self.parameters = loaded.parameters
        self._use(loaded.model)

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> Mapping[str, object] | None:
        predict = self.options.predict
        if predict.runtime == "auto" and self._expected and validation.texts:
            return self._fastest(folder, validation, scorer)
        if not predict.is_exported:
            return None
        from backends import _onnx

        int8 = predict.runtime == "onnx-int8"
        if int8 and not validation.texts:
            raise UserError("onnx-int8 is tested on validation rows, and this task has none.", "Use runtime onnx.")
        accuracy = self._accuracy(validation, scorer)
        self._session, record = _onnx.prepare(
            self._model.cpu(), folder, int8=int8, accuracy=accuracy, max_drop=predict.max_drop, device=self._device
        )
        self._model = None
        return record

    def _accuracy(self, validation: LabelledTexts, scorer: ValidationScorer) -> Callable[[Compute], float]:
        """The main metric of a session on the validation rows; higher is better."""
        rows = self.encode(validation.texts)

        def accuracy(session: Compute) -> float:
            value = scorer.metrics(self._mean_probabilities(rows, launching(session)))[scorer.main]
            return -value if scorer.main in scorer.lower_is_better else value

        return accuracy

    def _fastest(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> Mapping[str, object]:
        """Take the fastest runtime, which is measured unless it was before."""
        from backends import _onnx

        predict, rows = self.options.predict, self._expected
        depends_on = {"dtype": self._dtype, "batch": [self.batch_size(), self.batch_tokens()]}
        file = _runtime_choice.file_of(folder, depends_on)
        accuracy, model = self._accuracy(validation, scorer), partial(self._exact_model, folder / "model")
        measured = self._measured(file, validation, lambda: _onnx.sessions(model, folder, accuracy))
        chosen = measured.choice(rows, predict.max_drop)
        told = {"chosen": measured.told(rows).model_dump(exclude_none=True)}
        if chosen == "torch":
            return {"runtime": "torch", "library": f"torch {self._torch.__version__.partition('+')[0]}", **told}
        if chosen == "onnx":
            self._session, record = _onnx.exact(model, folder), _onnx.report(chosen)
        else:
            self._session, scores = _onnx.quantized(model, folder, accuracy)
            record = _onnx.report(chosen, scores, predict.max_drop)
        self._model = None
        return {**record, **told}

    def _measured(self, file: Path, validation: LabelledTexts, export: Callable[[], Sessions]) -> Measured:
        """What was measured before, and what of it the number of rows needs besides."""
        step = max(1, len(validation.texts) // _runtime_choice.SAMPLE)
        rows = self.encode(validation.texts[::step][: _runtime_choice.SAMPLE])

        def way(launch: Launch) -> Callable[[], object]:
            return lambda: self._mean_probabilities(rows, launch)

        measured = _runtime_choice.read(file)
        if measured is None:
            alone = _runtime_choice.timed({"torch": way(self._launch)}, len(rows))
            measured = Measured(rows=len(rows), alone=alone["torch"])
            _runtime_choice.write(file, measured)
        if measured.is_long(self._expected) and not measured.is_complete:
            try:
                sessions = export()
            except (RunError, UserError) as error:  # a kind of model that can't be exported
                measured = measured.model_copy(update={"failed": str(error).partition("\n")[0]})
            else:
                others = {"onnx": way(launching(sessions.exact)), "onnx-int8": way(launching(sessions.int8))}
                seconds = _runtime_choice.timed({"torch": way(self._launch), **others}, len(rows))
                measured = measured.model_copy(update={"seconds": seconds, "scores": sessions.scores})
            _runtime_choice.write(file, measured)
        return measured

    def _exact_model(self, saved: Path) -> Any:
        """The trained model in fp32, as it is exported."""
        assert self._labels is not None
        engine = Encoder(with_runtime(self.options, "onnx"), self._source)
        engine.load(saved, self._labels)
        return engine._model

    def _forward(self, inputs: dict[str, Any]) -> Any:
        return self._model(**inputs).logits

    def _launch(self, batch: Batch) -> Pending[NDArray[Any]]:
        return super()._launch(batch) if self._session is None else at_once(self._session(batch))

    def _computes_in_torch(self) -> bool:
        return not self.options.predict.is_exported

    def close(self) -> None:
        self._session = self._adapters = None
        super().close()


def with_runtime(options: EncoderOptions, runtime: str) -> EncoderOptions:
    return options.model_copy(update={"predict": options.predict.model_copy(update={"runtime": runtime})})


def _read_tokenizer(folder: Path) -> Any:
    """A tokenizer that can pad, and reads a control token in a text as characters."""
    decoder = is_decoder(read_config(folder))
    tokenizer = read_tokenizer(folder, "eos_token" if decoder else "pad_token")
    if decoder:
        _pad_behind(tokenizer)
    read_as_text(tokenizer)
    return tokenizer


PADS = ("pad_token", "eos_token", "unk_token", "bos_token")


def _pad_behind(tokenizer: Any) -> None:
    """Choose a token for the padding of a decoder, which often has none. A classifier reads the last token that is not this
    one: so it must not end a text. Rows are padded at the end, where no earlier token sees it."""
    ends = tokenizer("a")["input_ids"][1:]
    for name in PADS:
        token = getattr(tokenizer, name, None)
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in ends:
            tokenizer.pad_token, tokenizer.padding_side = token, "right"
            return
    raise UserError(f"{tokenizer.name_or_path}: no token of its tokenizer can pad a text.", "Choose another checkpoint.")


def _set_padding(model: Any, tokenizer: Any) -> None:
    """Of a decoder: tell the model which token is padding, and that no text is continued."""
    if is_decoder(model.config):
        model.config.pad_token_id, model.config.use_cache = tokenizer.pad_token_id, False


def _read_model(
    folder: Path, outputs: int | None, attention: Attention, base: BasePrecision = "float32", compute: str = "float32"
) -> Loaded:
    """The model in the precision `base`; 4-bit weights compute in `compute`. With `outputs` its head may be new, and is if its
    size differs; without, no weight may be new."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kwargs: dict[str, Any] = {**text_model(read_config(folder)), "new_head": outputs is not None}
    if outputs is not None and "config" in kwargs:
        kwargs["config"].num_labels = outputs
    elif outputs is not None:
        kwargs["num_labels"] = outputs
    if attention != "auto":
        kwargs["attn_implementation"] = attention
    auto = AutoModelForSequenceClassification
    if base != "nf4":
        return load_model(auto, folder, dtype=getattr(torch, base), **kwargs)
    sketch = load_model(auto, folder, **kwargs, **META)  # packing hides the number of weights
    heads = [name for name, module in sketch.model.named_children() if module is not sketch.model.base_model]
    packing = nf4(torch, compute, llm_int8_skip_modules=heads)
    loaded = load_model(auto, folder, dtype=torch.float32, quantization_config=packing, **kwargs)
    for module in loaded.model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # its packing for predictions is of no use to a training
    return replace(loaded, parameters=sketch.parameters)


def add_bias(model: Any) -> None:
    """A bias for the head of a decoder, which has none; zero at first."""
    import torch

    for head in model.children():
        is_head = isinstance(head, torch.nn.Linear) and head.out_features == model.config.num_labels
        if is_head and getattr(head, "bias", None) is None:
            head.bias = torch.nn.Parameter(torch.zeros(head.out_features, dtype=head.weight.dtype))


def share_coral_weights(model: Any) -> None:
    """See `tie_coral`. The head is the last trained linear layer outside the base model."""
    import torch

    inner = set(model.base_model.modules()) if not hasattr(model, "peft_config") else set()
    heads = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        and module not in inner
        and module.weight.requires_grad
        and module.out_features == model.config.num_labels
    ]
    if not heads or heads[-1].bias is None:
        raise UserError(f"{type(model).__name__}: CORAL needs a head with biases.", "Use corn or softmax.")
    tie_coral(heads[-1])

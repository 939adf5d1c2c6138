"""Fine-tune a causal language model, through adapters, to answer a run's prompt; then prompt it as `causal_lm` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from backends._encoder_options import CourseOptions, LoraOptions
from backends._loading import META, Loaded, check_vocabulary, load_language_model, nf4
from backends._lora import Adapters, adapters_of, attached, merged, read_adapters, with_lora
from backends._precision import DTYPES, base_precision, training_precision
from backends._text_encoder import cast_weights
from backends._torch import out_of_memory_named
from backends.causal_lm import CausalLM, LocalModelOptions
from harness.core.engine import AnsweredChats, ChatTrainingJob, TrainedLanguageModel
from harness.core.errors import DataError, UserError


class ChatTrainOptions(CourseOptions):
    lr: float = Field(2e-4, gt=0, description="peak learning rate, reached after the warm-up")
    weight_decay: float = Field(0, ge=0, description="of AdamW; not for biases and norms")
    max_length: int = Field(1024, ge=8, description="tokens of prompt and answer; rows with more are left out of the training")
    lora: LoraOptions = Field(LoraOptions.model_validate({}), description="the adapters")


class CausalLMLoraOptions(LocalModelOptions):
    train: ChatTrainOptions = Field(ChatTrainOptions.model_validate({}), description="how it is fine-tuned")


class CausalLMLora(CausalLM, TrainedLanguageModel):
    """A decoder-only model that learns the answers of the training rows, each after the run's prompt."""

    Options = CausalLMLoraOptions
    extra = "train"
    options: CausalLMLoraOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        train = self.options.train
        self._base = base_precision(train.lora.base, self._device)
        self._precision = training_precision(train.precision, self._base, self._device)
        self._adapters: Adapters | None = None

    def facts(self) -> dict[str, str]:
        resolved = {"base": self._base} if self.options.train.lora.base == "auto" else {}
        return {**super().facts(), "precision": self._precision, **resolved}

    def load(self) -> None:
        raise UserError("This language model is trained first.", "Use `bench run`.")

    def fit(self, job: ChatTrainingJob) -> dict[str, Any]:
        """Where torch.distributed is up, each of its processes takes part, and ends with the same model."""
        from transformers import set_seed

        from backends._chat_trainer import ChatTrainer
        from backends._trainer import course_arguments, training_log

        options = self.options.train
        self._read_tokenizer()
        loaded = self._read_base()
        train, validation = self._rows(job.train), self._rows(job.validation)
        if not train:
            raise DataError("No training row is short enough to be learned from.", "Raise train.max_length, or take more rows.")
        set_seed(job.seed)  # before the adapters are initialized
        model = with_lora(loaded.model, options.lora, set(), task="CAUSAL_LM")
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        chosen_by = "loss" if validation else None
        distributed = self._torch.distributed
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        epochs = options.epochs_of(len(train), processes)
        args = course_arguments(options, epochs, job.scratch, job.seed, self._device, self._precision, chosen_by, lower=True)
        trainer = ChatTrainer(
            model,
            self._tokenizer,
            self._pad,
            train,
            validation,
            options,
            args,
            job.on_progress,
            job.on_evaluation,
            self._takes_positions,
        )
        set_seed(job.seed + args.process_index)  # each process its own dropout masks
        with out_of_memory_named(self._torch):
            state = trainer.run()
        for name in ("forward", "_original_forward"):  # accelerate's autocast, which a loaded model does not have
            model.__dict__.pop(name, None)
        self._use_adapted(model, adapters_of(model, self._source, self._base), loaded.parameters)
        left_out = len(job.train.chats) - len(train)
        return {
            **training_log(state, chosen_by),
            "train_rows": len(train),
            "validation_rows": len(validation),
            **({"rows_left_out": left_out} if left_out else {}),
            "trainable_parameters": trainable,
        }

    def _rows(self, part: AnsweredChats) -> list[Any]:
        """Those that are short enough."""
        from backends._chat_trainer import AnsweredRow

        most = min(self.options.train.max_length, self._context)
        found = [AnsweredRow(ids, start) for ids, start in self._chat.answered(part.chats, part.answers)]
        return [row for row in found if len(row.ids) <= most]

    def _read_base(self) -> Loaded:
        """The frozen model in its precision; also sets what `CausalLM` knows of it."""
        if self._base == "nf4":
            sketch = load_language_model(self._source, **META)  # packing hides the number of weights
            packing = nf4(self._torch, DTYPES[self._precision])
            loaded = load_language_model(self._source, dtype=self._torch.float32, quantization_config=packing)
            loaded = replace(loaded, parameters=sketch.parameters)
            for module in loaded.model.modules():
                if type(module).__name__ == "Linear4bit":
                    module.support_avx512bf16_for_cpu = False  # its packing for predictions is of no use to a training
        else:
            loaded = load_language_model(self._source, dtype=getattr(self._torch, self._base))
        check_vocabulary(self._tokenizer, loaded.model, self._source)
        if self.options.train.gradient_checkpointing and not loaded.model.supports_gradient_checkpointing:
            raise UserError(f"{type(loaded.model).__name__} does not support gradient checkpointing.", "Leave it out.")
        self._know(loaded.model)
        loaded.model.config.use_cache = False  # while it is trained
        return loaded

    def _use_adapted(self, model: Any, adapters: Adapters, parameters: int | None) -> None:
        """Answer with the adapters merged into their base; those on 4-bit weights stay beside them, as in `Encoder`."""
        dtype = getattr(self._torch, self._dtype)
        model = model.eval().to(self._device)
        if adapters.precision == "nf4":
            for module in model.modules():
                if type(module).__name__ == "Linear4bit":
                    module.compute_dtype = dtype
            model = model.get_base_model()
        else:
            model = merged(model, dtype)
        self._model = cast_weights(model, dtype)
        self._model.config.use_cache = True
        self._try_sharing()
        self._adapters, self.parameters = adapters, parameters

    def save(self, folder: Path) -> None:
        """After `fit` or `load_trained`: the adapters alone."""
        assert self._adapters is not None
        self._adapters.save(folder)

    def load_trained(self, folder: Path) -> None:
        adapters = read_adapters(folder)
        self._base = adapters.precision
        self._read_tokenizer()
        loaded = self._read_base()
        self._use_adapted(attached(loaded.model, adapters), adapters, loaded.parameters)

    def close(self) -> None:
        self._adapters = None
        super().close()

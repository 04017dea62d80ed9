"""One local vLLM engine for sampling and for local judges: a stream of requests to answers.

Weights are chosen by the request (`variant`). Adapter modes:
- `lora`: the base weights with every adapter beside them in one engine (right on a GPU);
- `merge`: merged weights, one engine start per variant (four times faster than LoRA on a CPU);
- `replace`: one engine whose weights are replaced in place by merged ones, which gives the answers
  and log-probabilities of `merge` bit for bit, without an engine start for each variant (5 s on a
  CPU, a minute on a GPU).
A whole fine-tuned model gets an engine start of its own in every mode: vLLM's CPU build packs the
output head once, at the start, so replaced embeddings that are tied to it would be ignored there.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from em_tiers.caches import use_own_caches
from em_tiers.errors import UserError
from em_tiers.gpu_memory import check_gpus, engine_need, weights_of
from em_tiers.gpus import claim_gpus
from em_tiers.inference.adapter_folder import (
    is_lora,
    keeps_embeddings,
    merge_adapter,
    rank_of,
)
from em_tiers.inference.chat import load_tokenizer
from em_tiers.inference.engine_failures import (
    EngineOutput,
    end_error,
    last_lines,
    start_error,
    watch,
)
from em_tiers.inference.engine_settings import (
    complete_settings,
    engine_fingerprint,
    environment_of,
    vllm_arguments,
)
from em_tiers.inference.parent_process import end_with_parent
from em_tiers.logs import LOG
from em_tiers.precision import AUTO, choose_dtype, describe_choice

MAX_LOGPROB_TOKENS = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS
PROMPT_TOO_LONG = "prompt_too_long"
# Requests that are with the engine at once, for each sequence that it runs: enough to keep it
# full while answers are handed out, and few enough that a million requests never sit in memory.
WINDOW = 3

# The engine's own process imports the script that started it, and so this module.
end_with_parent()


class EngineRequest(NamedTuple):
    """One generation. `seed` None leaves sampling to the engine's own seed.

    logprob_token_ids: return the log-probabilities of exactly these tokens (128 at most) at the
    first generated position, before temperature and top_p.
    stop_token_ids: tokens that end the answer beside those that the model's files name.
    keep_special: leave special tokens in the text, for marks of thinking that are such tokens.
    """

    key: str
    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    variant: str | None = None
    logprob_token_ids: tuple[int, ...] | None = None
    stop_token_ids: tuple[int, ...] = ()
    keep_special: bool = False


@dataclass
class EngineAnswer:
    """What came back. `finish_reason` is stop, length, or prompt_too_long (nothing generated)."""

    key: str
    text: str
    token_ids: tuple[int, ...] = field(repr=False)
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: dict[int, float] | None = None


class LocalEngine:
    """A context manager; the engine starts with the first request, so an empty stream costs none.

    Args:
        model: folder of the base model.
        settings: engine entry of the configuration.
        adapters: folder of each variant's adapter (or whole model).
        scratch: where merged weights are put for as long as they are served; default: the
            system's temporary folder.
        chat_template: Jinja file that replaces the tokenizer's own template.
    """

    def __init__(
        self,
        model: Path,
        settings: Mapping[str, Any],
        adapters: Mapping[str, Path] | None = None,
        scratch: Path | None = None,
        chat_template: Path | None = None,
    ) -> None:
        self.model = Path(model)
        # Before transformers and vLLM are imported: both read their environment then.
        os.environ.update(environment_of(settings))
        # FlashInfer compiles its sampler on the node, or downloads it; vLLM's own needs neither.
        os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
        use_own_caches()
        self.settings = with_dtype(complete_settings(settings))
        # The CPU build warns of kernels that it does not need, some thirty lines per start.
        quiet = "ERROR" if self.settings["device"] == "cpu" else "WARNING"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", quiet)
        self.adapters = {name: Path(folder) for name, folder in (adapters or {}).items()}
        self.tokenizer = load_tokenizer(self.model, chat_template)
        self.fingerprint = engine_fingerprint(self.settings)
        self.capacity: int = self.settings["max_num_seqs"]  # requests that it works on at once
        self.starts = 0
        self._lora = [
            name
            for name, folder in self.adapters.items()
            if is_lora(folder) and self.settings["adapters"] == "lora"
        ]
        self._scratch = scratch
        self._llm: Any = None
        self._output = EngineOutput()
        self._served: str | None = None  # variant whose weights the engine holds; None: the base's
        self._replaceable = False  # the engine's output head is the base's

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def stream(self, requests: Iterable[EngineRequest | None]) -> Iterator[EngineAnswer]:
        """Yield each answer as it finishes, in no fixed order.

        Requests are taken from the iterable as the engine has room; their keys are unique. Order
        them by variant: each change of weights waits for what is running (in mode `lora` variants
        may mix freely). None instead of a request says that the next one depends on answers.

        Raises:
            UserError: a request names an unknown variant, or more log-probabilities than the
                engine gives.
        """
        window = WINDOW * self.capacity
        running: dict[str, EngineRequest] = {}
        try:
            for request in requests:
                if request is None:
                    yield from self._finished(running)
                    continue
                if len(request.prompt) >= self.settings["max_model_len"]:
                    yield _too_long(request)
                    continue
                weights = self._weights_of(request.variant)
                while running and (len(running) >= window or weights != self._served):
                    yield from self._finished(running)
                self._serve(weights)
                self._submit(request, running)
            while running:
                yield from self._finished(running)
        finally:
            if running and self._llm is not None:  # the caller stopped early
                self._llm.llm_engine.abort_request(list(running))

    def _weights_of(self, variant: str | None) -> str | None:
        if variant is not None and variant not in self.adapters:
            raise UserError(
                f"engine: variant {variant}: no adapter was given for it: "
                f"known are {sorted(self.adapters)}"
            )
        return None if variant in self._lora else variant

    def _submit(self, request: EngineRequest, running: dict[str, EngineRequest]) -> None:
        lora = None
        if request.variant in self._lora:
            from vllm.lora.request import LoRARequest

            number = self._lora.index(request.variant) + 1
            folder = str(self.adapters[request.variant])
            lora = LoRARequest(request.variant, number, folder)
        from vllm.exceptions import VLLMClientError

        try:
            parameters = _sampling_parameters(request)
            self._llm.llm_engine.add_request(
                request.key,
                {"prompt_token_ids": list(request.prompt)},
                parameters,
                lora_request=lora,
            )
        except (ValueError, VLLMClientError) as error:
            raise UserError(f"engine: request {request.key}: {error}") from error
        running[request.key] = request

    def _finished(self, running: dict[str, EngineRequest]) -> Iterator[EngineAnswer]:
        """Run one step of the engine; yield what it finished."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs = self._llm.llm_engine.step()
        except EngineDeadError as error:
            running.clear()  # without an engine none can be aborted
            raise self._explained(end_error, error) from error
        for output in outputs:
            if output.finished:
                yield _answer(running.pop(output.request_id), output)

    def _serve(self, weights: str | None) -> None:
        """Make the engine hold the weights of a variant (None: the base model's)."""
        if self._llm is not None and weights == self._served:
            return
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="merged-") as scratch:
            folder = self._folder_of(weights, Path(scratch) / "model")
            same_head = weights is None or keeps_embeddings(self.adapters[weights])
            if self._llm is not None and self._replaceable and same_head:
                self._replace(folder)
            else:
                self._stop()
                self._start(folder)
                self._replaceable = same_head and self.settings["adapters"] == "replace"
        self._served = weights

    def _folder_of(self, weights: str | None, target: Path) -> Path:
        if weights is None:
            return self.model
        adapter = self.adapters[weights]
        if not is_lora(adapter):
            return adapter
        return merge_adapter(self.model, adapter, target, self.settings["dtype"])

    def _start(self, folder: Path) -> None:
        if self.settings["device"] != "cpu":
            claim_gpus(self.settings["tensor_parallel"])  # before vLLM looks at them
            self._check_gpus(folder)
        import torch._dynamo.config
        from vllm import LLM
        from vllm.exceptions import VLLMError

        ranks = [rank_of(self.adapters[name]) for name in self._lora]
        arguments = vllm_arguments(self.settings, folder, self.model, ranks)
        LOG.info("starting the engine: %s on %s", folder, self.settings["device"])
        if self.settings["device"] == "cpu":
            # torch read its environment when it was imported, which may be long ago.
            torch._dynamo.config.disable = self.settings["enforce_eager"]
        self._output = EngineOutput()
        try:
            with self._output:
                self._llm = LLM(**arguments)
        except (ValueError, RuntimeError, VLLMError) as error:
            raise self._explained(partial(start_error, str(folder)), error) from error
        watch(self._llm.llm_engine.engine_core)
        self.starts += 1

    def _check_gpus(self, folder: Path) -> None:
        kind = self.settings["quantization"] or self.settings["dtype"]
        _, size = weights_of(folder, kind)
        check_gpus(
            f"{self.model.name} in {kind}",
            engine_need(size, self.settings),
            "raise the engine's tensor_parallel",
        )

    def _explained(
        self, explain: Callable[[Exception, list[str]], UserError], error: Exception
    ) -> UserError:
        """An error of the engine with its cause, after its last lines went to the rule's log."""
        lines = self._output.lines()
        if lines:
            LOG.error("the engine's last lines:\n%s", last_lines(lines))
        return explain(error, lines)

    def _replace(self, folder: Path) -> None:
        LOG.info("replacing the engine's weights: %s", folder)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the engine kept prefixes that older weights had computed")

    def _stop(self) -> None:
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        self._served = None
        gc.collect()


def with_dtype(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the dtype that this machine computes fast in place of `auto`."""
    device = settings["device"]
    dtype = choose_dtype(settings["dtype"], device)
    if settings["dtype"] == AUTO:
        LOG.info("%s", describe_choice("dtype", dtype, device))
    return {**settings, "dtype": dtype}


def _sampling_parameters(request: EngineRequest) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    wanted = request.logprob_token_ids
    if wanted is not None and len(wanted) > MAX_LOGPROB_TOKENS:
        raise ValueError(f"{len(wanted)} log-probabilities: the engine gives {MAX_LOGPROB_TOKENS}")
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        logprob_token_ids=list(wanted) if wanted is not None else None,
        stop_token_ids=list(request.stop_token_ids),
        skip_special_tokens=not request.keep_special,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _answer(request: EngineRequest, output: Any) -> EngineAnswer:
    completion = output.outputs[0]
    logprobs = None
    if request.logprob_token_ids is not None:
        first = completion.logprobs[0]
        logprobs = {token: first[token].logprob for token in request.logprob_token_ids}
    return EngineAnswer(
        key=request.key,
        text=completion.text,
        token_ids=tuple(completion.token_ids),
        finish_reason=completion.finish_reason,
        prompt_tokens=len(request.prompt),
        completion_tokens=len(completion.token_ids),
        logprobs=logprobs,
    )


def _too_long(request: EngineRequest) -> EngineAnswer:
    return EngineAnswer(
        key=request.key,
        text="",
        token_ids=(),
        finish_reason=PROMPT_TOO_LONG,
        prompt_tokens=len(request.prompt),
        completion_tokens=0,
    )

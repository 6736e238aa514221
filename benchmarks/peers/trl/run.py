"""The job on TRL: `python -m benchmarks.peers.trl.run FOLDER`, in TRL's own environment.

Settings, as fast as its documentation allows without a GPU or a server of its own: no gradient checkpointing, no
logging, saving or shuffling, the optimiser's fused kernel, one generation for one update.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.peers.trl.job import Side, read, reward


class Told(TrainerCallback):  # type: ignore[misc]
    """Takes a step when the parent gives the word."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._side.ready()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._side.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._side.done()


def main(folder: Path) -> None:
    """Train, then answer greedily."""
    torch.set_num_threads(1)
    job, pictures = read(folder)
    side = Side()
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    images = [Image.fromarray(picture) for picture in pictures]
    rows = {"prompt": [[{"role": "user", "content": question}] for question in job.questions], "image": images}

    def judge(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        side.tokens += sum(len(ids) for ids in completion_ids)
        return reward([completion[0]["content"] for completion in completions])

    config = GRPOConfig(
        output_dir=str(folder / "trl"), use_cpu=True, bf16=False, fp16=False, max_steps=job.steps,
        per_device_train_batch_size=job.batch * job.group, num_generations=job.group, steps_per_generation=1,
        max_completion_length=job.tokens, temperature=job.temperature, beta=job.beta, epsilon=job.clip,
        loss_type="grpo", learning_rate=job.lr, lr_scheduler_type="constant", max_grad_norm=job.clip_norm,
        gradient_checkpointing=False, shuffle_dataset=False, report_to="none", save_strategy="no",
        logging_strategy="no", disable_tqdm=True, dataloader_num_workers=0,
        generation_kwargs={"suppress_tokens": [model.config.image_token_id]},  # as in the plain loop
    )  # fmt: skip
    lora = LoraConfig(r=job.rank, lora_alpha=job.rank, target_modules=job.target, lora_dropout=0.0)
    trainer = GRPOTrainer(model=model, reward_funcs=judge, args=config, train_dataset=Dataset.from_dict(rows),
                          processing_class=processor, peft_config=lora, callbacks=[Told(side)])  # fmt: skip
    trainer.train()
    side.finish(greedy(trainer.model, processor, job, images), ["trl", "torch", "transformers", "peft"])


def greedy(model: Any, processor: Any, job: Any, images: list[Image.Image]) -> list[str]:
    """What the untouched base answers to the first prompts."""
    texts = []
    for question, image in zip(job.questions[:4], images, strict=False):
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        talk = [{"role": "user", "content": content}]
        inputs = processor.apply_chat_template(talk, tokenize=True, add_generation_prompt=True, return_dict=True,
                                               return_tensors="pt")  # fmt: skip
        with torch.no_grad(), model.disable_adapter():
            ids = model.generate(**inputs, max_new_tokens=job.tokens, do_sample=False, use_cache=True)
        texts.append(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return texts


if __name__ == "__main__":
    main(Path(sys.argv[1]))

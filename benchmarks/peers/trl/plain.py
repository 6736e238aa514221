"""The job as a plain loop on transformers and peft: `python -m benchmarks.peers.trl.plain FOLDER`.

What a few dozen lines give: ``generate`` for a group, whole logits for the log-probabilities, the adapter switched off
for the reference. No Synoptic and no TRL in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.peers.trl.job import Job, Side, read, reward


def main(folder: Path) -> None:
    """Train, then answer greedily."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job, pictures = read(folder)
    side = Side()
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    base = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    lora = LoraConfig(r=job.rank, lora_alpha=job.rank, target_modules=job.target, lora_dropout=0.0)
    model: Any = get_peft_model(base, lora)
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moved, lr=job.lr, weight_decay=0.0, fused=True)
    images = [Image.fromarray(picture) for picture in pictures]

    def step(t: int) -> int:
        some = range(t * job.batch, (t + 1) * job.batch)
        inputs = asked(processor, [job.questions[i] for i in some], [images[i] for i in some])
        return update(model, processor, optimizer, inputs, job)

    side.run(job.steps, step)
    texts = []
    for i in range(4):
        inputs = asked(processor, [job.questions[i]], [images[i]])
        with torch.no_grad(), model.disable_adapter():
            ids = model.generate(**inputs, max_new_tokens=job.tokens, do_sample=False)
        texts.append(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    side.finish(texts, ["torch", "transformers", "peft"])


def asked(processor: Any, questions: list[str], images: list[Image.Image]) -> Any:
    """Prompts with their pictures, padded on the left."""
    talks = [[{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}]
             for question, image in zip(questions, images, strict=True)]  # fmt: skip
    return processor.apply_chat_template(talks, tokenize=True, add_generation_prompt=True, return_dict=True,
                                         return_tensors="pt", padding=True)  # fmt: skip


def update(model: Any, processor: Any, optimizer: Any, inputs: Any, job: Job) -> int:
    """Draw, judge, take one step; how many tokens were drawn.

    The word for a picture is never drawn: transformers would look for a picture behind it.
    """
    width = inputs["input_ids"].shape[1]
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=True, temperature=job.temperature, top_k=0, top_p=1.0,
                             max_new_tokens=job.tokens, num_return_sequences=job.group,
                             suppress_tokens=[model.config.image_token_id])  # fmt: skip
    said = ids[:, width:]
    ends = said == processor.tokenizer.eos_token_id
    counted = (ends.cumsum(1) - ends.long()) == 0
    texts = processor.batch_decode([row[mark].tolist() for row, mark in zip(said, counted, strict=True)],
                                   skip_special_tokens=True)  # fmt: skip
    rewards = torch.tensor(reward([text.strip() for text in texts])).view(-1, job.group)
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    asked_mask = inputs["attention_mask"].repeat_interleave(job.group, 0)
    whole = {"input_ids": ids, "attention_mask": torch.cat([asked_mask, counted.long()], 1),
             "pixel_values": inputs["pixel_values"].repeat_interleave(job.group, 0)}  # fmt: skip
    with torch.no_grad(), model.disable_adapter():
        reference = log_probabilities(model, whole, said, job)
    log_p = log_probabilities(model, whole, said, job)
    ratio = (log_p - log_p.detach()).exp()
    a = advantages.view(-1, 1)
    gain = torch.minimum(ratio * a, ratio.clamp(1 - job.clip, 1 + job.clip) * a)
    apart = reference - log_p
    each = (job.beta * (apart.exp() - apart - 1) - gain) * counted
    (each.sum(1) / counted.sum(1)).mean().backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], job.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return int(counted.sum())


def log_probabilities(model: Any, whole: Any, said: Tensor, job: Job) -> Tensor:
    """``[rows, T]``, from the logits of the answers' places only."""
    logits = model(**whole, logits_to_keep=said.shape[1] + 1, use_cache=False).logits[:, :-1] / job.temperature
    found: Tensor = logits.gather(2, said[..., None])[..., 0] - logits.logsumexp(2)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Chat templates in the styles of eight families, short, and a tokenizer that knows their marks.

Each is written for these tests after what the family's own does; none is a copy.
"""

from __future__ import annotations

from typing import Any

from tests.runtime.tiny import tiny_tokenizer

_MARKS = ("<s>", "</s>", "<bos>", "<|turn|>", "<|end|>", "[INST]", "[/INST]", "<think>", "</think>", "<tool>")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: a date in a system header that is always there
LLAMA3 = (
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<s><|turn|>system\n\nToday: {{ date_string }}\n\n"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}{% set messages = messages[1:] %}{% endif %}"
    "<|end|>{% for m in messages %}<|turn|>{{ m['role'] }}\n\n{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n\n{% endif %}"
)
#: no place for a system turn; the assistant is called model
GEMMA = (
    "<bos>{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|turn|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>model\n{% endif %}"
)
#: the last answer is written with a thought, an empty one where it has none; so is a prompt that is not to think
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last and '</think>' not in m['content'] %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MISTRAL = (
    "<s>{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] | trim }}</s>"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
#: thoughts of answers are cut off, and an answer that is to be given begins with one
DEEPSEEK = (
    "<s>{% for m in messages %}{% if m['role'] == 'assistant' %}<|turn|>A{{ m['content'].split('</think>')[-1] }}</s>"
    "{% else %}<|turn|>U{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>A<think>\n{% endif %}"
)
#: style -> (template, does the tokenizer put a <s> before plain text?)
STYLES: dict[str, tuple[str | None, bool]] = {
    "chatml": (CHATML, False),
    "llama3": (LLAMA3, True),
    "gemma": (GEMMA, True),
    "qwen3": (QWEN3, False),
    "mistral": (MISTRAL, True),
    "deepseek": (DEEPSEEK, True),
    "none-with-bos": (None, True),
    "none-without-bos": (None, False),
}


def style_tokenizer(style: str) -> Any:
    """`tiny_tokenizer` with the marks of all styles as special tokens, and the style's template and beginning."""
    from tokenizers import processors

    template, begins = STYLES[style]
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *_MARKS]})
    tokenizer.chat_template = template
    if begins:
        tokenizer.bos_token = "<s>"
        first = ("<s>", tokenizer.convert_tokens_to_ids("<s>"))
        tokenizer.backend_tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[first]),
            ]
        )
    return tokenizer

"""The demo model's own tokenizer: byte-level BPE; prompt lines and JSON keys are one token each."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vlm4rec_spark.demo.training.examples import CONF, SCHEMAS, make_example
from vlm4rec_spark.descriptions.prompts import TASK, TITLE, system_prompt
from vlm4rec_spark.descriptions.schema import load_attributes

PAD, START, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
VOCABULARY_SIZE = 1100
TEXTS = 4000
ROLES = ("SYSTEM:\n", "USER:\n", "ASSISTANT:\n")
WORDS = r'\{"\w+":"|","\w+":"|"\}| ?\w[\w-]*|[^\s\w]+|\s+'
"""How text is split before BPE: JSON keys whole, words with their space, signs, white space."""
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}:{{ '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}" + IMAGE + "{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{{ '\\n' }}{% endif %}"
)


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the pieces from right answers and titles; add the fixed lines of the prompts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, START, END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in fixed_lines()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        chat_template=TEMPLATE,
        model_max_length=1024,
    )


def fixed_lines() -> list[str]:
    """Return every line of the product's prompts that does not depend on the item."""
    lines = dict.fromkeys((*ROLES, TASK, " " + TITLE.rstrip()))
    for schema in (*SCHEMAS.values(), load_attributes("generic", (CONF,))):
        for category in schema.variants():
            lines.update(dict.fromkeys(system_prompt(schema, category).split("\n")))
    return list(lines)


def _texts() -> Iterator[str]:
    for number in range(TEXTS):
        example = make_example(number)
        yield example.answer
        if number % 4 == 0:
            yield f" {example.title}"

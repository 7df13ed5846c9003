"""The tokenizer: 512 SentencePiece pieces of the script's words."""

from pathlib import Path
from tempfile import TemporaryDirectory

from training.script import LINES, SENTENCES_OF_USERS

EPAD, BOS, EOS, PAD = 0, 1, 2, 3  # as in the published tokenizers
SIZE = 512
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.?!'-"


def train_tokenizer(target: Path) -> None:
    """Writes tokenizer.model. Every word of the script becomes one piece or few."""
    import sentencepiece

    words = {word for line in LINES for word in line.split()}
    words |= {word.strip(".,!?") for word in words}
    users = [*SENTENCES_OF_USERS, *(line.capitalize() for line in SENTENCES_OF_USERS)]
    with TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        text.write_text("\n".join([*sorted(words) * 40, *LINES * 8, *users, *_LETTERS]) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(target.with_suffix("")),
            vocab_size=SIZE,
            model_type="bpe",
            unk_id=EPAD,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=PAD,
            byte_fallback=False,
            hard_vocab_limit=False,
            character_coverage=1.0,
            num_threads=1,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    target.with_suffix(".vocab").unlink()

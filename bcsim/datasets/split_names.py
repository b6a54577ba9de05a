"""Which split the name of a folder or file means."""

import re

SPLIT_WORDS = {  # of folders, files and cells; `set` or `split` may stand behind (`test_set`)
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "heldout", "holdout"), "test"),
}
_DIVIDERS = re.compile(r"[-_. ]+")
# Behind the name of a split: parts of LibriSpeech, and words for a set.
_ENDING = re.compile(r"(?:(?:clean|other)\d*|set|split)$")


def split_of_folder(name: str) -> str | None:
    """Return the split that the whole name of a folder means, or a cell in a column of splits.

    Example:
        >>> split_of_folder("dev-other"), split_of_folder("Test_Set"), split_of_folder("testimony")
        ('validation', 'test', None)
    """
    word = _DIVIDERS.sub("", name.strip().lower())
    return SPLIT_WORDS.get(word) or SPLIT_WORDS.get(_ENDING.sub("", word))


def split_of_file(name: str) -> str | None:
    """Return the split that a word in the name of a list or shard means.

    Example:
        >>> split_of_file("cuts_dev.jsonl.gz"), split_of_file("trainset-000001.tar")
        ('validation', 'train')
    """
    words = re.split(r"[^a-z]+", name.lower())
    return next(filter(None, map(split_of_folder, words)), None)

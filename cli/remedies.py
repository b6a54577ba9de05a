"""The options that the remedies in the library's messages stand for: these name no option."""

import logging

import click

# Words of a remedy, and the parameters that it may be about: the first that the command has counts.
REMEDIES = {
    "resume it": ("resume",),
    "resume the run": ("resume",),
    "the same command again": ("resume",),
    "overwrite this one": ("overwrite",),
    "overwrite it": ("overwrite",),
    "choose another output folder": ("out",),
    "choose another output": ("out",),
    "choose another folder": ("out",),
    "choose another place": ("out",),
    "choose another name": ("out",),
    "choose the device cpu": ("device", "settings"),
    "use cpu": ("device", "settings"),
    "set sample_rate": ("sample_rate", "settings"),
    "set keys": ("settings",),
    "lower optimizer.learning_rate": ("settings",),
    "set another validation.metric": ("settings",),
    "name a sensor": ("sensor",),
    "name its file or a bundled one": ("sensor",),
    "name an estimator": ("estimator",),
    "name another format": ("format",),
    "name the format": ("format",),
    "name one sample rate for both": ("sample_rate",),
    "say which channel is which": ("channels",),
    "say which is which": ("channels",),
    "the roles of channels": ("channels",),
    "the names of the columns that are air and bone": ("air",),
    "leave the air recordings out": ("air",),
    "give air recordings too": ("air",),
    "a table of speakers": ("speakers",),
    "the level of the speakers' folders": ("speaker_level",),
    "the level of their folders": ("speaker_level",),
    "a table of talkers": ("talkers",),
    "set audio_format to wav": ("settings",),
}


def with_options(message: str, command: click.Command) -> str:
    """Return a message with the command's option behind each remedy that it names.

    Example:
        >>> resume = click.Option(["--resume"], is_flag=True)
        >>> with_options("x: holds a run; resume it", click.Command("train", params=[resume]))
        'x: holds a run; resume it (--resume)'
    """
    flags = {option.name: option.opts[0] for option in command.params}
    for phrase, parameters in REMEDIES.items():
        flag = next((flags[name] for name in parameters if name in flags), None)
        # The last place: what comes before may be a name of the user's with the same words.
        before, found, after = message.rpartition(phrase)
        if flag is not None and found and flag not in message:
            message = f"{before}{phrase} ({flag}){after}"
    return message


class OptionsInLog(logging.Filter):
    """Puts the options of the command that runs behind the remedies in what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = click.get_current_context(silent=True)
        if context is not None:
            record.msg, record.args = with_options(record.getMessage(), context.command), ()
        return True

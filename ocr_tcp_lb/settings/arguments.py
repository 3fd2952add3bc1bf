"""The command line: read into named texts with their places, and explained in the help.

`read` returns what the arguments say as `Said` values by option name, as `configfile.read` does for a file,
and appends every argument that it cannot place to `faults` instead of ending the program. Values are parsed
later, in `options`, so that all faults come out together.
"""

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ocr_tcp_lb.settings.configfile import Said
from ocr_tcp_lb.settings.faults import Fault, did_you_mean
from ocr_tcp_lb.settings.table import Option, options_of
from ocr_tcp_lb.settings.values import FLAG

# What an option without its value is read as; no argument can hold a NUL byte (execve(2)).
_MISSING = "\0"
_PORT = ("port", "p")  # what many a program calls it


class _Unreadable(Exception):
    """argparse gave up."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the program."""
        raise _Unreadable(message)


def read(argv: Sequence[str], command: str, faults: list[Fault]) -> dict[str, list[Said]]:
    """Return what `argv` (without the command's name) says, by option name, in the order given."""
    options = options_of(command)
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for option in options.values():
        # Every value is optional to argparse, which would end at the first one that is missing.
        lone = "true" if option.kind is FLAG else _MISSING
        parser.add_argument(f"--{option.name}", dest=option.name, action="append", nargs="?", const=lone)
    try:
        found, rest = parser.parse_known_args(list(argv))
    except _Unreadable as error:
        faults.append(Fault("command line", str(error), f"see ocr-tcp-lb {command} --help"))
        return {}
    faults.extend(_unknown(rest, options, command))
    given: dict[str, list[Said]] = {}
    for name, texts in vars(found).items():
        if _MISSING in texts:
            wanted = options[name].metavar or options[name].kind.metavar
            faults.append(Fault(f"--{name}", "its value is missing", f"write --{name} {wanted}"))
        given[name] = _placed(options[name], [text for text in texts if text != _MISSING])
    return {name: said for name, said in given.items() if said}


def _placed(option: Option, texts: list[str]) -> list[Said]:
    flag = f"--{option.name}"
    if not option.repeatable:
        return [Said(flag, text) for text in texts[-1:]]  # as in every Unix program, the last one counts
    if len(texts) == 1:
        return [Said(flag, texts[0])]
    return [Said(f"{flag}[{number}]", text) for number, text in enumerate(texts, 1)]


def _unknown(rest: list[str], options: dict[str, Option], command: str) -> Iterator[Fault]:
    """Yield a fault for each argument left over; a word after an unknown option is its value."""
    after_option = False
    for word in rest:
        if word.startswith("-") and word != "--":
            flag = word.partition("=")[0]
            yield Fault(flag, f"{command} has no such option", _nearest(flag.lstrip("-"), options, command))
        elif not after_option:
            right = option_for(word, command) or "write a value after its option: --listen :4999"
            yield Fault(word, "no option stands before it", right)
        after_option = word.startswith("-") and "=" not in word


def _nearest(name: str, options: dict[str, Option], command: str) -> str:
    if name in _PORT and "listen" in options:
        return "did you mean --listen :4999?"
    right = did_you_mean(name, options, "--{}")
    return right if right.startswith("did") else f"see ocr-tcp-lb {command} --help"


def option_for(word: str, command: str) -> str:
    """Return what to write for a word that looks like the value of an option of `command`; empty if it does not."""
    options = options_of(command)
    if "config" in options and word.endswith(".toml"):
        return f"write --config {word}"
    if "backend" in options and word.startswith(("http://", "https://")):
        return f"write --backend {word}"
    return ""


def explain(command: str) -> str:
    """Return the options of `command` for the help: grouped, one or two lines each, with their defaults."""
    lines: list[str] = []
    group = ""
    for option in options_of(command).values():
        if option.group != group:
            group = option.group
            lines += ["", f"{group}:"]
        lines += _explained(option)
    return "\n".join(lines)


def _explained(option: Option) -> list[str]:
    left = f"  --{option.name} {option.metavar or option.kind.metavar}"
    note = f"{option.help} [{option.shown_default}]" if option.shown_default else option.help
    indent = " " * 30
    wrapped = textwrap.wrap(note, 96, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(left) < len(indent) - 1:
        wrapped[0] = left.ljust(len(indent)) + wrapped[0].lstrip()
        return wrapped
    return [left, *wrapped]

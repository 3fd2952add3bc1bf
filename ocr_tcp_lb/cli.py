"""The front door: `main(argv)` runs one command and returns the exit code.

0: done as asked. 1: it ran, and not all is well (`run` and `demo` cut somebody off; `status`, `doctor`). 2: the
operator has something to correct, said on standard error, one line a fault. 130: Ctrl-C, where it does not mean to
drain. Any other exception is a mistake of ours and shows its traceback. Imports that a command does not need are left
to the commands that do, so that `check` and `--help` work even where the relay cannot.
"""

import sys
from collections.abc import Callable, Sequence

import ocr_tcp_lb
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.printing import make_standard_streams, put
from ocr_tcp_lb.settings import arguments, configfile, options
from ocr_tcp_lb.settings.faults import ConfigError, did_you_mean

USAGE_ERROR = 2  # what argparse, grep and HAProxy's -c use
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

_COMMANDS_HELP = """
Commands (run may be left out; each has its own --help):
  run                         serve
  demo                        three embedded workers on ports 5000 to 5002, and the balancer before them
  check                       validate, and print the effective configuration as TOML
  doctor                      examine the services: reachable, which path, how many at once; print a configuration
  status                      show a running balancer as a table; --watch goes on
  control WORD...             change a running balancer: drain, undrain, add, remove or weigh a backend; reload

Examples:
  ocr-tcp-lb --listen :4999 --backend http://127.0.0.1:5000/get_ocr --backend http://127.0.0.1:5001/ocr,weight=2
  ocr-tcp-lb check --config lb.toml
  ocr-tcp-lb demo
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the program's arguments) asks for; return the exit code."""
    make_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    command = words.pop(0) if words and not words[0].startswith("-") else "run"
    try:
        if command not in COMMANDS:
            right = arguments.option_for(command, "run") or did_you_mean(command, COMMANDS)
            raise LoadBalancerError(f"there is no command {command!r}; {right}")
        if "--version" in words:
            put(f"ocr-tcp-lb {ocr_tcp_lb.__version__}")
        elif {"-h", "--help"} & set(words):
            put(help_text(command))
        else:
            return COMMANDS[command](words)
    except ConfigError as error:
        _complain(error)
        return USAGE_ERROR
    except LoadBalancerError as error:
        print(f"ocr-tcp-lb: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def help_text(command: str) -> str:
    """Return the help of one command: what it is for, its options by group, and for `run` an example."""
    usage = f"usage: ocr-tcp-lb {'[run]' if command == 'run' else command} [OPTION...]"
    ending = _COMMANDS_HELP if command == "run" else ""
    about = "  --version, --help           say the version, or this"
    return f"{usage}\n\n{_SUMMARIES[command]}\n{arguments.explain(command)}\n{about}\n{ending}".rstrip()


def _complain(error: ConfigError) -> None:
    count = "1 fault" if len(error.faults) == 1 else f"{len(error.faults)} faults"
    print(f"ocr-tcp-lb: the configuration has {count}:", file=sys.stderr)
    for fault in error.faults:
        print(f"  {fault}", file=sys.stderr)


def _run(argv: Sequence[str]) -> int:
    config = options.load(argv, "run")
    from ocr_tcp_lb import app

    return app.run(config, load=lambda: options.load(argv, "run"))


def _control(argv: Sequence[str]) -> int:
    words, rest = _words_and_options(argv)
    config = options.load(rest, "control")
    from ocr_tcp_lb.control import VERBS, usage
    from ocr_tcp_lb.ops.admin.caller import call

    if not words:
        raise LoadBalancerError(f"control what? Write one of\n{usage()}")
    if words[0] not in VERBS:
        raise LoadBalancerError(f"control knows no {words[0]!r}; {did_you_mean(words[0], VERBS)}")
    put(call(config.admin, config.admin_token_file, words))
    return 0


def _words_and_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split `drain b1 --admin :4998`, in whatever order; each option here has a value."""
    words: list[str] = []
    rest: list[str] = []
    for word in argv:
        is_value = bool(rest) and rest[-1].startswith("--") and "=" not in rest[-1]
        if word.startswith("--") or is_value:
            rest.append(word)
        else:
            words.append(word)
    return words, rest


def _demo(argv: Sequence[str]) -> int:
    config = options.load(argv, "demo")
    from ocr_tcp_lb.demo import show

    return show.run(config)


def _check(argv: Sequence[str]) -> int:
    put(configfile.render(options.load(argv, "check")).rstrip())
    return 0


def _status(argv: Sequence[str]) -> int:
    config, own = options.load_with_own(argv, "status")
    from ocr_tcp_lb.ops import terminal
    from ocr_tcp_lb.ops.admin.caller import CallError, fetch_status

    try:
        if any(own.get("watch", ())):
            terminal.watch(lambda: fetch_status(config.admin, config.admin_token_file))
            return 0
        status = fetch_status(config.admin, config.admin_token_file)
        put(terminal.draw(status, coloured=sys.stdout.isatty()))
    except terminal.UnknownStatus as error:
        version = f"this version ({ocr_tcp_lb.__version__})"
        raise CallError(f"{config.admin} is not the admin address of a balancer of {version}") from error
    return 0 if status.get("is_ready") else 1


def _doctor(argv: Sequence[str]) -> int:
    config, own = options.load_with_own(argv, "doctor")
    from ocr_tcp_lb.ops.doctor import show

    return show.visit(config, "".join(own.get("sample", ())), configfile.render_backends)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "demo": _demo,
    "check": _check,
    "doctor": _doctor,
    "status": _status,
    "control": _control,
}

_SUMMARIES = {
    "doctor": "Examine services: reachable? which path? keep-alive? with --sample, how many at once? Then print\n"
    "a configuration to standard output. The exit code is 1 if one of them will not work as it is.",
    "status": "Show how a running balancer is. The exit code is 1 if it cannot serve.",
    "run": ocr_tcp_lb.__doc__.splitlines()[0] if ocr_tcp_lb.__doc__ else "",
    "demo": "Start three embedded workers and the balancer before them, to try it with curl.",
    "control": "Change a running balancer: control drain NAME, undrain NAME, add URL[,KEY=VALUE...], remove NAME,\n"
    "weight NAME NUMBER, or reload.",
    "check": "Validate the configuration of `run` and print the effective one as TOML. Nothing is started.",
}

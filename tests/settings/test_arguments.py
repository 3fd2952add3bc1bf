import pytest

from ocr_tcp_lb.settings import arguments
from ocr_tcp_lb.settings.configfile import Said
from ocr_tcp_lb.settings.faults import Fault
from ocr_tcp_lb.settings.table import options_of


def read(*argv: str, command: str = "run") -> tuple[dict[str, list[Said]], list[Fault]]:
    faults: list[Fault] = []
    return arguments.read(argv, command, faults), faults


def test_values_are_named_by_their_option() -> None:
    said, faults = read("--listen", ":1", "--policy=p2c")
    assert said == {"listen": [Said("--listen", ":1")], "policy": [Said("--policy", "p2c")]}
    assert not faults


def test_repeated_option_keeps_each_value_with_its_number() -> None:
    said, _ = read("--listen", ":1", "--listen", ":2")
    assert said["listen"] == [Said("--listen[1]", ":1"), Said("--listen[2]", ":2")]


def test_last_value_counts_where_one_is_wanted() -> None:
    said, faults = read("--policy", "queue", "--policy", "p2c")
    assert said["policy"] == [Said("--policy", "p2c")]
    assert not faults


def test_lone_flag_means_yes() -> None:
    assert read("--replay-post")[0]["replay-post"] == [Said("--replay-post", "true")]
    assert read("--replay-post", "--listen", ":1")[0]["replay-post"] == [Said("--replay-post", "true")]
    assert read("--replay-post", "no")[0]["replay-post"] == [Said("--replay-post", "no")]


def test_missing_value_is_reported_beside_the_rest() -> None:
    said, faults = read("--listen", "--policy", "p2c", "--queue-timeout")
    assert said == {"policy": [Said("--policy", "p2c")]}
    assert [str(fault) for fault in faults] == [
        "--listen: its value is missing; write --listen ADDRESS",
        "--queue-timeout: its value is missing; write --queue-timeout TIME",
    ]


def test_misspelt_option_names_the_nearest_and_keeps_its_value_to_itself() -> None:
    _, faults = read("--quue-size", "5", "--listn=:1")
    assert [str(fault) for fault in faults] == [
        "--quue-size: run has no such option; did you mean --queue-size?",
        "--listn: run has no such option; did you mean --listen?",
    ]


def test_abbreviated_option_is_not_guessed() -> None:
    said, faults = read("--poli", "p2c")
    assert not said
    assert faults[0].right == "did you mean --policy?"


def test_strange_option_points_to_the_help() -> None:
    assert read("-x")[1] == [Fault("-x", "run has no such option", "see ocr-tcp-lb run --help")]


def test_word_without_an_option_is_reported() -> None:
    assert [fault.where for fault in read(":4999")[1]] == [":4999"]


@pytest.mark.parametrize(
    ("command", "words", "right"),
    [
        ("check", ["lb.toml"], "write --config lb.toml"),
        ("run", ["--backend", "http://a", "http://b"], "write --backend http://b"),
        ("doctor", ["http://a/x"], "write --backend http://a/x"),
        ("status", ["lb.toml"], "write a value after its option: --listen :4999"),
        ("demo", ["http://a"], "write a value after its option: --listen :4999"),
    ],
)
def test_word_that_looks_like_a_value_is_told_its_option(command: str, words: list[str], right: str) -> None:
    assert read(*words, command=command)[1] == [Fault(words[-1], "no option stands before it", right)]


@pytest.mark.parametrize("flag", ["--port", "-p"])
def test_port_is_told_how_it_is_written_here(flag: str) -> None:
    assert read(flag, "4999")[1] == [Fault(flag, "run has no such option", "did you mean --listen :4999?")]
    assert read(flag, "4999", command="status")[1][0].right != "did you mean --listen :4999?"


def test_each_command_takes_its_own_options() -> None:
    assert read("--workers-from", "6000", command="demo")[0]
    assert read("--workers-from", "6000", command="run")[1]
    assert read("--backend", "http://a", command="demo")[1]


def test_help_names_every_option_of_a_command_with_its_default() -> None:
    text = arguments.explain("run")
    for option in options_of("run").values():
        assert f"  --{option.name} " in text
    assert "longest wait for a backend [60s]" in text
    assert "--workers-from" not in text
    assert max(map(len, text.splitlines())) <= 100

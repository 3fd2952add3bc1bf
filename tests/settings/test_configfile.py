from pathlib import Path

import pytest

from ocr_tcp_lb.settings import configfile
from ocr_tcp_lb.settings.configfile import Said
from ocr_tcp_lb.settings.faults import Fault


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, text: str | bytes) -> tuple[dict[str, list[Said]], list[Fault]]:
    (folder / "lb.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    faults: list[Fault] = []
    return configfile.read("lb.toml", faults), faults


def test_scalars_become_text_with_their_place(folder: Path) -> None:
    said, faults = read(folder, 'policy = "p2c"\nqueue_size = 5\nqueue-timeout = 0.5\nreplay-post = true\n')
    assert not faults
    assert {name: [(s.where, s.text) for s in entries] for name, entries in said.items()} == {
        "policy": [("lb.toml: policy", "p2c")],
        "queue-size": [("lb.toml: queue_size", "5")],
        "queue-timeout": [("lb.toml: queue-timeout", "0.5")],
        "replay-post": [("lb.toml: replay-post", "true")],
    }


def test_list_and_single_value_are_read_alike(folder: Path) -> None:
    assert [s.text for s in read(folder, 'listen = ":1"')[0]["listen"]] == [":1"]
    said = read(folder, 'listen = [":1", ":2"]')[0]["listen"]
    assert [(s.where, s.text) for s in said] == [("lb.toml: listen[1]", ":1"), ("lb.toml: listen[2]", ":2")]


def test_backend_tables_keep_the_place_of_each_key(folder: Path) -> None:
    said, _ = read(folder, '[[backend]]\nurl = "http://a"\n[[backend]]\nurl = "http://b"\nmax_idle = 2\n')
    second = said["backend"][1]
    assert second.where == "lb.toml: backend[2]"
    assert second.keys["max-idle"] == Said("lb.toml: backend[2].max_idle", "2")


def test_single_backend_table_is_answered_with_the_right_brackets(folder: Path) -> None:
    said, faults = read(folder, '[backend]\nurl = "http://a"\n')
    assert not said
    assert faults == [Fault("lb.toml: backend", "one table cannot stand for a list", "write [[backend]]")]


def test_key_in_both_spellings_is_reported(folder: Path) -> None:
    _, faults = read(folder, "queue-size = 1\nqueue_size = 2\n")
    assert [str(fault) for fault in faults] == ["lb.toml: queue_size: this says queue-size again; keep one of them"]


def test_syntax_error_names_its_line(folder: Path) -> None:
    _, faults = read(folder, "mode = 'http'\nlisten = :4999\n")
    assert faults[0].where == "lb.toml: line 2"
    assert "at line" not in faults[0].wrong
    assert 'listen = ":4999"' in faults[0].right


def test_syntax_error_at_the_end_says_so(folder: Path) -> None:
    assert read(folder, "mode = ")[1][0].where in ("lb.toml: line 1", "lb.toml: last line")
    assert read(folder, 'x = """a')[1][0].where == "lb.toml: last line"


@pytest.mark.parametrize(
    ("text", "wrong"), [("weight = " + 5000 * "[", "nested too deeply"), (f"retries = 0x{5000 * 'F'}", "too large")]
)
def test_what_is_beyond_all_bounds_is_a_fault_like_others(folder: Path, text: str, wrong: str) -> None:
    said, (fault,) = read(folder, text)
    assert not said
    assert wrong in fault.wrong


@pytest.mark.parametrize("text", ["", "\n", "# backends follow\n"])
def test_file_that_says_nothing_is_not_taken_for_the_defaults(folder: Path, text: str) -> None:
    assert [str(fault) for fault in read(folder, text)[1]] == [
        "lb.toml: this file says nothing; write what it is to say, or leave --config out"
    ]


def test_byte_order_mark_is_passed_over(folder: Path) -> None:
    said, faults = read(folder, b'\xef\xbb\xbfmode = "tcp"\n')
    assert (said["mode"][0].text, faults) == ("tcp", [])


def test_foreign_encoding_names_its_line(folder: Path) -> None:
    assert read(folder, b"mode = 'http'\n# caf\xe9\n")[1][0].where == "lb.toml: line 2"


@pytest.mark.parametrize("name", ["none.toml", ".", "a\0b"])
def test_unreadable_file_is_a_fault_of_the_option(folder: Path, name: str) -> None:
    faults: list[Fault] = []
    assert configfile.read(name, faults) == {}
    assert [(fault.where, fault.right) for fault in faults] == [("--config", "name a readable TOML file")]


def test_empty_lists_and_dates_are_reported(folder: Path) -> None:
    _, faults = read(folder, "listen = []\nqueue-timeout = 2020-01-01\nretries = [[1]]\n")
    assert [fault.where for fault in faults] == [
        "lb.toml: listen",
        "lb.toml: queue-timeout",
        "lb.toml: retries[1]",
    ]

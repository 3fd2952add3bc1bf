import contextlib
import tomllib
from collections.abc import Callable
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.config import BackendConfig, Config, FairBy, TcpAddress, TrustedProxies
from ocr_tcp_lb.settings import configfile, options
from ocr_tcp_lb.settings.faults import ConfigError
from ocr_tcp_lb.settings.table import OPTIONS, Option, options_of

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write `lb.toml` into the current directory and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "lb.toml").write_text(text)
        return "lb.toml"

    return write


def faults_of(*argv: str, command: str = "run") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        options.load(argv, command)
    return [str(fault) for fault in caught.value.faults]


def test_nothing_said_gives_the_defaults() -> None:
    assert options.load([]) == Config()


def test_every_field_of_the_configuration_has_an_option() -> None:
    config = Config()
    parts: dict[str, Any] = {"queue": config.queue, "timeouts": config.timeouts, "limits": config.limits}
    wanted = {f"{name}.{field.name}" for name, part in parts.items() for field in fields(part)}
    wanted |= {field.name for field in fields(Config)} - set(parts)
    put_together = {"listen", "backends"}
    not_an_option_yet = {"limits.head_fields"}
    assert wanted - put_together - not_an_option_yet == {row.place for row in OPTIONS if row.place}


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.place], ids=lambda option: option.name)
def test_every_option_is_shown_as_it_is_written(option: Option, write: Write) -> None:
    shown = option.shown_default
    if "backend" in shown:
        shown = "100"
    assert options.load([f"--{option.name}", shown]) == Config()
    assert options.load(["--config", write(f'{option.name} = "{shown}"')]) == Config()


def test_options_land_in_their_places() -> None:
    said = (
        "--mode tcp --policy p2c --queue-size 5 --queue-timeout 500ms --idle-timeout 2m --body-limit 8M "
        "--retries 0 --replay-post --access-log json --loop asyncio --listen [::1]:80 --listen :0"
    )
    config = options.load(said.split())
    assert (config.mode, config.policy, config.queue.size, config.queue.timeout_s) == ("tcp", "p2c", 5, 0.5)
    assert (config.timeouts.idle_s, config.limits.body_bytes, config.retries) == (120, 8 * 1024**2, 0)
    assert (config.replay_post, config.access_log, config.loop) == (True, "json", "asyncio")
    assert config.listen == (TcpAddress("::1", 80), TcpAddress("", 0))


def test_backends_are_read_with_their_keys() -> None:
    config = options.load(
        [
            "--backend",
            "http://a:1/x,name=gpu,weight=2.5,concurrency=4,max_idle=500ms",
            "--backend",
            "http://b",
        ]
    )
    assert config.backends == (
        BackendConfig("gpu", "a", 1, "/x", 2.5, 4, "", 0.5),
        BackendConfig("b2", "b", 80, "/"),
    )


def test_single_backend_has_the_name_that_it_says_or_the_given_one() -> None:
    assert options.read_backend("http://h:1/p, name=gpu", "b4", "auto").name == "gpu"
    assert options.read_backend("http://h:1/p,weight=2", "b4", "auto").name == "b4"


def test_concurrency_is_for_backends_that_do_not_say_their_own() -> None:
    argv = ["--concurrency", "2", "--backend", "http://a,concurrency=4", "--backend", "http://b"]
    learned = ["--backend", "http://c,concurrency=auto"]
    assert [backend.concurrency for backend in options.load(argv + learned).backends] == [4, 2, "auto"]
    assert {backend.concurrency for backend in options.load(["--concurrency", "3"]).backends} == {3}
    assert options.read_backend("http://h:1/p", "b4", 5).concurrency == 5
    assert options.read_backend("http://h:1/p,concurrency=auto", "b4", 5).concurrency == "auto"


def test_repeated_trust_adds_up_and_the_command_line_wins(write: Write) -> None:
    argv = ["--trusted-proxies", "10.0.0.0/8,unix", "--trusted-proxies", "::1,10.0.0.0/8"]
    trusted = options.load(argv).trusted_proxies
    assert trusted == TrustedProxies((ip_network("10.0.0.0/8"), ip_network("::1")), unix=True)
    name = write('trusted-proxies = ["10.0.0.0/8", "unix"]\nproxy-protocol = true\nmax-connections-per-client = 5\n')
    config = options.load(["--config", name])
    assert config.trusted_proxies == TrustedProxies((ip_network("10.0.0.0/8"),), unix=True)
    assert (config.proxy_protocol, config.limits.connections_per_client) == (True, 5)
    argv = ["--config", name, "--trusted-proxies", "none", "--proxy-protocol", "no"]
    assert options.load(argv).trusted_proxies == TrustedProxies()


def test_proxy_protocol_without_trusted_proxies_is_a_fault_where_it_was_asked_for(write: Write) -> None:
    wrong = "it asks for trusted proxies, and there are none; name them, as in --trusted-proxies 10.0.0.0/8 (or unix)"
    assert faults_of("--proxy-protocol") == [f"--proxy-protocol: {wrong}"]
    assert faults_of("--config", write("proxy_protocol = true\n")) == [f"lb.toml: proxy_protocol: {wrong}"]
    trusting = write('trusted-proxies = "unix"\n')
    assert options.load(["--proxy-protocol", "--config", trusting]).proxy_protocol
    assert faults_of("--proxy-protocol", "--trusted-proxies", "none", "--config", trusting) == [
        f"--proxy-protocol: {wrong}"
    ]


def test_proxies_that_cannot_be_read_are_one_fault_and_not_two() -> None:
    assert len(faults_of("--proxy-protocol", "--trusted-proxies", "10.0.0.1/8")) == 1


def test_backends_are_told_of_clients_by_the_version_they_want() -> None:
    argv = [
        word
        for end in ("a,send-proxy=v1", "b,send_proxy=v2", "c,send-proxy=off", "d")
        for word in ("--backend", f"http://{end}")
    ]
    assert [backend.send_proxy for backend in options.load(argv).backends] == [1, 2, None, None]
    assert faults_of("--backend", "http://a,send-proxy=v3") == [
        "--backend send-proxy: 'v3' is no version of the PROXY protocol; write v1 (text) or v2 (binary), or off"
    ]


def test_queue_has_16_places_a_backend_and_at_least_100_unless_told() -> None:
    assert options.load(["--backend", "http://a"]).queue.size == 100
    assert options.load(["--backend", "http://a", "--queue-size", "3"]).queue.size == 3
    assert options.load([]).queue.size == 100
    many = [word for port in range(10) for word in ("--backend", f"http://a:{5000 + port}")]
    assert options.load(many).queue.size == 160


def test_fair_by_names_what_tells_clients_apart() -> None:
    assert options.load(["--fair-by", "header:X-Api-Key"]).queue.fair_by == FairBy("header", "X-Api-Key")
    assert options.load(["--fair-by", "off"]).queue.fair_by == FairBy("off")
    for wrong in ("user", "header:", "header:a b", "X-Api-Key"):
        with pytest.raises(ConfigError, match="tells no clients apart"):
            options.load(["--fair-by", wrong])


def test_short_requests_have_a_head_start_unless_told() -> None:
    assert options.load([]).queue.order == "size"
    assert options.load(["--order", "fifo"]).queue.order == "fifo"


def test_file_is_read(write: Write) -> None:
    name = write('listen = ":1"\nqueue_timeout = 5\n[[backend]]\nurl = "http://a/x"\nconcurrency = 2\n')
    config = options.load(["--config", name])
    assert config.listen == (TcpAddress("", 1),)
    assert config.queue.timeout_s == 5
    assert config.backends == (BackendConfig("b1", "a", 80, "/x", concurrency=2),)


def test_file_may_name_backends_as_on_the_command_line(write: Write) -> None:
    name = write('backend = ["http://a/x,weight=2", "http://b"]\n')
    assert [backend.weight for backend in options.load(["--config", name]).backends] == [2, 1]


def test_command_line_wins_option_by_option(write: Write) -> None:
    name = write('listen = ":1"\npolicy = "p2c"\n[[backend]]\nurl = "http://a"\n')
    config = options.load(["--config", name, "--policy", "random", "--backend", "http://b", "--backend", "http://c"])
    assert config.policy == "random"
    assert config.listen == (TcpAddress("", 1),)
    assert [backend.host for backend in config.backends] == ["b", "c"]


def test_all_faults_of_both_sources_are_told_at_once(write: Write) -> None:
    name = write(
        'polcy = "queue"\nretries = [1, 2]\nconfig = "x"\n[timeouts]\nconnect = 3\n'
        '[[backend]]\nurl = "127.0.0.1:5000/x"\nweight = -1\n'
        "[[backend]]\nwieght = 1\nconcurrency = 0\n"
    )
    argv = [
        "--config",
        name,
        "--queue-timeout",
        "soon",
        "--quue-size",
        "3",
        "--listen",
        "--backend",
        "https://a",
    ]
    told = "\n".join(faults_of(*argv))
    for where in (
        "--queue-timeout: 'soon'",
        "--quue-size: run has no such option; did you mean --queue-size?",
        "--listen: its value is missing",
        "--backend: https://a asks for TLS",
        "lb.toml: polcy: there is no such key; did you mean policy?",
        "lb.toml: retries: a list cannot stand here",
        "lb.toml: config: there is no such key",
        "lb.toml: timeouts: there is no such key",
        "lb.toml: backend[1].url: 127.0.0.1:5000/x has no scheme; did you mean http://127.0.0.1:5000/x ?",
        "lb.toml: backend[1].weight: -1 is out of range",
        "lb.toml: backend[2].wieght: a backend has no such key; did you mean weight?",
        "lb.toml: backend[2].concurrency: '0'",
        "lb.toml: backend[2]: it has no url",
    ):
        assert where in told


def test_backends_with_one_name_or_one_url_are_refused() -> None:
    assert faults_of("--backend", "http://a/x", "--backend", "http://a:80/x,name=b1") == [
        "--backend[2]: the URL http://a:80/x is taken by --backend[1]; "
        "name it once: concurrency=N says how much it can take",
        "--backend[2]: the name b1 is taken by --backend[1]; give each backend a name of its own",
    ]


def test_one_host_written_in_two_cases_is_one_url() -> None:
    assert len(faults_of("--backend", "http://GPU/x", "--backend", "http://gpu/x")) == 1
    assert len(options.load(["--backend", "http://gpu/X", "--backend", "http://gpu/x"]).backends) == 2


def test_listening_twice_on_one_address_is_refused_but_not_on_any_free_port() -> None:
    assert faults_of("--listen", ":80", "--listen", ":80") == [
        "--listen[2]: the address :80 is taken by --listen[1]; name each address once"
    ]
    assert len(options.load(["--listen", ":0", "--listen", ":0"]).listen) == 2


@pytest.mark.parametrize(
    ("backend", "fault"),
    [
        ("http://a,weight", "--backend: 'weight' is not a key with its value; "),
        ("http://a,name=x,name=y", "--backend name: it is said twice; keep one of them"),
        ("http://a,http://b", "--backend: there is a second URL; repeat --backend: --backend http://b"),
        ("http://a, http://b/c=d", "--backend: there is a second URL; repeat --backend: --backend http://b/"),
        ("http://a,path=/x", '--backend path: the path is part of the url; write url = "http://HOST:PORT/PATH"'),
        ("http://a,wait=1", "--backend wait: a backend has no such key; "),
        ("http://a,weight=nan", "--backend weight: nan is not a number; "),
        (",name=x", "--backend: '' is not a URL; "),
    ],
)
def test_faults_in_a_backend_say_which_key(backend: str, fault: str) -> None:
    assert faults_of("--backend", backend)[0].startswith(fault)


@pytest.mark.parametrize("line", ['listen = ":4999"', 'listen = [":4999", ":5000"]', "listen = 2020-01-01"])
def test_option_behind_the_backends_is_told_where_it_belongs(line: str, write: Write) -> None:
    """The classic trap of TOML: what follows a table's head is in the table."""
    assert faults_of("--config", write(f'[[backend]]\nurl = "http://a"\n{line}\n')) == [
        "lb.toml: backend[1].listen: listen belongs to the whole program; move it above the first [[backend]]"
    ]


def test_option_among_the_keys_of_a_backend_is_told_where_it_belongs() -> None:
    assert faults_of("--backend", "http://a,retries=1") == [
        "--backend retries: retries belongs to the whole program; write it as an option: --retries"
    ]


def test_table_where_one_value_belongs_is_refused(write: Write) -> None:
    assert faults_of("--config", write("[policy]\nname = 'p2c'\n"))[0].startswith("lb.toml: policy: a table")


def test_missing_file_is_told_beside_other_faults() -> None:
    told = faults_of("--config", "none.toml", "--retries", "x")
    assert len(told) == 2
    assert any("cannot read none.toml: No such file" in fault for fault in told)


def test_demo_moves_its_workers_to_other_ports() -> None:
    backends = options.load(["--workers-from", "6000"], "demo").backends
    assert [(backend.port, backend.path) for backend in backends] == [
        (6000, "/get_ocr_api"),
        (6001, "/get_ocr"),
        (6002, "/get_ocr_api"),
    ]


def said(option: Option) -> st.SearchStrategy[list[str]]:
    """Return arguments that set one option, to values of all kinds: a few it takes, most it refuses."""
    texts = [option.shown_default, "1", "5", "2m", "64KiB", "p2c", "json", "asyncio", "tcp", "yes", "::1,10.0.0.0/8"]
    return st.sampled_from(texts).map(lambda text: [f"--{option.name}", text])


SCALARS = [option for option in options_of("run").values() if option.place]
HOSTS = st.sampled_from(["127.0.0.1", "[::1]", "localhost", "gpu-1.example"])
BACKENDS = st.builds(
    "http://{}:{}/{},weight={},concurrency={},max-idle={}s,send-proxy={}".format,
    HOSTS,
    st.integers(1, 65535),
    st.sampled_from(["", "x", "a/b%20c", "get_ocr;v=1"]),
    st.floats(0.001, 1000),
    st.just("auto") | st.integers(1, 99),
    st.integers(0, 9),
    st.sampled_from(["v1", "v2", "off"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scalars=st.lists(st.sampled_from(SCALARS).flatmap(said), max_size=5),
    backends=st.lists(BACKENDS, max_size=4),
)
def test_effective_configuration_reads_back_as_itself(
    tmp_path: Path, scalars: list[list[str]], backends: list[str]
) -> None:
    argv = [word for pair in scalars for word in pair]
    argv += [word for backend in backends for word in ("--backend", backend)]
    try:
        config = options.load(argv)
    except ConfigError:
        return
    text = configfile.render(config)
    tomllib.loads(text)
    (tmp_path / "lb.toml").write_text(text)
    assert options.load(["--config", str(tmp_path / "lb.toml")]) == config


TOML_TEXTS = ['"x"', "1", "-1", "0.5", "nan", "true", "[]", "[1]", "{}", "{a=1}", "[[]]", "2020-01-01"]
TOML_VALUES = st.sampled_from(TOML_TEXTS)
KEYS = st.sampled_from([*options_of("run"), "queue_size", "backends", "zzz"])
BACKEND_KEYS = st.sampled_from(["url", "name", "weight", "zzz"])
FLAGS = st.sampled_from([f"--{name}" for name in options_of("run") if name != "config"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    argv=st.lists(FLAGS | st.text()),
    table=st.dictionaries(KEYS, TOML_VALUES, max_size=4),
    keys=st.dictionaries(BACKEND_KEYS, TOML_VALUES),
)
def test_whatever_is_said_is_loaded_or_told_as_faults(
    tmp_path: Path, argv: list[str], table: dict[str, str], keys: dict[str, str]
) -> None:
    lines = [f"{name} = {value}" for name, value in table.items()]
    if "backend" not in table:
        lines += ["[[backend]]", *(f"{name} = {value}" for name, value in keys.items())]
    (tmp_path / "lb.toml").write_text("\n".join(lines))
    with contextlib.suppress(ConfigError):
        assert isinstance(options.load(["--config", str(tmp_path / "lb.toml"), *argv]), Config)

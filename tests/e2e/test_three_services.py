"""Three Flask services that don't agree on their path, behind one port."""

import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from e2e.conftest import PATHS, StartBalancer
from e2e.processes import Balancer

ASKED = ("/get_ocr", "/get_ocr_api", "/")
# Each is legal in a query (RFC 3986 section 3.4), or sent by browsers all the same; none may be touched.
QUERIES = ("", "a=1&a=2", "q=%7e%7E%c3%A4", "q=a+b%20c", "u=http://x/y?z", "=&&=;", "?", "p=/../..//", "%", "{|}^`\\")


@pytest.fixture
def balancer(start_balancer: StartBalancer, trio: list[str], loop_name: str) -> Balancer:
    return start_balancer(trio, "--loop", loop_name)


def get(balancer: Balancer, targets: list[str]) -> list[dict[str, str]]:
    """Ask for the targets on one connection; they are sent as they stand."""
    connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=20)
    answers = []
    for target in targets:
        connection.request("GET", target)
        reply = connection.getresponse()
        content = reply.read()
        assert reply.status == 200, (target, content)
        answers.append(json.loads(content))
    connection.close()
    return answers


def test_300_requests_to_any_of_the_paths_are_served_by_all_three(balancer: Balancer) -> None:
    with ThreadPoolExecutor(10) as pool:
        batches = pool.map(lambda _: get(balancer, [*ASKED] * 10), range(10))
        answers = [answer for batch in batches for answer in batch]
    assert len(answers) == 300
    for answer in answers:
        assert urlsplit(answer["target"]).path == PATHS[int(answer["service"][1:])]
    served = Counter(answer["service"] for answer in answers)
    assert set(served) == {"s0", "s1", "s2"}  # how many each: whoever is faster on a busy machine gets more


def test_query_strings_arrive_byte_for_byte(balancer: Balancer) -> None:
    for query in QUERIES:
        for answer in get(balancer, [f"{path}?{query}" for path in ASKED]):
            assert answer["target"].partition("?")[2] == query


@pytest.mark.parametrize("policy", ["queue", "round-robin", "random", "least-outstanding", "p2c", "peak-ewma"])
def test_every_policy_serves(start_balancer: StartBalancer, trio: list[str], policy: str) -> None:
    balancer = start_balancer(trio, "--policy", policy)
    assert len(get(balancer, ["/"] * 12)) == 12


def test_tcp_mode_carries_whole_connections(start_balancer: StartBalancer, trio: list[str], loop_name: str) -> None:
    balancer = start_balancer([trio[0]], "--mode", "tcp", "--loop", loop_name)
    answers = get(balancer, [PATHS[0]] * 3)
    assert [answer["service"] for answer in answers] == ["s0"] * 3
    assert answers[0]["forwarded_for"] == ""  # not a byte was changed

from ocr_tcp_lb.wire import RequestParser
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import MAX_WRITTEN
from ocr_tcp_lb.wire.plans import ReplyPlan, RequestPlan
from ocr_tcp_lb.wire.shapes import cells_of

from .samples import HOP, TRUSTED, request


def test_a_layout_is_made_once_for_each_kind_of_exchange() -> None:
    plan = RequestPlan(b"GET", 1, (b"Host",), frozenset(), Framing.NONE, True, False, b"", True)
    assert plan.lay_out(True, False, False) is plan.layouts[1]
    assert plan.lay_out(False, True, True) is plan.layouts[6]
    assert sum(layout is not None for layout in plan.layouts) == 2


def test_a_layout_writes_cells_into_its_format() -> None:
    plan = ReplyPlan(200, 1, b"OK", (b"A", b"Connection"), frozenset(), Framing.LENGTH, True, True, b"")
    layout = plan.lay_out(False, False, False)
    assert layout.format % layout.pick(cells_of([b"1", b"close"])) == b"HTTP/1.1 200 OK\r\nA: 1\r\n"


def test_a_layout_without_cells_is_one_too() -> None:
    plan = ReplyPlan(200, 1, b"100 % OK", (b"Connection",), frozenset(), Framing.LENGTH, True, True, b"")
    layout = plan.lay_out(False, False, False)
    assert layout.format % layout.pick(cells_of([b"close"])) == b"HTTP/1.1 200 100 % OK\r\n"


def test_a_repeated_head_is_written_anew_for_each_client_target_and_request() -> None:
    parser = RequestParser()
    raw = request(b"X-Forwarded-For: 1.1.1.1", start=b"GET / HTTP/1.1")
    head = parser.parse(raw)
    assert parser.parse(raw) is head
    for hop in (HOP, TRUSTED):
        for target in (b"/a", b"/b"):
            for request_id in (b"one", b"two"):
                fresh = RequestParser(shapes=0).parse(raw)
                assert head.forwarded(target, hop, request_id) == fresh.forwarded(target, hop, request_id)


def test_what_a_repeated_head_remembers_is_bounded() -> None:
    head = RequestParser().parse(request(start=b"GET / HTTP/1.1"))
    for number in range(3 * MAX_WRITTEN):
        target = b"/%d" % number
        assert head.forwarded(target, HOP, b"i").startswith(b"GET %b HTTP/1.1\r\n" % target)
        assert head._written is not None
        assert 0 < len(head._written) <= MAX_WRITTEN


def test_trust_is_told_per_request_not_per_shape() -> None:
    parser = RequestParser()
    raw = request(b"X-Forwarded-For: 1.1.1.1")
    heads = [parser.parse(raw).forwarded(b"/", hop, b"i") for hop in (HOP, TRUSTED, HOP)]
    assert heads[0] == heads[2]
    assert b"X-Forwarded-For: 1.1.1.1, 192.0.2.7" in heads[1]
    assert b"1.1.1.1" not in heads[0]

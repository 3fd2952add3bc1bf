from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_reply, bad_request


def test_each_error_knows_its_side_and_its_answer() -> None:
    client, backend = bad_request("no"), bad_reply("no")
    assert (client.side, client.status, client.code) == ("client", 400, "bad_request")
    assert (backend.side, backend.status, backend.code) == ("backend", 502, "bad_reply")
    assert isinstance(client, LoadBalancerError)


def test_an_error_prints_what_it_carries() -> None:
    assert repr(RequestError(431, "head_too_large", "too much")) == "<RequestError 431 head_too_large: too much>"
    assert str(ReplyError(502, "bad_reply", "nonsense")) == "nonsense"

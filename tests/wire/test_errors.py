from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request


def test_a_clients_mistake_knows_its_answer() -> None:
    error = bad_request("no")
    assert (error.status, error.code, error.message) == (400, "bad_request", "no")
    assert isinstance(error, LoadBalancerError)


def test_a_backends_mistake_answers_nothing_by_itself() -> None:
    error = ReplyError("nonsense")
    assert error.message == str(error) == "nonsense"
    assert not hasattr(error, "status")
    assert isinstance(error, LoadBalancerError)


def test_an_error_prints_what_it_carries() -> None:
    assert repr(RequestError(431, "head_too_large", "too much")) == "<RequestError 431 head_too_large: too much>"

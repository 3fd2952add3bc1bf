from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.settings.faults import BadValue, ConfigError, Fault, did_you_mean


def test_fault_reads_where_wrong_right() -> None:
    assert str(Fault("lb.toml: mode", "'htp' is not known", "did you mean http?")) == (
        "lb.toml: mode: 'htp' is not known; did you mean http?"
    )


def test_fault_without_advice_ends_after_what_is_wrong() -> None:
    assert str(Fault("--mode", "it is missing")) == "--mode: it is missing"


def test_error_lists_all_faults_in_order() -> None:
    error = ConfigError([Fault("a", "x"), Fault("b", "y")])
    assert isinstance(error, LoadBalancerError)
    assert str(error) == "a: x\nb: y"
    assert [fault.where for fault in error.faults] == ["a", "b"]


def test_refused_value_becomes_a_fault_of_its_place() -> None:
    assert BadValue("no", "yes").at("--mode") == Fault("--mode", "no", "yes")


def test_misspelt_name_is_answered_with_the_nearest() -> None:
    assert did_you_mean("polcy", ["policy", "mode"]) == "did you mean policy?"
    assert did_you_mean("polcy", ["policy", "mode"], "--{}") == "did you mean --policy?"


def test_strange_name_is_answered_with_all() -> None:
    assert did_you_mean("zzz", ["policy", "mode"]) == "known are policy, mode"

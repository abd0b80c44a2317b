"""The outputs of the suites are parsed correctly, and misses are counted. The suites are not in the repository."""

from pathlib import Path

from suites import memcached_suite, redis_py_suite, redis_suite
from suites.comparison import NOT_RUN, PASSED, Comparison, LeftOut, Miss

TCL = """\
[ready]: 29013
[testing]: SET and GET
[ok]: SET and GET (12 ms)
[ignore]: a test of replicas: Tag: needs:repl denied
[err]: GET in a row in tests/unit/type/string.tcl
Expected 'bar' to be equal to 'foo'
[ok]: SET and GET (3 ms)
[exception]: Executing test client: I/O error reading reply.
"""
PERL = """\
1..4
ok 1 - socket /tmp/memcachetest4711
not ok 2 - same value
#   Failed test 'same value'
#   at t/x.t line 7.
#          got: 'a'
#     expected: 'b'
ok 3
ok 4 # skip too old
ok 5 - nfoo1 == 'HTIVJCFFOQFUYZJGDYDOUXDYFXLRSUKNGJOLVHJVQFNEWZVQFTNEEXOTDPVMFSHQZKRQ'
"""
XML = """\
<testsuites><testsuite>
<testcase classname="tests.test_lock.TestLock" name="test_lock"/>
<testcase classname="tests.test_lock.TestLock" name="test_extend">
<failure message="assert 1 == 2&#10;more">...</failure></testcase>
<testcase classname="tests.test_lock" name="test_new"><skipped message="version"/></testcase>
<testcase classname="tests.test_lock" name="test_broken"><error message="no fixture"/></testcase>
</testsuite></testsuites>
"""


def test_output_of_the_suite_of_redis() -> None:
    assert redis_suite.outcomes(TCL) == {
        "SET and GET": PASSED,
        "GET in a row": "Expected 'bar' to be equal to 'foo'",
        "SET and GET #2": PASSED,
        "the whole file": "it ended early: Executing test client: I/O error reading reply.",
    }


def test_output_of_the_suite_of_memcached() -> None:
    assert memcached_suite.outcomes(PERL) == {
        "socket /tmp/memcachetest": PASSED,
        "same value": "failed, got 'a', expected 'b'",
        "without a name": PASSED,
        "nfoo1 == 'random data'": PASSED,
    }


def test_report_of_the_suite_of_redis_py(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(XML)
    assert redis_py_suite.outcomes(report) == {
        "TestLock::test_lock": PASSED,
        "TestLock::test_extend": "assert 1 == 2",
        "test_lock::test_broken": "no fixture",
    }


def test_what_passes_directly_only_is_a_miss() -> None:
    comparison = Comparison([LeftOut("b*", "inside *", "it looks inside"), LeftOut("c", "*", "it is slow")])
    assert not comparison.add("a", {"one": PASSED, "two": PASSED, "three": "broken"}, {"one": PASSED, "two": "late"})[
        1:
    ]
    assert comparison.add("b", {"inside 1": PASSED, "four": PASSED}, {"inside 1": "no"}) == [Miss("b", "four", NOT_RUN)]
    assert comparison.misses == [Miss("a", "two", "late"), Miss("b", "four", NOT_RUN)]
    assert comparison.ignored == {"it looks inside": 1}
    assert (comparison.direct, round(comparison.percentage)) == (3, 33)
    assert comparison.is_left_out("c") == "it is slow"
    assert not comparison.is_left_out("b")

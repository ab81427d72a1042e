"""What the load generator is told, and how its output is read."""

import re
from pathlib import Path

import pytest

from tests.bench.load import LoadError, parse, script

LINE = (
    'bench-result {"requests":150,"duration_us":2000000,"connect":0,"read":0,"write":0,'
    '"timeout":0,"status":0,"p50_us":1500,"p99_us":7250,"max_us":9000}'
)
OUTPUT = f"""Running 2s test @ http://127.0.0.1:1/v1/models/m:predict
  1 threads and 8 connections
  150 requests in 2.00s, 18.52KB read
Requests/sec:     75.00
{LINE}
"""


def test_results_are_read_from_the_line_of_the_script() -> None:
    load = parse(OUTPUT, generator_cpu_s=0.5)
    assert load.requests == 150
    assert load.requests_per_s == 75
    assert (load.p50_ms, load.p99_ms, load.max_ms) == (1.5, 7.25, 9)
    assert load.generator_cpu_s == 0.5
    assert load.problems() == []


@pytest.mark.parametrize("kind", ["connect", "read", "write", "timeout", "status"])
def test_any_error_makes_the_measurement_doubtful(kind: str) -> None:
    load = parse(OUTPUT.replace(f'"{kind}":0', f'"{kind}":3'))
    assert [re.match("3 ", problem) is not None for problem in load.problems()] == [True]


def test_a_load_without_answers_is_a_problem() -> None:
    load = parse(OUTPUT.replace('"requests":150', '"requests":0'))
    assert load.problems() == ["no request was answered"]
    assert load.requests_per_s == 0


@pytest.mark.parametrize(
    "output",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused",
        OUTPUT + LINE,
        OUTPUT.replace('"p99_us":7250,', ""),
        OUTPUT.replace("7250", "nan"),
        "bench-result []",
    ],
)
def test_unreadable_output_is_refused(output: str) -> None:
    with pytest.raises(LoadError):
        parse(output)


def test_the_script_quotes_the_path_and_prints_the_line_that_is_read() -> None:
    lua = script(Path('/a "quoted" directory/body.json'), [("X-Name", "a value")])
    assert 'io.open("/a \\"quoted\\" directory/body.json", "rb")' in lua
    assert 'wrk.headers["X-Name"] = "a value"' in lua
    names = re.findall(r'"(\w+)":%d', lua)
    line = ",".join(f'"{name}":1' for name in names)
    assert parse(f"bench-result {{{line}}}").requests == 1

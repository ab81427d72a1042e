"""The page about perf_analyzer and Triton."""

from tests.bench.candidates import DIRECT, NGINX, SIDECAR, known
from tests.bench.triton import LOADS, Found, Measured, page


def measured(per_s: float, cpu_us: float) -> Measured:
    return Measured(
        requests_per_s=per_s,
        p50_ms=1,
        p99_ms=2,
        proxy_cpu_us=cpu_us,
        triton_cpu_us=50,
        rows_per_call=1,
    )


def test_the_page_has_medians_and_ratios_of_the_pairs() -> None:
    candidates = [one for one in known({}) if one.key in {DIRECT, NGINX, SIDECAR}]
    found: Found = {}
    for number, _ in enumerate(LOADS):
        found[number, DIRECT] = [measured(10, 0), measured(20, 0), measured(40, 0)]
        found[number, NGINX] = [measured(10, 100)] * 3
        found[number, SIDECAR] = [measured(50, 150), measured(60, 150), measured(80, 150)]

    text = page(found, candidates, 3, 6)

    assert all(f"## {load.title}\n" in text for load in LOADS)
    assert "| Triton alone | 20.0 (10.0\N{EN DASH}40.0) |" in text
    assert "requests/s 3.00 (2.00\N{EN DASH}5.00) times those of Triton alone" in text
    assert "CPU 1.50 times that of nginx, plain proxy" in text
    assert "CPU 0" not in text

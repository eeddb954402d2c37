import os
import re
from pathlib import Path

import pytest

from fhir_server import metrics
from fhir_server.metrics import Meter

pytestmark = pytest.mark.standard("Prometheus text format 0.0.4")

SAMPLE = re.compile(r"[a-z_]+(\{([a-z_]+=\"[^\"]*\",?)*\})? [0-9.e+-]+")


def values(data_dir: Path) -> dict[str, float]:
    lines = metrics.exposition(data_dir).decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in samples}


def test_requests_of_all_processes_are_added_up(tmp_path: Path) -> None:
    one, two = Meter(tmp_path, "http", 0), Meter(tmp_path, "http", 1)
    one.count("read", 200, 0.002)
    two.count("read", 200, 0.3)
    two.count("read", 404, 0.002)

    found = values(tmp_path)

    assert found['isocentre_requests_total{interaction="read",status="200"}'] == 2
    assert found['isocentre_requests_total{interaction="read",status="404"}'] == 1
    assert found['isocentre_request_seconds_count{interaction="read"}'] == 3
    assert found['isocentre_request_seconds_sum{interaction="read"}'] == pytest.approx(0.304)


def test_buckets_count_all_that_is_faster(tmp_path: Path) -> None:
    meter = Meter(tmp_path, "http", 0)
    for seconds in (0.0005, 0.001, 0.004, 60.0):
        meter.count("search", 200, seconds)

    found = values(tmp_path)

    def bucket(bound: str) -> float:
        return found[f'isocentre_request_seconds_bucket{{interaction="search",le="{bound}"}}']

    assert (bucket("0.001"), bucket("0.005"), bucket("10.0"), bucket("+Inf")) == (2, 3, 3, 4)


def test_a_process_started_again_goes_on_counting(tmp_path: Path) -> None:
    Meter(tmp_path, "http", 0).count("create", 201, 0.01)
    Meter(tmp_path, "http", 0).count("create", 201, 0.01)

    found = values(tmp_path)

    assert found['isocentre_requests_total{interaction="create",status="201"}'] == 2


def test_what_nobody_listed_is_counted_as_other(tmp_path: Path) -> None:
    Meter(tmp_path, "http", 0).count("/fhir/Patient/9434765919", 299, 0.01)

    assert values(tmp_path)['isocentre_requests_total{interaction="unknown",status="other"}'] == 1


def test_memory_and_processor_time_of_living_processes_are_told(tmp_path: Path) -> None:
    Meter(tmp_path, "worker", 0)

    found = values(tmp_path)

    assert found['isocentre_process_resident_memory_bytes{role="worker",slot="0"}'] > 1_000_000
    assert found['isocentre_process_cpu_seconds_total{role="worker",slot="0"}'] > 0
    assert os.getpid() > 0


def test_a_server_that_starts_begins_from_nothing(tmp_path: Path) -> None:
    Meter(tmp_path, "http", 0).count("read", 200, 0.01)

    metrics.clear(tmp_path)

    assert values(tmp_path) == {}


def test_what_subscribers_are_sent_is_counted_by_channel(tmp_path: Path) -> None:
    meter = metrics.Meter(tmp_path, "worker", 0)
    meter.count("rest-hook:sent", 200, 0.02)
    meter.count("rest-hook:sent", 0, 5.0)
    meter.count("rest-hook:lag", 200, 0.2)
    lines = metrics.exposition(tmp_path).decode().splitlines()

    assert 'isocentre_notifications_total{channel="rest-hook",status="200"} 1' in lines
    assert 'isocentre_notifications_total{channel="rest-hook",status="other"} 1' in lines
    assert 'isocentre_notification_lag_seconds_count{channel="rest-hook"} 1' in lines
    assert not [line for line in lines if "isocentre_requests_total{" in line]

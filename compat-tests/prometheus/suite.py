"""Metrics of $OTTLA_BIN, as a Prometheus sees them and as the Grafana dashboard asks for them."""

import json
import math
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import TIMEOUT_S, eventually, run_tests

WORK = pathlib.Path(sys.argv[1])
ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "grafana/ottla.json").read_text())
SCRAPE_INTERVAL_S = 1
ROUNDS = 3 if os.environ.get("SHORT") else 5
RECORDS_PER_ROUND = 1_000
TOPICS = ("prometheus-a", "prometheus-b")
GROUP = "prometheus-group"
VARIABLES = {"instance": ".+", "topic": ".+", "consumergroup": ".+", "__rate_interval": "1m"}
processes = []


def start(name, command, **options):
    with open(WORK / f"{name}.err", "wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr, **options)
    processes.append(process)
    return process


def said(name):
    return (WORK / f"{name}.err").read_text(errors="replace")[-3000:]


def get(url, **query):
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=TIMEOUT_S) as answer:
        return answer.read().decode()


class Broker:
    def start(self):
        # It takes every KAFKA_ and OTTLA_ variable for a setting.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "OTTLA_"))} | {
            "KAFKA_LOG_DIRS": str(WORK / "data"),
            "KAFKA_LISTENERS": "PLAINTEXT://127.0.0.1:0",
            "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "OTTLA_METRICS_LISTENER": "127.0.0.1:0",
        }
        self.process = start("broker", [os.environ["OTTLA_BIN"], "server"], env=env, stdout=subprocess.PIPE)
        readable, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S)
        line = self.process.stdout.readline().decode() if readable else ""
        ready = dict(word.split("=", 1) for word in line.split()[1:])
        assert line.startswith("ready ") and ready["metrics"], f"not ready: {line!r}\n{said('broker')}"
        self.address = ready["listeners"].removeprefix("PLAINTEXT://")
        self.metrics = ready["metrics"]

    def scrape(self):
        return get(f"http://{self.metrics}/metrics")

    def kcat(self, *options, stdin=None):
        command = ["kcat", "-b", self.address, "-X", "message.timeout.ms=20000", *options]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=2 * TIMEOUT_S)


class Prometheus:
    def start(self, target):
        config = WORK / "prometheus.yml"
        scrape = {"job_name": "ottla", "static_configs": [{"targets": [target]}]}
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": f"{SCRAPE_INTERVAL_S}s"}, "scrape_configs": [scrape]}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{address}/api/v1"
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={WORK}/tsdb", f"--web.listen-address={address}"]
        self.process = start("prometheus", command, stdout=subprocess.DEVNULL)
        eventually(self.is_ready)

    def is_ready(self):
        assert self.process.poll() is None, said("prometheus")
        try:
            get(self.url.replace("/api/v1", "/-/ready"))
            return True
        except OSError:
            return False

    def ask(self, path, **query):
        try:
            return json.loads(get(f"{self.url}/{path}", **query))["data"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{query}: {refused.read().decode()}") from None

    def query(self, expression):
        """[(labels, value)], without those that are no number."""
        result = self.ask("query", query=expression)["result"]
        samples = [(sample["metric"], float(sample["value"][1])) for sample in result]
        return [(labels, value) for labels, value in samples if math.isfinite(value)]

    def value(self, expression):
        samples = self.query(expression)
        assert len(samples) == 1, f"{expression}: {samples}"
        return samples[0][1]

    def await_scrapes(self, count):
        """Waits for scrapes that begin after this call."""
        since = time.time()
        expression = "count_over_time(up[1h]) and timestamp(up) > %f"
        before = sum(value for _, value in self.query("count_over_time(up[1h])"))
        eventually(lambda: any(value >= before + count for _, value in self.query(expression % since)))


broker, prometheus = Broker(), Prometheus()


def scrape():
    broker.start()
    prometheus.start(broker.metrics)
    prometheus.await_scrapes(2)
    assert prometheus.value("up") == 1


def traffic():
    """Some of everything, in rounds with scrapes in between: a rate needs two samples of a series."""
    (WORK / "large").write_bytes(b"x" * 1_100_000)
    lines = "".join(f"{number}\n" for number in range(RECORDS_PER_ROUND)).encode()
    for _ in range(ROUNDS):
        for topic in TOPICS:
            sent = broker.kcat("-P", "-t", topic, stdin=lines)
            assert sent.returncode == 0, sent.stderr.decode()
            read = broker.kcat("-q", "-C", "-t", topic, "-o", "beginning", "-e", "-X", "fetch.wait.max.ms=20")
            assert read.returncode == 0, read.stderr.decode()
        consumed = broker.kcat("-q", "-G", GROUP, "-c", str(RECORDS_PER_ROUND // 2), "-X", "auto.offset.reset=earliest", TOPICS[0])
        assert consumed.returncode == 0, consumed.stderr.decode()
        missing = broker.kcat("-C", "-t", "prometheus-missing", "-e", "-X", "allow.auto.create.topics=false")
        assert b"Unknown topic or partition" in missing.stderr, missing.stderr.decode()
        large = broker.kcat("-P", "-t", TOPICS[0], "-X", "message.max.bytes=3000000", WORK / "large")
        assert b"Message size too large" in large.stderr, large.stderr.decode()
        prometheus.await_scrapes(1)
    prometheus.await_scrapes(1)


# Gauges that kafka_exporter has called so; its dashboards ask for them.
EXPORTER_NAMES = {"kafka_consumergroup_current_offset_sum", "kafka_consumergroup_lag_sum"}


def promtool_metrics():
    checked = subprocess.run(["promtool", "check", "metrics"], input=broker.scrape().encode(), capture_output=True, timeout=TIMEOUT_S)
    complaints = [line for line in checked.stderr.decode().splitlines() if line and line.split()[0] not in EXPORTER_NAMES]
    assert not complaints, complaints


def promtool_config():
    command = ["promtool", "check", "config", ROOT / "docker/prometheus.yml"]
    checked = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S)
    assert checked.returncode == 0, checked.stderr.decode()


def figures():
    """What must be told after such traffic."""
    records = ROUNDS * RECORDS_PER_ROUND
    for topic in TOPICS:
        of_topic = f'{{topic="{topic}",partition="0"}}'
        assert prometheus.value(f"ottla_log_start_offset{of_topic}") == 0
        assert prometheus.value(f"ottla_log_end_offset{of_topic}") == records
        assert prometheus.value(f"ottla_high_watermark_offset{of_topic}") == records
        assert prometheus.value(f"ottla_raft_is_leader{of_topic}") == 1
        assert prometheus.value(f"ottla_raft_term{of_topic}") >= 0
        assert prometheus.value(f"ottla_log_segments{of_topic}") == 1
    on_disk = sum(path.stat().st_size for path in (WORK / "data").rglob("prometheus-*/*.log"))
    assert prometheus.value('sum(ottla_log_size_bytes{topic=~"prometheus-.*"})') == on_disk, on_disk
    # The topic of committed offsets is one more.
    assert prometheus.value("ottla_topics") == prometheus.value("ottla_partitions") == len(TOPICS) + 1
    assert prometheus.value("kafka_brokers") == 1
    of_group = f'{{consumergroup="{GROUP}"}}'
    consumed = ROUNDS * (RECORDS_PER_ROUND // 2)
    assert prometheus.value(f"kafka_consumergroup_current_offset{of_group}") == consumed
    assert prometheus.value(f"kafka_consumergroup_lag{of_group}") == records - consumed
    assert prometheus.value(f"ottla_consumergroup_lag_records{of_group}") == records - consumed
    assert 0 < prometheus.value(f"ottla_consumergroup_lag_seconds_max{of_group}") < 600
    assert prometheus.value(f"kafka_consumergroup_members{of_group}") == 0
    assert prometheus.value("ottla_connections") == 0
    payload = ROUNDS * len(TOPICS) * sum(len(str(number)) for number in range(RECORDS_PER_ROUND))
    assert prometheus.value("ottla_network_received_bytes_total") > payload
    assert prometheus.value("ottla_network_sent_bytes_total") > payload * (ROUNDS + 1) / 2
    # What is written and acknowledged, the refused not counted.
    assert prometheus.value("ottla_log_fsync_bytes_total") >= on_disk
    appends = prometheus.value("ottla_log_fsync_batch_appends_sum")
    assert appends >= ROUNDS * len(TOPICS), appends
    assert prometheus.value("ottla_log_fsync_batch_appends_count") == prometheus.value("ottla_log_fsync_duration_seconds_count") <= appends
    for api in ("ApiVersions", "Metadata", "Produce", "Fetch"):
        count = prometheus.value(f'ottla_requests_total{{api="{api}"}}')
        assert count >= ROUNDS * len(TOPICS), f"{api}: {count}"
        assert prometheus.value(f'ottla_request_duration_seconds_count{{api="{api}"}}') == count


def errors():
    """Every refused request is told, by the name of its error."""
    for api, error in (("Metadata", "UNKNOWN_TOPIC_OR_PARTITION"), ("Produce", "MESSAGE_TOO_LARGE")):
        count = prometheus.value(f'ottla_request_errors_total{{api="{api}",error="{error}"}}')
        assert count >= ROUNDS, f"{api} {error}: {count}"


def panels():
    nested = [panel.get("panels", []) for panel in DASHBOARD["panels"]]
    return [panel for panel in sum(nested, DASHBOARD["panels"]) if panel["type"] != "row"]


def substituted(expression):
    for name, value in VARIABLES.items():
        expression = re.sub(rf"\${name}\b|\${{{name}}}", value, expression)
    assert "$" not in expression, f"a variable that is not known here: {expression}"
    return expression


def has_data(panel):
    for target in panel["targets"]:
        expression = substituted(target["expr"])
        samples = prometheus.query(expression)
        assert samples, f"no data: {expression}"
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert all(labels.get(label) for labels, _ in samples), f"no label {label}: {expression}: {samples[:3]}"


def panel_tests():
    for panel in panels():
        if "targets" in panel:
            name = re.sub(r"\W+", "-", panel["title"].lower())
            yield f"panel-{name}", lambda panel=panel: has_data(panel)


def variables():
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            values = prometheus.ask(f"label/{label}/values", **{"match[]": metric})
            assert values, f"no values: {variable['query']['query']}"


def dashboard():
    """What Grafana does not say until somebody looks at the panel."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids), "an id twice"
    titles = [panel["title"] for panel in panels() if "targets" in panel]
    assert len(set(titles)) == len(titles), "a title twice"
    cells = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        of_panel = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & of_panel and place["x"] + place["w"] <= 24, f"{panel['title']} overlaps"
        cells |= of_panel
    for panel in panels():
        if "targets" in panel:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
                assert source == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def every_metric_is_shown():
    text = broker.scrape()
    told = set(re.findall(r"^# TYPE (ottla_\w+) ", text, re.MULTILINE))
    shown = " ".join(target["expr"] for panel in panels() for target in panel.get("targets", []))
    missing = [name for name in sorted(told) if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", shown)]
    assert told and not missing, missing


def stop():
    """A scraper that is connected does not hold the broker up."""
    broker.process.terminate()
    assert broker.process.wait(TIMEOUT_S) == 0, f"exit code {broker.process.returncode} after SIGTERM: {said('broker')}"


def all_tests():
    # So that what was started ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        run_tests(
            [
                ("dashboard", dashboard),
                ("promtool-config", promtool_config),
                ("scrape", scrape),
                ("traffic", traffic),
                ("promtool-metrics", promtool_metrics),
                ("every-metric-is-shown", every_metric_is_shown),
                ("figures", figures),
                ("errors", errors),
                ("variables", variables),
                *panel_tests(),
                ("stop", stop),
            ]
        )
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


if __name__ == "__main__":
    all_tests()

"""The dashboard and the alert rules are valid, and use only metrics that the daemon exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.assets.promtool import promtool
from tests.observe import parts
from tests.observe.test_metrics import rendered

HERE = Path(__file__).parent
ASSETS = HERE.parents[1] / "shipper" / "assets"
RULES = ASSETS / "prometheus-alerts.yml"
RULE_TESTS = HERE / "prometheus-alerts.test.yml"
DASHBOARD = ASSETS / "grafana-dashboard.json"


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    document: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return document


def queries() -> Iterator[str]:
    """Yield every expression of the dashboard, its variables filled in."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield re.sub(r"\$(\w+)", "1m", target["expr"])


def metrics_in(text: str) -> set[str]:
    """Return the metrics of shipper and of the process that a text names."""
    return set(re.findall(r"\b(?:shipper|process)_[a-z_]+", text))


def known() -> set[str]:
    """Return the names of all samples that the daemon exports."""
    return set(re.findall(r"^(\w+)", rendered(parts.figures()), re.MULTILINE)) - {"#"}


def test_every_rule_fires_when_it_should_and_only_then() -> None:
    """Promtool evaluates the rules over simulated time."""
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


def test_every_rule_is_played_through_both_ways() -> None:
    """Each rule has a case in which it fires, and one in which it doesn't."""
    names = re.findall(r"alert: (\w+)", RULES.read_text("utf-8"))
    tests = RULE_TESTS.read_text("utf-8")
    assert len(names) == len(set(names)) > 10
    for name in names:
        assert re.search(rf"alertname: {name}\n +exp_alerts:", tests), f"{name} never fires"
        assert re.search(rf"alertname: {name}}}", tests), f"{name} is never quiet"


def test_rules_and_dashboard_speak_of_metrics_that_there_are() -> None:
    """A metric that is renamed in the code is renamed here too."""
    used = metrics_in(RULES.read_text("utf-8")) | {m for q in queries() for m in metrics_in(q)}
    assert used - known() == set()


def test_every_number_of_a_destination_is_on_the_dashboard_or_in_a_rule() -> None:
    """A metric that neither the dashboard nor a rule uses isn't needed."""
    used = metrics_in(RULES.read_text("utf-8")) | {m for q in queries() for m in metrics_in(q)}
    unused = {name for name in known() if name.startswith("shipper_")} - used
    families = {re.sub(r"_(?:bucket|count|sum)$", "", name) for name in used}
    left = {name for name in unused if re.sub(r"_(?:bucket|count|sum)$", "", name) not in families}
    assert left == {
        "shipper_held_keys",
        "shipper_info",
        "shipper_lease_remaining_seconds",
        "shipper_link_since_timestamp_seconds",
    }


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    """Prometheus understands each of them."""
    rules = [{"record": f"q{n}", "expr": query} for n, query in enumerate(queries())]
    file = tmp_path / "queries.json"  # JSON is YAML, too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


@pytest.mark.parametrize(
    ("title", "labels", "expected"),
    [("Pending", "{}", 12), ("Dead letters", "{}", 3), ("Backlog", '{destination="default"}', 12)],
)
def test_daemons_of_one_outbox_count_its_events_once(
    tmp_path: Path, title: str, labels: str, expected: int
) -> None:
    """Each of them reports the whole outbox; an outbox on a file of its own counts beside it."""
    [panel] = [panel for panel in dashboard()["panels"] if panel["title"] == title]
    series = {"shop-1": (2, 7, 2), "shop-2": (2, 7, 2), "till": (1, 5, 1)}
    inputs: dict[str, int] = {}
    for instance, (daemons, pending, dead) in series.items():
        of_it = f'job="shipper", instance="{instance}"'
        inputs[f"shipper_daemons{{{of_it}}}"] = daemons
        for status, number in {"pending": pending, "dead": dead}.items():
            of_status = f'{of_it}, destination="default", status="{status}"'
            inputs[f"shipper_events{{{of_status}}}"] = number
    query = {
        "expr": re.sub(r"\$(?:instance|destination)", ".+", panel["targets"][0]["expr"]),
        "eval_time": "1m",
        "exp_samples": [{"labels": labels, "value": expected}],
    }
    given = [{"series": name, "values": f"{number}x2"} for name, number in inputs.items()]
    played = {"interval": "1m", "input_series": given, "promql_expr_test": [query]}
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"tests": [played]}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    """They fit into 24 columns, don't overlap, and each has its own title and id."""
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)


def test_the_dashboard_works_with_any_data_source() -> None:
    """The data source is chosen at the import; the dashboard names none."""
    for panel in dashboard()["panels"]:
        for part in [panel, *panel["targets"]]:
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = [variable["name"] for variable in dashboard()["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "destination"]

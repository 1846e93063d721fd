"""Reads what `bench <command> --hgrm DIR` writes with another's implementation of HdrHistogram, and compares.

Every histogram of every `.hlog` is decoded; every row of the `.hgrm` beside it, and the percentiles of the `.json` where
there is one, must be what the decoded histogram says.

    pip install hdrhistogram
    python3 bench/read_histograms.py DIR [JSON...]
"""

import bisect
import json
import math
import re
import sys
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

NS_PER_US = 1000
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}


def intervals(path):
    """The histograms of a log, with their tags."""
    reader = HistogramLogReader(str(path), HdrHistogram(1, 10_000_000_000, 3))
    while (histogram := reader.get_next_interval_histogram()) is not None:
        yield histogram.get_tag(), histogram
    reader.close()


def rows(text):
    """The rows of a percentile distribution, as the plotter takes them: no comments, no empty lines, no head."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines[0] == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"], lines[0]
    return [[float(field) for field in line] for line in lines[1:]]


def file_name(command, tag):
    """The `.hgrm` of a tag."""
    return f"{command}-{re.sub('[^A-Za-z0-9.-]', '-', tag.replace('/s', '-per-s'))}.hgrm"


class Counted:
    """How many values of a decoded histogram are at most so great."""

    def __init__(self, histogram):
        self.values, self.counts = [], []
        for bucket in histogram.get_recorded_iterator():
            self.values.append(bucket.value_iterated_to)
            self.counts.append(bucket.total_count_to_this_value)
        self.total = histogram.get_total_count()

    def up_to(self, value):
        """Values that are at most `value`."""
        index = bisect.bisect_right(self.values, value)
        return self.counts[index - 1] if index else 0

    def is_quantile(self, value, quantile):
        """True when `value` is the least of which that share of all is not above."""
        rank = max(1, math.ceil(quantile * self.total - 1e-6))
        return value in self.values and self.up_to(value - 1) < rank <= self.up_to(value)


def check_text(counted, path):
    """Every row of the file is a quantile of the histogram, with its count."""
    own = rows(path.read_text())
    for value, quantile, count, *_ in own:
        ns = round(value * NS_PER_US)
        assert counted.up_to(ns) == count, f"{path}: {count} up to {ns} ns, {counted.up_to(ns)} in the log"
        assert counted.is_quantile(ns, quantile), f"{path}: {ns} ns is not the quantile {quantile} of the log"
    assert (own[-1][1], own[-1][2]) == (1.0, counted.total), f"{path}: the last row is {own[-1]}"


def check_result(tag, counted, result):
    """The percentiles of the result are those of the log."""
    series = [*result["series"], {**result["hiccup"], "name": "hiccup"}]
    own = next(one for one in series if re.sub("[ ,]", "_", one["name"]) == tag)
    assert own["count"] == counted.total, f"{tag}: {own['count']} values, {counted.total} in the log"
    for key, quantile in QUANTILES.items():
        if counted.total:
            assert counted.is_quantile(own[key], quantile), f"{tag}: {own[key]} ns is not the {key} of the log"


def main(directory, results):
    results = map(json.loads, map(Path.read_text, map(Path, results)))
    results = {result["command"]: result for result in results if "command" in result}
    read = 0
    logs = sorted(Path(directory).glob("*.hlog"))
    texts = set(Path(directory).glob("*.hgrm"))
    for log in logs:
        for tag, histogram in intervals(log):
            path = log.with_name(file_name(log.stem, tag))
            counted = Counted(histogram)
            if counted.total:
                check_text(counted, path)
            if log.stem in results:
                check_result(tag, counted, results[log.stem])
            texts.discard(path)
            read += 1
    assert read > 0, f"{directory}: no histogram was read"
    assert not texts, f"no log has {', '.join(str(path) for path in sorted(texts))}"
    print(f"{read} histograms of {len(logs)} logs read by another implementation, each as its .hgrm has it")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

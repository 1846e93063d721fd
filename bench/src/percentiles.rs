//! Histograms as others read them: the text of HdrHistogram's percentiles, its log, and what stands in a result.
// Percentiles are fractions wherever they are read, and so in the formats of this file.
#![allow(clippy::float_arithmetic)]

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use crate::Failure;
use crate::timing::RoundTrips;

/// Points for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: f64 = 5.0;

/// A histogram in a result, ns.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Percentiles {
    /// Values.
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
    /// Quantile and value, to be drawn.
    pub(crate) curve: Vec<(f64, u64)>,
}

impl Percentiles {
    /// Of a histogram.
    pub(crate) fn of(times: &RoundTrips) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        let curve = steps(times).into_iter().map(|step| (step.percent / 100.0, step.ns)).collect();
        Self {
            count: times.len(),
            min: times.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: times.max(),
            curve,
        }
    }
}

/// A value of a histogram, and what part of all is not above it.
struct Step {
    /// As HdrHistogram names it: the share that `count` is at least.
    percent: f64,
    ns: u64,
    /// Values up to this one.
    count: u64,
}

/// The steps that HdrHistogram's own tools take. Ours go by percentages too: as fractions their sums are a bit too
/// great, and a value that is exactly the one of its step would be left out for the next.
fn steps(times: &RoundTrips) -> Vec<Step> {
    let (mut steps, mut percent, mut count, total) = (Vec::new(), 0.0_f64, 0_u64, times.len());
    for bucket in times.iter_recorded() {
        count = count.saturating_add(bucket.count_at_value());
        while 100.0 * count as f64 / total as f64 >= percent {
            steps.push(Step { percent, ns: bucket.value_iterated_to(), count });
            if count == total {
                steps.push(Step { percent: 100.0, ns: bucket.value_iterated_to(), count });
                break;
            }
            let halvings = (100.0 / (100.0 - percent)).log2().floor() + 1.0;
            percent += 100.0 / (TICKS_PER_HALF_DISTANCE * halvings.exp2());
        }
    }
    steps
}

/// The percentiles of a histogram as HdrHistogram's own tools print and plot them, in µs.
pub(crate) fn hgrm(times: &RoundTrips) -> Result<String, Failure> {
    let micros = |ns: u64| ns as f64 / 1000.0;
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for Step { percent, ns, count } in steps(times) {
        let (value, quantile) = (micros(ns), percent / 100.0);
        if percent < 100.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10}")?;
        }
    }
    let (mean, deviation) = (times.mean() / 1000.0, times.stdev() / 1000.0);
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", micros(times.max()), times.len())?;
    writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", times.buckets(), 2048)?;
    Ok(text)
}

/// Histograms of one run as an interval log, each under its name.
pub(crate) fn hlog<'a>(
    start: SystemTime,
    length: Duration,
    series: impl Iterator<Item = (&'a str, &'a RoundTrips)>,
) -> Result<Vec<u8>, Failure> {
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder.with_start_time(start).with_base_time(start);
    // What is printed is in milliseconds, as the format has it; the values stay ns.
    builder.with_max_value_divisor(1e6);
    let mut writer = builder.begin_log_with(&mut bytes, &mut serializer)?;
    for (name, times) in series {
        let name = name.replace([' ', ','], "_");
        writer.write_histogram(times, Duration::ZERO, length, Tag::new(&name)).map_err(|error| format!("{error:?}"))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::timing::round_trips;

    fn hundred() -> RoundTrips {
        let mut times = round_trips();
        for nanos in (1000..=100_000).step_by(1000) {
            times.record(nanos).unwrap();
        }
        times
    }

    #[test]
    fn the_text_has_what_the_tools_look_for() {
        let text = hgrm(&hundred()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines[1], "");
        let row = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let half = lines.iter().find(|line| line.contains(" 0.500000000000 ")).expect("a row of the median");
        assert_eq!(row(half)[1..], ["0.500000000000", "50", "2.00"]);
        assert!(row(half)[0].starts_with("50.0"), "µs: {half}");
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        assert_eq!(row(last)[1..], ["1.000000000000", "100"], "the last row has no fourth column");
        assert!(text.contains("Total count    =          100]"));
    }

    #[test]
    fn a_value_that_is_exactly_the_one_of_its_step_is_not_left_out_for_the_next() {
        let mut times = round_trips();
        for nanos in (100..=2000).step_by(100) {
            times.record(nanos).unwrap();
        }
        let rows: Vec<(f64, u64, u64)> =
            steps(&times).iter().map(|step| (step.percent, step.ns / 100, step.count)).collect();
        // As HdrHistogram's `HistogramLogProcessor` prints them, but for the last, which it prints at 100 % again.
        let percents = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 77.5, 80.0, 82.5, 85.0, 87.5];
        let counts = [1, 2, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 16, 17, 17, 18];
        let expected = percents.into_iter().zip(counts.into_iter().map(|count| (count, count)));
        assert_eq!(rows[..16], expected.map(|(percent, (value, count))| (percent, value, count)).collect::<Vec<_>>());
        assert_eq!(rows.last(), Some(&(100.0, 20, 20)));
    }

    #[test]
    fn of_nothing_there_is_no_step() {
        assert!(steps(&round_trips()).is_empty());
    }

    #[test]
    fn the_log_is_read_back_with_names_that_have_no_space() {
        let (start, length) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), Duration::from_secs(3));
        let times = hundred();
        let log = hlog(start, length, [("gateway 1000/s", &times)].into_iter()).unwrap();
        let intervals: Vec<_> = IntervalLogIterator::new(&log)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => {
                    Some((interval.tag().unwrap().as_str().to_owned(), interval.duration()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(intervals, [("gateway_1000/s".to_owned(), length)]);
    }

    #[test]
    fn a_result_holds_the_percentiles_and_a_curve_that_ends_at_the_largest() {
        let result = serde_json::to_value(Percentiles::of(&hundred())).unwrap();
        assert_eq!(result["count"], 100);
        assert_eq!(result["p50"].as_u64().unwrap() / 1000, 50);
        assert_eq!(result["p99"].as_u64().unwrap() / 1000, 99);
        let last = result["curve"].as_array().unwrap().last().unwrap();
        assert_eq!((last[0].as_f64(), last[1].as_u64()), (Some(1.0), result["max"].as_u64()));
    }
}

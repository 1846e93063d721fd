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
const TICKS_PER_HALF_DISTANCE: u32 = 5;

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
        let curve = times
            .iter_quantiles(TICKS_PER_HALF_DISTANCE)
            .map(|point| (point.quantile_iterated_to(), point.value_iterated_to()))
            .collect();
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

/// The percentiles of a histogram as HdrHistogram's own tools print and plot them, in µs.
pub(crate) fn hgrm(times: &RoundTrips) -> Result<String, Failure> {
    let micros = |ns: u64| ns as f64 / 1000.0;
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count: u64 = 0;
    for point in times.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count = count.saturating_add(point.count_since_last_iteration());
        let (value, quantile) = (micros(point.value_iterated_to()), point.quantile_iterated_to());
        if quantile < 1.0 {
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

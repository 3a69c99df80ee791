//! Any bytes as what an iperf3 says: settings, results, and the JSON that they are in.

use alloc::string::String;

use super::results::Results;
use super::{STREAMS_MAX, Settings, json, udp};

/// Reads a message as settings and as results, and makes sure that what we would say ourselves is understood.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(settings) = Settings::parse(&text) {
        // Numbers above 2^64 millionths can't be read, and so were not.
        assert_eq!(Settings::parse(&settings.to_json()), Some(settings), "{}", settings.to_json());
        assert!(settings.streams() >= settings.parallel && settings.parallel > 0 && settings.len > 0);
        assert!(settings.directions(true).take(100).count() as u64 <= settings.streams());
    }
    if let Some(results) = Results::parse(&text) {
        assert!(results.streams.len() <= STREAMS_MAX);
        assert_eq!(Results::parse(&results.to_json()), Some(results));
    }
    // Parts of a text are in the text, in order, and do not overlap.
    let mut end = 0;
    for item in json::items(&text) {
        let start = item.as_ptr() as usize - text.as_ptr() as usize;
        assert!(!item.is_empty() && start >= end && start + item.len() <= text.len());
        end = start + item.len();
    }
    for is_long in [false, true] {
        if let Some((us, number)) = udp::parse(data, is_long) {
            // Microseconds that are more than a second count on.
            assert!((0..=i64::from(u32::MAX) * 1_000_000 + i64::from(u32::MAX)).contains(&us));
            assert!(is_long || number <= u64::from(u32::MAX));
        }
    }
    if let Some(number) = json::millionths(&text) {
        // Without what is behind the sixth decimal.
        let written = alloc::format!("{}.{:06}", number / 1_000_000, number % 1_000_000);
        assert_eq!(json::millionths(&written), Some(number), "{text} is {written}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_settings_results_and_others() {
        super::run(br#"{"udp":true,"time":3,"parallel":2,"bidirectional":1,"len":1448,"bandwidth":5e6}"#);
        super::run(br#"{"udp":true,"time":3,"parallel":2,"len":1448,"bandwidth":0}"#);
        super::run(br#"{"streams":[{"id":1,"bytes":99,"jitter":0.5,"errors":1,"packets":9,"end_time":1.5}]}"#);
        super::run(br#"[1,"a",{"b":[]}"#);
        super::run(b"1.5e3");
    }
}

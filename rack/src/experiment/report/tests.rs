//! The page of a made-up run.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant, SystemTime};

use super::super::book::{Entry, Kind};
use super::super::crew::Member;
use super::super::file::Experiment;
use super::super::judge::{Measured, Verdict};
use super::super::series::{Pulse, Reading, Track};
use super::super::timeline::Span;
use super::*;
use crate::fleet::tests::{look, node};

const EVIL: &str = "</script><script>alert('1')</script>\"&";

/// Shows a run of 10 s in which everything that can be is hostile.
fn page() -> String {
    let file = "name = \"x<b>\"\nabout = \"a & b\"\n[roles.a]\nworkloads = [\"pipeline stage=queue\"]\n[[phases]]\nname = \"run\"\nfor = \"10s\"\n\
                [expect]\nthat = [\"errors == 0\", \"max depth <= 5\"]\n";
    let experiment = Experiment::read(file).unwrap();
    let mut look = look();
    look.board = EVIL.into();
    let crew = Crew { experiment: &experiment, members: vec![Member { role: 0, index: 0, node: node(EVIL, 1), look }] };
    let zero = Instant::now();
    let mut track = Track::default();
    for second in 0..=10 {
        let at = zero + Duration::from_secs(second);
        // One is expected to be something, and nobody asks for the other.
        let figures = json!({"minipirack_pipeline_depth": 0, "minipirack_pipeline_backlog": 0});
        let work = json!({"id": EVIL, "state": EVIL, "runs": 1, "operations": 100 * second, "figures": figures, "durations_us": [500, 100 * second]});
        track.add(at, Reading::read(&json!({"boots": 1, "sample_us": second, "workloads": [work]})).unwrap());
        track.pulses.push(Pulse::read(
            &json!({"faults": EVIL, "cores_busy_permille": [10, null, 500, 1000], "network": {}}),
            at,
        ));
    }
    let entry = Entry { until: Some(zero + Duration::from_secs(4)), ..Entry::new(Kind::Fault, Some(0), EVIL) };
    let measured = Measured { value: Some(f64::INFINITY), note: EVIL.into() };
    let end = zero + Duration::from_secs(10);
    let outcome = Outcome {
        began: SystemTime::now(),
        zero,
        end,
        spans: vec![Span { name: "run".into(), from: zero, to: end }],
        entries: vec![entry],
        void: vec![EVIL.into()],
        verdicts: vec![Verdict { expectation: experiment.expectations[0].clone(), measured, is_met: false }],
        tracks: vec![track],
        interval: Duration::from_millis(250),
    };
    write(&outcome, &crew)
}

#[test]
fn a_page_contains_what_was_and_obeys_nobody() {
    let page = page();
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(
        page.matches("alert").count(),
        page.matches("alert(&#39;1&#39;)").count() + page.matches("alert('1')\\u003c").count()
    );
    for part in
        ["x&lt;b&gt;", "a &amp; b", "class=\"void\"", "errors == 0", "&quot;&amp;", "<td class=\"number\">never</td>"]
    {
        assert!(page.contains(part), "no {part:?}");
    }
    // It is all there: nothing is fetched. The name of SVG is an address that nobody visits.
    assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url(") && !page.contains("@import"));
    assert_eq!(page.matches("http").count(), 2, "the namespace and the policy's element");
}

#[test]
fn the_data_has_a_plot_for_everything_that_was_measured() {
    let page = page();
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let titles: Vec<&str> =
        data["charts"].as_array().unwrap().iter().map(|chart| chart["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Throughput", "Latency of a", "Depth", "Processor, mean of all cores"]);
    let points = data["charts"][0]["lines"][0]["points"].as_array().unwrap();
    assert_eq!(points.last().unwrap()[1], 100.0);
    assert_eq!(data["marks"][0]["to"], 4.0);
}

//! The status page is well formed, whole and harmless.

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use telemetry::sinks::page;

use crate::fixture::Node;

fn page(node: &Node) -> String {
    let mut text = String::new();
    node.show(|snapshot| page::render(snapshot, &mut text)).unwrap();
    text
}

/// Checks that elements nest, and returns the names of all that were opened.
fn check_nesting(html: &str) -> Vec<String> {
    // Elements that have no end, or whose end HTML lets one leave out.
    const OPEN: [&str; 4] = ["!DOCTYPE", "meta", "link", "path/"];
    let (mut stack, mut names) = (Vec::new(), Vec::new());
    // What is between these is not HTML.
    let (before, after) = html.split_once("<script>").unwrap();
    let html = format!("{before}<script>{}", &after[after.find("</script>").unwrap()..]);
    let mut rest = html.as_str();
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(stack.pop().as_deref(), Some(name), "before {after}");
            continue;
        }
        let name = tag.split(' ').next().unwrap().to_owned();
        names.push(name.clone());
        if !OPEN.contains(&name.as_str()) && !tag.ends_with('/') {
            stack.push(name);
        }
    }
    assert_eq!(stack, Vec::<String>::new());
    names
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
    let html = page(&Node::at_work(100));
    let names = check_nesting(&html);
    assert!(names.iter().filter(|n| *n == "svg").count() == 4, "{names:?}");
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    for text in [
        "pi-123456",
        "Raspberry Pi 3 Model B",
        "10.0.2.15/24 (dhcp)",
        "fe80::ba27:ebff:fe12:3456/64",
        "b8:27:eb:12:34:56",
        "48.2 °C",
        "cpu:load=50%",
        "the first line",
        "up <b id=\"up\">00:01:40<",
        "under_voltage in 1 samples since boot",
        "hardware is well",
        "read-only",
        "1 panic",
        "12.3Mbit/s",
    ] {
        assert!(html.contains(text), "{text} is missing in\n{html}");
    }
}

#[test]
fn the_page_is_small() {
    let len = page(&Node::at_work(400)).len();
    assert!(len < 14_000, "{len} bytes");
}

#[test]
fn the_page_says_that_the_node_is_sick_and_since_when() {
    let mut node = Node::at_work(10);
    let sample = telemetry::Sample { at_us: 11_000_000, ..*node.history.newest().unwrap() };
    node.push(sample, Some(0x4_0004));
    let html = page(&node);
    assert!(html.contains("sick: throttled<") && html.contains("running (while sick)"), "{html}");
    node.info.access = telemetry::Access::Keys { count: 1, host_key: "SHA256:x".try_into().unwrap(), is_lasting: true };
    assert!(!page(&node).contains("read-only"));
}

#[test]
fn the_page_of_a_node_that_knows_nothing_is_whole() {
    let html = page(&Node::just_started());
    check_nesting(&html);
    assert!(html.contains("none yet") && html.contains("no controller"));
}

#[test]
fn nothing_that_a_peer_says_becomes_markup() {
    let mut node = Node::at_work(3);
    let before = check_nesting(&page(&node));
    let evil = "</pre><script>alert('1')</script>\"&<b>";
    node.log.push(1, telemetry::Level::Info, 0, format_args!("{evil}"));
    node.info.name = evil.try_into().unwrap();
    node.info.board = evil.try_into().unwrap();
    node.workloads[0].0.spec = evil.try_into().unwrap();
    node.workloads[0].0.reason = evil.try_into().unwrap();
    let html = page(&node);
    assert_eq!(check_nesting(&html), before);
    assert!(html.matches("<script").count() == 1 && html.contains("&lt;script&gt;alert(&#39;1&#39;)"));
}

#[test]
fn a_fault_is_seen_at_first_glance() {
    let mut node = Node::at_work(3);
    let chip = "<span id=\"faults\" class=\"chip bad\">1 fault: drop share=5% peer=10.0.0.7</span>";
    assert!(page(&node).contains(chip));
    node.faults.remove(0);
    assert!(
        page(&node).contains("<span id=\"faults\" class=\"chip bad\" hidden></span>"),
        "what is to come is not there yet"
    );
}

#[test]
fn a_browser_runs_only_what_the_headers_name() {
    let html = page(&Node::at_work(100));
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let (_, content) = html.split_once(&format!("<{element}>")).unwrap();
        let (content, _) = content.split_once(&format!("</{element}>")).unwrap();
        let mut buffer = [0; 64];
        let hash = Base64::encode(&Sha256::digest(content), &mut buffer).unwrap();
        let allowed = format!("{directive} 'sha256-{hash}';");
        assert!(page::HEADERS.contains(&allowed), "sinks/page.rs, HEADERS must have {allowed}");
        // Those that no hash allows: attributes.
        assert_eq!(html.matches(&format!("<{element}")).count(), 1);
    }
    let script = html.split_once("<script>").unwrap().1;
    for inline in ["style=", "onclick", "onload", "javascript:"] {
        assert!(!html.contains(inline), "{inline} in {script}");
    }
    assert!(page::HEADERS.ends_with("\r\n") && !page::HEADERS.contains("unsafe"));
}

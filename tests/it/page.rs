//! The status page in a real browser.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::browser::Browser;
use tests::node::{BOOT, Rig};

#[test]
fn the_status_page_draws_live_plots_in_a_browser() -> Result<()> {
    let rig = Rig::boot("name=painter workload=cpu:load=30% workload=memory")?;
    let Some(mut browser) = Browser::open(&format!("http://{}/", rig.node.tcp(80)?))? else {
        tests::lab::say("NOT TESTED (needs the package chromium): the status page in a browser");
        return Ok(());
    };
    browser.wait_for("document.querySelector('#live')?.textContent == 'live'")?;
    // Each line has a point for each second, and they become more.
    for (plot, lines) in [("cpu", 4), ("net", 2), ("heat", 1), ("ops", 2)] {
        browser.wait_for(&format!(
            "{{const lines=[...document.querySelectorAll('#{plot} path.line')];lines.length>={lines}\
             &&lines.every(line=>line.getAttribute('d').split('L').length>6&&line.getTotalLength()>4)}}"
        ))?;
    }
    // They have their colours, although the page allows no other style than its own.
    let colour = browser.evaluate("getComputedStyle(document.querySelector('#cpu path.line')).stroke")?.to_string();
    ensure!(colour.contains("rgb("), "a line's colour is {colour}");
    let answer = rig.node.get("/")?;
    let policy = answer.header("content-security-policy").unwrap_or_default();
    ensure!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    ensure!(answer.header("x-content-type-options") == Some("nosniff"), "browsers may guess");
    let up = browser.evaluate("document.querySelector('#up').textContent")?;
    browser.wait_for(&format!("document.querySelector('#up').textContent>{up}"))?;
    browser.wait_for("document.querySelector('#cpu1').textContent.endsWith('%')")?;
    let rows =
        browser.evaluate("[...document.querySelectorAll('#workloads tr')].map(row=>row.children[2].textContent)")?;
    ensure!(rows[0] == "cpu load=30%" && rows[1] == "memory", "workloads: {rows}");
    let page = browser.evaluate("document.body.innerText")?.to_string();
    for text in ["painter", "read-only: no SSH key was given", "emulated: hardware not judged", "MiniPiRack 0."] {
        ensure!(page.contains(text), "{text} is not on the page: {page}");
    }
    // A line of the log appears by itself.
    rig.node.console().send_line("workload stop 1")?;
    rig.node.console().send_line("workload start cpu:load=31%")?;
    browser.wait_for("document.querySelector('#workloads').textContent.includes('cpu load=31%')")?;

    for (name, width, height, is_dark) in
        [("desktop", 1280, 1200, false), ("phone", 390, 1800, false), ("dark", 1280, 1200, true)]
    {
        browser.resize(width, height, is_dark)?;
        browser.wait_for(&format!("innerWidth=={width}"))?;
        // Nothing sticks out, and dark is dark.
        let wide = browser.evaluate("document.documentElement.scrollWidth")?;
        ensure!(wide == json!(width), "on a {name} of {width} pixels the page is {wide} wide");
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]<128")?;
        ensure!(ground == is_dark, "{name}: wrong colours");
        // For people to look at; and what is blank compresses to next to nothing.
        let len = browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png")))?;
        ensure!(len > 30_000, "the picture of the {name} has only {len} bytes");
    }
    // When the node is gone, the page says so.
    drop(rig);
    tests::wait::until("the page to notice that the node is gone", BOOT, || {
        Ok((browser.evaluate("document.querySelector('#live').textContent")? == "no connection").then_some(()))
    })
}

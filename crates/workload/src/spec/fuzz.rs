//! Any bytes as a workload with its parameters.

use alloc::string::ToString;

use super::{SPEC_LEN_MAX, Spec};

/// Reads a workload; what it becomes is shown as text that gives the same again.
pub fn run(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (text, change) = text.split_once('\n').unwrap_or((text, ""));
    match Spec::parse(text) {
        Ok(spec) => {
            check(&spec);
            if let Ok((changed, parameters)) = spec.changed(change) {
                check(&changed);
                let differs = changed.values.as_str() != spec.values.as_str();
                assert!(differs || parameters.count() == 0, "{change}");
            }
        }
        // It goes to logs and terminals.
        Err(error) => {
            let error = error.to_string();
            assert!(error.len() < 1000 && !error.contains(char::is_control), "{error:?}");
        }
    }
}

fn check(spec: &Spec) {
    let shown = spec.values.as_str();
    assert!(shown.len() <= SPEC_LEN_MAX && !shown.contains(char::is_control), "{shown:?}");
    let again = Spec::parse(shown);
    assert!(again.as_ref().is_ok_and(|again| again.values.as_str() == shown), "{shown:?} gives {again:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_good_and_bad_ones() {
        super::run(b"http:delay=list:1ms,9ms,size=10 cores=1-3\ndelay=5ms");
        super::run(b"cpu load=5");
        super::run(b"nothing:\x1b");
    }
}

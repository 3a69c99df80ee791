//! Slow and hostile clients, all at once: who behaves is served, and not ten times as late. How fast exactly, tells the bench `hostile`.

use anyhow::{Result, ensure};
use tests::crowd::{PORTS, Place};
use tests::lab::Lab;

/// How many times as long as without a crowd the middle one of those may wait who behave. The bench wants twice; but here
/// other tests run beside this one.
const TIMES_MAX: u32 = 10;

#[test]
fn who_behaves_is_served_among_slow_and_hostile_clients() -> Result<()> {
    let Some(lab) = Lab::private("slow and hostile clients")? else { return Ok(()) };
    let place = Place::boot(lab)?;
    let alone = place.ask_all()?;
    let among = place.ask_all_in_a_crowd(0)?;
    for ((port, alone), among) in PORTS.into_iter().zip(alone).zip(among) {
        let (alone, among) = (alone[alone.len() / 2], among[among.len() / 2]);
        ensure!(among < alone * TIMES_MAX, "port {port}: {alone:?} without hostile clients, {among:?} among them");
    }
    place.check_that_sockets_were_not_taken()
}

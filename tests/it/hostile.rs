//! Slow and hostile clients, all at once: who behaves is served. How fast, tells the bench `hostile`.

use anyhow::Result;
use tests::crowd::Place;
use tests::lab::Lab;

#[test]
fn who_behaves_is_served_among_slow_and_hostile_clients() -> Result<()> {
    let Some(lab) = Lab::private("slow and hostile clients")? else { return Ok(()) };
    let place = Place::boot(lab)?;
    place.ask_all_in_a_crowd(0)?;
    place.check_that_sockets_were_not_taken()
}

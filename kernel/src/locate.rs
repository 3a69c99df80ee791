//! Blinks the board's LED when somebody looks for the board.

use drivers::led::Led;
use drivers::mailbox;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use log::warn;

use crate::node::SharedMailbox;

/// Time on, and time off: regular, which tells it from the flicker of an SD card.
const HALF_PERIOD: Duration = Duration::from_millis(200);

static ORDERS: Signal<CriticalSectionRawMutex, Duration> = Signal::new();

/// Blinks for this long from now on; no longer when it is 0.
pub(crate) fn order(time: Duration) {
    ORDERS.signal(time);
}

/// Obeys the orders. Never returns.
pub(crate) async fn run(mut led: Led<'static>, mailbox: &SharedMailbox) -> ! {
    let mut time = ORDERS.wait().await;
    loop {
        time = match select(blink(&mut led, mailbox, time), ORDERS.wait()).await {
            Either::First(result) => {
                if let Err(error) = result {
                    warn!("the LED can't be switched: {error}");
                }
                ORDERS.wait().await
            }
            Either::Second(newer) => newer,
        };
    }
}

/// Blinks, and gives the LED back.
async fn blink(led: &mut Led<'static>, mailbox: &SharedMailbox, time: Duration) -> Result<(), mailbox::Error> {
    let end = Instant::now() + time;
    let mut is_on = true;
    while Instant::now() < end {
        led.set(is_on, &mut *mailbox.lock().await).await?;
        is_on = !is_on;
        Timer::after(HALF_PERIOD).await;
    }
    led.release(&mut *mailbox.lock().await).await
}

//! The unchanged driver under the node's network stack.

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use net::{Identity, Ipv4Settings, Settings, Stack};
use usb_models::nic::Partner;

use crate::rig::{BOTH, Chip, for_both_chips, on_node, wait};

for_both_chips! {
    the_first_dhcp_packet_follows_the_link_within_100_ms
}

fn the_first_dhcp_packet_follows_the_link_within_100_ms<C: Chip>() {
    let identity = Identity { version: "1.2.3".into(), board: "Pi 3B".into(), serial: "00ab".into() };
    let settings = Settings { name: None, ipv4: Ipv4Settings::Dhcp, ntp: None, identity, seed: 42, secret: [7; 16] };
    for kind in BOTH {
        let settings = settings.clone();
        on_node::<C, _>(
            kind,
            |chip| chip.core().set_partner(None),
            async |rig| {
                let stack = Stack::new(rig.exchange, settings);
                let rounds = async {
                    for round in 0..5 {
                        Timer::after_millis(3000 + 17 * round).await;
                        rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
                        wait(|| rig.core::<C, _>(|core| core.link().is_some())).await;
                        let start = Instant::now();
                        // UDP to port 67.
                        let is_dhcp = |frame: &Vec<u8>| frame[23] == 17 && frame[36..38] == [0, 67];
                        wait(|| rig.chip(|chip: &mut C| chip.take_sent()).as_ref().is_some_and(is_dhcp)).await;
                        let took = start.elapsed();
                        assert!(took < Duration::from_millis(100), "{kind:?}, round {round}: {took:?}");
                        rig.core::<C, _>(|core| core.set_partner(None));
                        wait(|| !rig.exchange.link().is_up()).await;
                    }
                };
                match select(join(stack.run(), net::address::run_ipv4(stack)), rounds).await {
                    Either::First(_) => unreachable!("the stack runs for ever"),
                    Either::Second(()) => rig.assert_no_mistakes::<C>(),
                }
            },
        );
    }
}

//! The way to the Ethernet function, through the hubs that are in the same chip: power, resets, and what is plugged in beside.

use nic::Link;
use testkit::usb::ecm::Ecm;
use testkit::usb::hub::Hub;
use testkit::usb::{Kind, Node};
use usb::host::Speed;
use usb_models::nic::UsbSpeed;

use crate::rig::{BOTH, Chip, Rig, for_both_chips, on_node, wait};

for_both_chips! {
    it_is_reached_with_one_reset_of_its_port
    a_port_that_the_hub_disabled_is_reset_and_traffic_goes_on
    the_whole_chip_goes_and_comes_back
    a_full_speed_device_beside_it_is_served_by_splits
}

/// Looks at the hub that the Ethernet function is plugged into; its port is the first.
fn with_hub<C: Chip, R>(rig: &Rig<'_>, look: impl FnOnce(&mut Hub) -> R) -> R {
    let (_, hub) = C::PLACE.split_last().unwrap();
    rig.model.with(hub, look)
}

fn it_is_reached_with_one_reset_of_its_port<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(1).await;
                let resets: Vec<_> = with_hub::<C, _>(rig, |hub| hub.ports().iter().map(|port| port.resets).collect());
                // Others at times need a second one; nobody resets an empty port.
                assert_eq!((resets[0], resets[1..].iter().max()), (1, Some(&0)), "{kind:?}: {resets:?}");
                assert_eq!(rig.restarts(), 0);
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn a_port_that_the_hub_disabled_is_reset_and_traffic_goes_on<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                for round in 1..4 {
                    rig.link_up().await;
                    rig.talk::<C>(round).await;
                    with_hub::<C, _>(rig, |hub| hub.ports()[0].disturb());
                    wait(|| rig.exchange.link() == Link::Absent).await;
                }
                rig.link_up().await;
                rig.talk::<C>(4).await;
                assert_eq!(with_hub::<C, _>(rig, |hub| hub.ports()[0].resets), 4, "{kind:?}");
                rig.assert_no_mistakes::<C>();
                rig.model.unplug();
                wait(|| rig.exchange.link() == Link::Absent).await;
                rig.assert_no_buffer_is_missing();
            },
        );
    }
}

fn the_whole_chip_goes_and_comes_back<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.model.unplug();
                wait(|| rig.exchange.link() == Link::Absent).await;
                C::plug_hubs(rig.model);
                let mut chip = C::make(UsbSpeed::High);
                chip.core().set_negotiation_time(200_000);
                rig.model.plug_at(C::PLACE, Node::new(Speed::High, Box::new(chip)));
                rig.link_up().await;
                rig.talk::<C>(7).await;
                rig.assert_no_mistakes::<C>();
                rig.model.unplug();
                wait(|| rig.exchange.link() == Link::Absent).await;
                rig.assert_no_buffer_is_missing();
            },
        );
    }
}

fn a_full_speed_device_beside_it_is_served_by_splits<C: Chip>() {
    let (_, hub) = C::PLACE.split_last().unwrap();
    let beside = [hub, &[2]].concat();
    on_node::<C, _>(
        Kind::Silicon,
        |_| {},
        async |rig| {
            rig.link_up().await;
            for round in 0..3 {
                rig.model.plug_at(&beside, Node::new(Speed::Full, Box::new(Ecm::new(64))));
                let mut seed = round;
                // The model answers a device behind a high-speed hub by split transactions only.
                while rig.model.address(&beside).1 == 0 {
                    rig.talk::<C>(seed).await;
                    seed += 1;
                    assert!(seed < 10_000, "it is never configured");
                }
                rig.model.unplug_at(&beside);
                rig.talk::<C>(seed).await;
            }
            assert_eq!(rig.restarts(), 0);
            rig.assert_no_mistakes::<C>();
        },
    );
}

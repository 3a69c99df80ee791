//! Descriptors, right and wrong.

use usb_models::device::{Answer, Endpoint, Function, endpoints, get_descriptor};
use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::{Descriptors, NicModel, UsbSpeed};

const DEVICE: [u8; 8] = [0x80, 6, 0, 1, 0, 0, 18, 0];

#[test]
fn a_pi_shows_these_ids() {
    for (nic, product) in [
        (Box::new(Lan9514::new(UsbSpeed::High)) as Box<dyn Function>, 0xEC00_u16),
        (Box::new(Lan7800::new(UsbSpeed::High)), 0x7800),
    ] {
        let Answer::Data(descriptor) = get_descriptor(&*nic, DEVICE) else { panic!("no device descriptor") };
        assert_eq!(descriptor.len(), 18);
        assert_eq!(descriptor[8..10], 0x0424_u16.to_le_bytes());
        assert_eq!(descriptor[10..12], product.to_le_bytes());
        // No strings: asking for one is refused.
        assert_eq!(descriptor[14..17], [0, 0, 0]);
        assert_eq!(get_descriptor(&*nic, [0x80, 6, 1, 3, 9, 4, 255, 0]), Answer::Stall);
        let configuration = &nic.configurations()[0];
        assert_eq!(configuration.len(), usize::from(u16::from_le_bytes([configuration[2], configuration[3]])));
    }
}

#[test]
fn packets_are_as_long_as_the_port_is_fast() {
    let found = |speed| endpoints(&Lan9514::new(speed), 1);
    let bulk_in = |max_packet| Endpoint { interface: 0, address: 0x81, kind: 2, max_packet, interval: 0 };
    assert_eq!(found(UsbSpeed::High)[0], bulk_in(512));
    assert_eq!(found(UsbSpeed::Full)[0], bulk_in(64));
    let addresses: Vec<_> = found(UsbSpeed::High).iter().map(|found| (found.address, found.kind)).collect();
    assert_eq!(addresses, [(0x81, 2), (2, 2), (0x83, 3)]);
}

#[test]
fn broken_descriptors_can_be_had() {
    let mut nic = Lan9514::new(UsbSpeed::High);
    let right = nic.configurations()[0].clone();
    nic.core().faults.descriptors = Descriptors::WithoutBulkIn;
    let addresses: Vec<_> = endpoints(&nic, 1).iter().map(|found| found.address).collect();
    assert_eq!(addresses, [2, 0x83]);
    assert_eq!(nic.configurations()[0].len() + 7, right.len());
    for wrong in [Descriptors::TooLong, Descriptors::EmptyDescriptor, Descriptors::WithoutInterrupt] {
        nic.core().faults.descriptors = wrong;
        assert_ne!(nic.configurations()[0], right);
        // Reading them ends.
        let _ = endpoints(&nic, 1);
    }
}

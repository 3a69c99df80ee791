//! What only QEMU's usb-net has: two protocols to choose from.

use anyhow::{Context, Result, ensure};
use tests::node::{self, Rig};

#[test]
fn both_protocols_of_the_usb_nic_carry_the_network() -> Result<()> {
    for protocol in ["ecm", "rndis"] {
        let rig = Rig::boot(&format!("usbnet={protocol}"))?;
        let console = rig.node.console().lines().join("\n").to_lowercase();
        ensure!(console.contains(protocol), "{protocol} is not named on the console:\n{console}");
        node::udp_echo(rig.node.udp(7)?, &[0x5a; 1472]).with_context(|| protocol.to_owned())?;
        // Lengths around the 64 bytes of a USB packet end with and without a short one.
        for len in [1, 17, 18, 21, 22, 23, 86, 1471, 1472] {
            node::udp_echo(rig.node.udp(7)?, &vec![0xa5; len]).with_context(|| format!("{protocol}, {len} bytes"))?;
        }
        ensure!(rig.node.get("/metrics")?.status == 200);
    }
    Ok(())
}

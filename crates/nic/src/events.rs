//! What happens to a controller that is worth a number: one counter for each kind, the same kinds for every driver.
//!
//! The counters of [`NicCounters`](crate::exchange::NicCounters) say how many frames were lost; these say why.

/// Something that happened to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum NicEvent {
    /// A frame with a wrong checksum (FCS), or with bits left over.
    RxCrc,
    /// The PHY reported an error while it received a frame.
    RxSymbol,
    /// A frame longer or shorter than Ethernet allows, or than the controller says it is.
    RxLength,
    /// A part of a frame: the controller ran into the end of a buffer.
    RxFragment,
    /// The controller's own memory was full, and a frame was cut off or lost.
    RxOverrun,
    /// The controller had a frame and no buffer to put it in.
    RxMissed,
    /// A status or header that the controller can't have meant.
    RxStatus,
    /// The controller gave up a frame: late or too many collisions, or the memory was too slow.
    TxFailed,
    /// Nothing was sent for too long, though the link was up and frames waited.
    TxStall,
    /// Frames got lost for too long, though the controller had buffers for them.
    RxStall,
    /// The controller says that it did what nobody told it to.
    IndexGarbage,
    /// Something was done without the interrupt that should have told it.
    InterruptLost,
    /// A part of the controller did not stop, reset or get ready in time.
    Timeout,
    /// The PHY did not answer.
    PhySilent,
    /// The link was down for a moment between two looks.
    LinkFlap,
}

impl NicEvent {
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All kinds in order, with the names under which they are counted.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::RxCrc, "nic_rx_crc"),
        (Self::RxSymbol, "nic_rx_symbol"),
        (Self::RxLength, "nic_rx_length"),
        (Self::RxFragment, "nic_rx_fragment"),
        (Self::RxOverrun, "nic_rx_overrun"),
        (Self::RxMissed, "nic_rx_missed"),
        (Self::RxStatus, "nic_rx_status"),
        (Self::TxFailed, "nic_tx_failed"),
        (Self::TxStall, "nic_tx_stall"),
        (Self::RxStall, "nic_rx_stall"),
        (Self::IndexGarbage, "nic_index_garbage"),
        (Self::InterruptLost, "nic_interrupt_lost"),
        (Self::Timeout, "nic_timeout"),
        (Self::PhySilent, "nic_phy_silent"),
        (Self::LinkFlap, "nic_link_flap"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_at_its_place_in_the_table() {
        for (index, (event, name)) in NicEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index, "{name}");
        }
        assert_eq!(NicEvent::LinkFlap as usize + 1, NicEvent::COUNT);
    }
}

//! What a channel does: as the emulator does it, all at once, and as silicon does, a transaction at a time.

use hal::dma::BusAddr;
use rpi_pac::dwc2::{Hcchar, Hcint, Hcsplt, Hprt0};

use super::endpoint::{Endpoint, find, packet_in, transfer_in, transfer_out};
use super::{Fault, PACKETS, State};
use crate::usb::device::Answer;

impl State {
    /// `dwc2_handle_packet`.
    pub(super) fn emulate(&mut self, index: usize) {
        let channel = self.channels[index];
        let hcchar = Hcchar::from_bits_retain(channel.hcchar);
        let endpoint = Endpoint::of(&channel);
        let mps = (hcchar & Hcchar::MAX_PACKET).bits() as usize;
        let len = (channel.hctsiz & 0x7_FFFF) as usize;
        let round = if len <= 1536 { len.min(mps) } else { len };
        let dma = self.dma;
        let is_enabled = self.hprt0.contains(Hprt0::ENABLED);
        let Some((node, _)) = self.root.as_mut().filter(|_| is_enabled).and_then(|root| find(root, endpoint.address))
        else {
            assert!(!channel.has_retry, "QEMU would die: a retry for a device that is gone");
            return;
        };
        let address = BusAddr(u64::from(channel.hcdma));
        let answer = if endpoint.is_in {
            transfer_in(node, &endpoint, round)
        } else {
            transfer_out(node, &endpoint, &dma.device_read(address, round))
        };
        let is_held = answer == Answer::Nak && self.holding.contains(&endpoint.number);
        let channel = &mut self.channels[index];
        channel.has_retry = false;
        channel.is_held = is_held;
        if is_held {
            return;
        }
        let bits = match answer {
            Answer::Data(data) => {
                let actual = if endpoint.is_in { data.len() } else { round };
                if endpoint.is_in {
                    dma.device_write(address, &data);
                }
                let packets = (channel.hctsiz >> 19 & 0x3FF).saturating_sub(actual.div_ceil(mps) as u32);
                let left = len.saturating_sub(actual);
                channel.hctsiz = channel.hctsiz & !0x1FFF_FFFF | packets << 19 | left as u32;
                channel.hcdma += actual as u32;
                let is_short = endpoint.is_in && !actual.is_multiple_of(mps);
                if !(is_short || packets == 0 || left == 0 || actual == 0) {
                    channel.has_retry = true;
                    return;
                }
                Hcint::COMPLETE
            }
            Answer::Nak if endpoint.kind == 0 || endpoint.kind == 2 => {
                channel.hcint |= Hcint::NAK.bits();
                channel.has_retry = true;
                return;
            }
            Answer::Nak => Hcint::NAK,
            Answer::Stall => Hcint::STALL,
        };
        channel.hcchar &= !Hcchar::ENABLE.bits();
        channel.hcint |= (bits | Hcint::HALTED).bits();
    }

    pub(super) fn run_channel(&mut self, index: usize) {
        for _ in 0..PACKETS {
            let channel = &mut self.channels[index];
            if channel.hcchar & Hcchar::ENABLE.bits() == 0 {
                channel.hcint |= std::mem::take(&mut channel.late_bits);
                return;
            }
            if channel.is_hung {
                return;
            }
            if channel.is_stopping && channel.stops_silently {
                return self.halt_silently(index);
            }
            if channel.is_stopping {
                return self.halt(index, Hcint::empty());
            }
            if channel.stops_silently {
                return;
            }
            match self.transact(index) {
                Outcome::Halt(bits) => return self.halt(index, bits),
                Outcome::Later => return,
                Outcome::More => {}
            }
        }
    }

    fn halt(&mut self, index: usize, bits: Hcint) {
        let channel = &mut self.channels[index];
        channel.hcchar &= !(Hcchar::ENABLE | Hcchar::DISABLE).bits();
        channel.is_stopping = false;
        channel.hcint |= (bits | Hcint::HALTED).bits();
    }

    fn halt_silently(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        channel.hcchar &= !(Hcchar::ENABLE | Hcchar::DISABLE).bits();
        channel.is_stopping = false;
    }

    /// One transaction.
    fn transact(&mut self, index: usize) -> Outcome {
        let channel = self.channels[index];
        let endpoint = Endpoint::of(&channel);
        let hcchar = Hcchar::from_bits_retain(channel.hcchar);
        if endpoint.kind == 3 && hcchar.contains(Hcchar::ODD_FRAME) != (self.frame & 1 == 1) {
            return Outcome::Later;
        }
        let dma = self.dma;
        let is_enabled = self.hprt0.contains(Hprt0::ENABLED);
        let Some((node, translator)) =
            self.root.as_mut().filter(|_| is_enabled).and_then(|root| find(root, endpoint.address))
        else {
            return Outcome::Halt(Hcint::TRANSACTION_ERROR);
        };
        let split = Hcsplt::from_bits_retain(channel.hcsplt);
        let says = split
            .contains(Hcsplt::ENABLE)
            .then_some(((channel.hcsplt >> 7 & 0x7F) as u8, (channel.hcsplt & 0x7F) as u8));
        if says != translator {
            // Nobody hears it: the wrong hub is asked, or none.
            return Outcome::Halt(Hcint::TRANSACTION_ERROR);
        }
        let is_complete = split.contains(Hcsplt::COMPLETE);
        if says.is_some() && !is_complete {
            self.channels[index].is_split_started = true;
            if !endpoint.is_in {
                let len = (channel.hctsiz & 0x7_FFFF) as usize;
                self.split_data[index] = dma.device_read(BusAddr(u64::from(channel.hcdma)), len);
            }
            return Outcome::Halt(Hcint::ACK);
        }
        assert!(says.is_none() || channel.is_split_started, "a complete-split without a start-split");
        let fault = self.faults.get_mut(&(endpoint.address, endpoint.number)).filter(|faults| !faults.is_empty());
        let fault = fault.map(|faults| faults.remove(0));
        if fault != Some(Fault::SplitPending) {
            self.channels[index].is_split_started = false;
        }
        match fault {
            Some(Fault::NoAnswer) => return Outcome::Halt(Hcint::TRANSACTION_ERROR),
            Some(Fault::Toggle) => return Outcome::Halt(Hcint::TOGGLE_ERROR),
            Some(Fault::Babble) => return Outcome::Halt(Hcint::BABBLE),
            Some(Fault::Stall) => return Outcome::Halt(Hcint::STALL),
            Some(Fault::Dma) => return Outcome::Halt(Hcint::AHB_ERROR),
            Some(Fault::DmaGoesOn) => {
                self.channels[index].hcint |= Hcint::AHB_ERROR.bits();
                return Outcome::More;
            }
            Some(Fault::Unexplained) => return Outcome::Halt(Hcint::empty()),
            Some(Fault::Overrun) => return Outcome::Halt(Hcint::FRAME_OVERRUN),
            Some(Fault::Nak) => return Outcome::Halt(Hcint::NAK),
            Some(Fault::SplitPending) => return Outcome::Halt(Hcint::NYET),
            Some(Fault::Hang) => {
                self.channels[index].is_hung = true;
                return Outcome::Later;
            }
            Some(Fault::SilentHalt) => {
                self.halt_silently(index);
                return Outcome::Later;
            }
            Some(Fault::SilentStop) => {
                self.channels[index].stops_silently = true;
                return Outcome::Later;
            }
            Some(Fault::LateBits) => self.channels[index].late_bits = (Hcint::HALTED | Hcint::ACK | Hcint::NAK).bits(),
            Some(Fault::Nyet) | None => {}
        }
        let mps = (hcchar & Hcchar::MAX_PACKET).bits() as usize;
        let len = (channel.hctsiz & 0x7_FFFF) as usize;
        let packets = channel.hctsiz >> 19 & 0x3FF;
        let pid = channel.hctsiz >> 29 & 3;
        let is_setup = endpoint.kind == 0 && pid == 3;
        assert!(packets > 0, "a channel without packets");
        assert!(says.is_none() || packets == 1 && len <= mps, "a split transaction moves one packet");
        if !is_setup && node.address != 0 {
            assert_eq!(mps, node.max_packet(endpoint.number), "packet size of endpoint {:#x}", endpoint.number);
        }
        assert!(says.is_none() || endpoint.is_in || len == 0, "a complete-split OUT waits for {len} bytes of data");
        let toggle_key = if endpoint.number & 15 == 0 { endpoint.number & 0x80 } else { endpoint.number };
        let toggle = node.toggles.get(&toggle_key).copied().unwrap_or(false);
        if !is_setup && (pid == 2) != toggle {
            return Outcome::Halt(Hcint::TOGGLE_ERROR);
        }
        let address = BusAddr(u64::from(channel.hcdma));
        assert_eq!(channel.hcdma & 3, 0, "DMA addresses are words");
        let answer = if endpoint.is_in {
            packet_in(node, &endpoint, mps)
        } else {
            let data = if says.is_some() {
                std::mem::take(&mut self.split_data[index])
            } else {
                dma.device_read(address, len.min(mps))
            };
            transfer_out(node, &endpoint, &data)
        };
        let moved = match answer {
            Answer::Stall => return Outcome::Halt(Hcint::STALL),
            Answer::Nak if endpoint.kind == 3 || says.is_some() => return Outcome::Halt(Hcint::NAK),
            Answer::Nak => return Outcome::Later,
            Answer::Data(data) if endpoint.is_in => {
                if data.len() > len {
                    return Outcome::Halt(Hcint::BABBLE);
                }
                dma.device_write(address, &data);
                data.len()
            }
            Answer::Data(_) => len.min(mps),
        };
        if !is_setup {
            node.toggles.insert(toggle_key, !toggle);
        }
        let next_pid = if is_setup {
            3
        } else if toggle {
            0
        } else {
            2
        };
        let left = len - moved;
        let channel = &mut self.channels[index];
        channel.hctsiz = next_pid << 29 | (packets - 1) << 19 | left as u32;
        channel.hcdma += moved as u32;
        if fault == Some(Fault::Nyet) {
            return Outcome::Halt(Hcint::NYET);
        }
        let is_over = packets == 1 || endpoint.is_in && moved < mps;
        if is_over { Outcome::Halt(Hcint::COMPLETE | Hcint::ACK) } else { Outcome::More }
    }
}

enum Outcome {
    Halt(Hcint),
    Later,
    More,
}

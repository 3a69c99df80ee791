//! The keys that a node knows, and those that it leaves to Linux.

/// A key, for help texts and warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What stands before the `=`.
    pub name: &'static str,
    /// What may stand behind it.
    pub allowed: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All keys.
pub const KEYS: [Key; 10] = [
    Key { name: "name", allowed: "letters, digits and inner hyphens, at most 63", help: "the node's name" },
    Key {
        name: "ip",
        allowed: "dhcp, or address/prefix[,gateway] such as 10.0.0.7/24,10.0.0.1",
        help: "where the IPv4 address comes from (default: dhcp)",
    },
    Key { name: "syslog", allowed: "an IP address, or address:port (default port: 514)", help: "where log lines go" },
    Key { name: "ntp", allowed: "an IP address", help: "the time server (default: from DHCP)" },
    Key { name: "log", allowed: "error, warn, info, debug or trace", help: "what is logged (default: info)" },
    Key {
        name: "usbnet",
        allowed: "ecm, ncm or rndis",
        help: "the protocol of USB network interfaces (default: the faster)",
    },
    Key {
        name: "workload",
        allowed: "a workload such as cpu:load=50%, at most 120 characters, and at most three of them",
        help: "what to run",
    },
    Key {
        name: "report",
        allowed: "0 to 3600",
        help: "seconds between the telemetry lines on the console, 0 for none (default: 10)",
    },
    Key { name: "watchdog", allowed: "on or off", help: "whether a node that hangs is reset (default: on)" },
    Key {
        name: "ssh-key",
        allowed: "the second word of an ssh-ed25519 public key, AAAAC3NzaC1lZDI1NTE5..., and at most four of them",
        help: "who may change the node over the network",
    },
];

/// Keys without a dot that the firmware adds for Linux, or that its standard cmdline.txt has.
///
/// Sources: Raspberry Pi documentation, "Kernel command line (cmdline.txt)"; command lines quoted in reports at
/// github.com/raspberrypi/linux.
const FOR_LINUX: [&str; 31] = [
    "cgroup_disable",
    "cgroup_enable",
    "cgroup_memory",
    "cma",
    "coherent_pool",
    "console",
    "consoleblank",
    "earlycon",
    "elevator",
    "fbcon",
    "init",
    "iommu_dma_numa_policy",
    "isolcpus",
    "loglevel",
    "modules-load",
    "numa",
    "numa_policy",
    "pci",
    "quiet",
    "reboot",
    "resize",
    "ro",
    "root",
    "rootdelay",
    "rootflags",
    "rootfstype",
    "rootwait",
    "rw",
    "splash",
    "swapaccount",
    "video",
];

/// Returns whether a key is for Linux, and so not a mistake.
///
/// That is every key with a dot, which are the parameters of Linux's modules (`8250.nr_uarts`, `bcm2708_fb.fbwidth`,
/// `dwc_otg.lpm_enable`, `snd_bcm2835.enable_hdmi`, `vc_mem.mem_base`): none of ours has one; and a list.
#[must_use]
pub fn is_for_linux(key: &[u8]) -> bool {
    key.contains(&b'.') || FOR_LINUX.iter().any(|known| known.as_bytes() == key)
}

//! Keys that are for Linux and no mistake.

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

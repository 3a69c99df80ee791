//! Virtual boards: finds or installs QEMU, runs nodes.

//! What differs between boards, and between the ways in which their firmware starts the image.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use qemu::Machine;
use qemu::firmware::{ConsolePins, Firmware, Level};
use tests::lab::Lab;
use tests::node::{self, BOOT, PATIENCE, Rig, TestNode, machine};
use tests::wait;

/// GPIO registers, from the block's first: function of pins 40-49, and levels of pins 32-57.
const FUNCTIONS_OF_40: u32 = 0x10;
const LEVELS_OF_32: u32 = 0x38;
/// The LED of a Pi 4B.
const LED: u32 = 42;

#[test]
fn entered_at_el1_it_comes_up_like_anywhere() -> Result<()> {
    comes_up(Level::El1, ConsolePins::Pl011)
}

#[test]
fn entered_at_el3_it_comes_up_like_anywhere() -> Result<()> {
    comes_up(Level::El3, ConsolePins::Input)
}

/// Boots by a firmware, and sees that all cores work and that a crash is survived.
fn comes_up(level: Level, console: ConsolePins) -> Result<()> {
    let firmware = Firmware { level, console, ..Firmware::default() };
    let rig = Rig::boot_in(Lab::new()?, "", |config| config.firmware = Some(firmware))?;
    node::udp_echo(rig.node.udp(7)?, &[7; 1400])?;
    let console = rig.node.console();
    console.send_line("workload start cpu all")?;
    rig.node.wait_for_metric("work on every core", PATIENCE, |metrics| {
        let done = ["1", "2", "3"].map(|core| metrics.sum("minipirack_workload_operations_total", &[("core", core)]));
        Ok(done.iter().all(|done| *done > 0.0).then_some(1.0))
    })?;
    console.skip();
    console.send_line("debug crash panic 3")?;
    console.wait_for("*** crash: panic on core 3", PATIENCE)?;
    rig.node.wait_until_up()
}

/// config.txt may still say `kernel_address` for another kernel, or `kernel_old`.
#[test]
fn loaded_elsewhere_it_moves_to_where_it_belongs() -> Result<()> {
    // Far off, and so that the two places overlap: above and below.
    for load_address in [0x20_0000, 0x9_0000, 0x10_0000, 0x1_0000] {
        let firmware = Firmware { load_address, ..Firmware::default() };
        let rig = Rig::boot_in(Lab::new()?, "", |config| config.firmware = Some(firmware));
        rig.with_context(|| format!("loaded at {load_address:#x}"))?;
    }
    Ok(())
}

#[test]
fn a_system_error_is_reported_even_before_the_first_line() -> Result<()> {
    let firmware = Firmware { level: Level::El1, has_system_error: true, ..Firmware::default() };
    let node = TestNode::start_with(&Lab::new()?, "", |config| {
        config.firmware = Some(firmware);
        config.nic = None;
        config.mini_uart = true;
    })?;
    // Which UART is the console is not known so early: both have it, and once more after the restart, which meets the next.
    for console in [node.console(), node.board().mini_uart().context("no mini UART")?] {
        for _ in 0..2 {
            console.wait_for("*** crash: SError on core 0", BOOT)?;
            console.wait_for("*** restarting", PATIENCE)?;
        }
    }
    Ok(())
}

#[test]
fn an_unknown_processor_is_told_on_both_uarts() -> Result<()> {
    if machine()? == Machine::Raspi3b {
        // Whatever is unknown is expected to have its UARTs where the newest known SoC has them.
        return Ok(());
    }
    // A Cortex-A76, that of a Pi 5.
    let firmware = Firmware { level: Level::El1, midr: Some(0x414f_d0b1), ..Firmware::default() };
    let node = TestNode::start_with(&Lab::new()?, "", |config| {
        config.firmware = Some(firmware);
        config.nic = None;
        config.mini_uart = true;
    })?;
    for console in [node.console(), node.board().mini_uart().context("no mini UART")?] {
        console.wait_for("does not run on this board: unknown processor, MIDR 0x414fd0b1", BOOT)?;
    }
    Ok(())
}

#[test]
fn the_console_is_the_uart_that_the_firmware_has_put_on_the_pins() -> Result<()> {
    let start = |console| {
        TestNode::start_with(&Lab::new()?, "", |config| {
            config.firmware = Some(Firmware { console, ..Firmware::default() });
            config.nic = None;
            config.mini_uart = true;
        })
    };
    for (console, is_mini) in [(ConsolePins::MiniUart, true), (ConsolePins::Pl011, false), (ConsolePins::Input, false)]
    {
        let node = start(console)?;
        let mini = node.board().mini_uart().context("no mini UART")?;
        let (used, other) = if is_mini { (mini, node.console()) } else { (node.console(), mini) };
        used.wait_for("MiniPiRack", BOOT).with_context(|| format!("{console:?}"))?;
        used.send_line("status")?;
        used.wait_for(machine()?.board(), PATIENCE).with_context(|| format!("{console:?}"))?;
        ensure!(other.lines().is_empty(), "{console:?}: on the other UART: {:?}", other.lines());
    }
    Ok(())
}

#[test]
fn locate_blinks_the_led_and_gives_it_back() -> Result<()> {
    let node = TestNode::start_with(&Lab::new()?, "", |config| config.nic = None)?;
    let console = node.console();
    console.wait_for("RAM in use", BOOT)?;
    if machine()? == Machine::Raspi3b {
        // Its LED is behind the firmware, and QEMU's has no such thing: the node says so and goes on.
        console.send_line("locate 2")?;
        console.wait_for("the LED can't be switched", PATIENCE)?;
        console.send_line("status")?;
        return console.wait_for(machine()?.board(), PATIENCE).map(drop).map_err(Into::into);
    }
    let function = || Ok::<_, anyhow::Error>(word(&node, FUNCTIONS_OF_40)? >> (3 * (LED - 40)) & 0b111);
    let is_lit = || Ok::<_, anyhow::Error>(word(&node, LEVELS_OF_32)? >> (LED - 32) & 1 == 1);
    let former = function()?;
    ensure!(former != 1, "the pin is an output already");
    console.send_line("locate")?;
    for wanted in [true, false, true, false, true] {
        wait::until("the LED's next change", PATIENCE, || Ok((is_lit()? == wanted).then_some(())))?;
        ensure!(function()? == 1, "not an output");
    }
    console.send_line("locate off")?;
    wait::until("the pin's former function", PATIENCE, || Ok((function()? == former).then_some(())))
}

/// Reads a GPIO register from the outside.
fn word(node: &TestNode, offset: u32) -> Result<u32> {
    let address = machine()?.gpio() + offset;
    // "00000000fe200038: 0x00000400"
    let text = node.board().monitor(&format!("xp /1wx {address:#x}"))?;
    let digits = text.rsplit("0x").next().unwrap_or_default().trim();
    u32::from_str_radix(digits, 16).with_context(|| format!("the monitor says {text:?}"))
}

#[test]
fn memory_above_the_first_gib_is_counted_and_not_used() -> Result<()> {
    let rig = Rig::boot("")?;
    let metrics = rig.node.settled_metrics()?;
    // QEMU gives the VideoCore 64 MiB; the Pi 4B has 2 GiB, by its revision code.
    let total = match machine()? {
        Machine::Raspi3b => 960.0,
        Machine::Raspi4b => 1984.0,
    };
    ensure!(metrics.one("node_memory_MemTotal_bytes", &[])? == total * 1024.0 * 1024.0);
    Ok(())
}

#[test]
fn a_device_tree_gives_the_name_and_the_command_line() -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let Some(tree) = device_tree(folder.path())? else {
        tests::lab::say("NOT TESTED (needs dtc): a device tree");
        return Ok(());
    };
    let rig = Rig::boot_in(lab, "", |config| config.extra.extend(["-dtb".into(), tree.into()]))?;
    let node = &rig.node;
    node.console().wait_for("from-the-tree ignored", BOOT)?;
    let banner = node.console().lines().join("\n");
    ensure!(banner.contains("on A board of the test's own"), "{banner}");
    Ok(())
}

/// Makes a device tree, if there is a compiler for it.
fn device_tree(folder: &Path) -> Result<Option<std::path::PathBuf>> {
    let (source, blob) = (folder.join("board.dts"), folder.join("board.dtb"));
    std::fs::write(
        &source,
        r#"/dts-v1/;
/ {
    model = "A board of the test's own";
    #address-cells = <2>;
    #size-cells = <1>;
    memory@0 { device_type = "memory"; reg = <0 0 0x3c000000>; };
    chosen { bootargs = "from-the-tree"; };
};
"#,
    )?;
    let Ok(output) = Command::new("dtc").args(["-I", "dts", "-O", "dtb", "-o"]).arg(&blob).arg(&source).output() else {
        return Ok(None);
    };
    if !output.status.success() {
        bail!("dtc: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(blob))
}

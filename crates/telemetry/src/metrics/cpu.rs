//! Cores, clocks and temperature.

use super::Kind::{Counter, Gauge};
use super::Label::{Number, Text};
use super::Unit::{Celsius, Count, Hertz, Seconds};
use super::{Metric, Value, metric};
use crate::sample::Clock;

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    // Core 0 runs drivers and network: its time awake is the system's. The others run what the user started.
    metric(
        "node_cpu_seconds_total",
        Counter,
        Seconds,
        &["cpu", "mode"],
        "Seconds the CPUs spent in each mode.",
        |s, out| {
            for (cpu, time) in (0..).zip(s.sample.cores) {
                let Some(time) = time else { continue };
                let (system, user) = if cpu == 0 { (time.busy_us, 0) } else { (0, time.busy_us) };
                out.value(&[Number(cpu), Text("idle")], Value::Micros(time.idle_us))?;
                out.value(&[Number(cpu), Text("system")], Value::Micros(system))?;
                out.value(&[Number(cpu), Text("user")], Value::Micros(user))?;
                // No core ever waits for a disk: there is none.
                out.value(&[Number(cpu), Text("iowait")], Value::Micros(0))?;
            }
            Ok(())
        },
    ),
    metric(
        "node_cpu_scaling_frequency_hertz",
        Gauge,
        Hertz,
        &["cpu"],
        "Current scaled CPU thread frequency in hertz.",
        |s, out| {
            let Some(hz) = s.sample.clock_hz(Clock::Arm) else { return Ok(()) };
            for (cpu, _) in (0..).zip(s.sample.cores).filter(|(_, time)| time.is_some()) {
                out.value(&[Number(cpu)], Value::Count(hz.into()))?;
            }
            Ok(())
        },
    ),
    metric("minipirack_clock_hertz", Gauge, Hertz, &["clock"], "Rate of a clock of the SoC.", |s, out| {
        for (clock, hz) in Clock::ALL.iter().zip(s.sample.clocks_hz) {
            if let Some(hz) = hz {
                out.value(&[Text(clock.name())], Value::Count(hz.into()))?;
            }
        }
        Ok(())
    }),
    metric("node_intr_total", Counter, Count, &[], "Total number of interrupts serviced.", |s, out| {
        s.sample.interrupts.map_or(Ok(()), |n| out.value(&[], Value::Count(n)))
    }),
    // Both have the labels that Linux gives the SoC's sensor on these boards.
    metric(
        "node_hwmon_temp_celsius",
        Gauge,
        Celsius,
        &["chip", "sensor"],
        "Hardware monitor for temperature (input).",
        |s, out| match s.sample.temperature_mc {
            Some(mc) => out.value(&[Text("thermal_thermal_zone0"), Text("temp1")], Value::Millis(mc.into())),
            None => Ok(()),
        },
    ),
    metric(
        "node_hwmon_chip_names",
        Gauge,
        Count,
        &["chip", "chip_name"],
        "Annotation metric for human-readable chip names.",
        |s, out| {
            let has_sensor = s.sample.temperature_mc.is_some();
            if has_sensor {
                out.value(&[Text("thermal_thermal_zone0"), Text("cpu_thermal")], Value::Flag(true))
            } else {
                Ok(())
            }
        },
    ),
    metric(
        "node_thermal_zone_temp",
        Gauge,
        Celsius,
        &["type", "zone"],
        "Zone temperature in Celsius.",
        |s, out| match s.sample.temperature_mc {
            Some(mc) => out.value(&[Text("cpu-thermal"), Text("0")], Value::Millis(mc.into())),
            None => Ok(()),
        },
    ),
];

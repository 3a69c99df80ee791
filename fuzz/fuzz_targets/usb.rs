//! What USB devices say of themselves.
#![no_main]

use usb::descriptor::{
    CLASS_BYTES_MAX, CONFIGURATION_LEN_MAX, Configuration, DeviceDescriptor, HubDescriptor, STRING_MAX, parse_string,
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(device) = DeviceDescriptor::parse(data) {
        assert!(matches!(device.max_packet_0, 8 | 16 | 32 | 64));
        // What is behind a descriptor does not matter.
        assert_eq!(DeviceDescriptor::parse(&data[..DeviceDescriptor::LEN]), Ok(device));
    }
    let _ = HubDescriptor::parse(data);
    let text = parse_string(data);
    assert!(text.len() <= STRING_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    let total = Configuration::parse_total_len(data);
    let configuration = Configuration::parse(data);
    assert!(total.is_ok() || configuration.is_err());
    if let (Ok(total), Ok(configuration)) = (total, configuration) {
        assert!(total <= CONFIGURATION_LEN_MAX);
        for interface in &configuration.interfaces {
            assert!(interface.endpoints.iter().all(|endpoint| (1..=1024).contains(&endpoint.max_packet)));
            let found: usize = interface.class_descriptors().map(<[u8]>::len).sum();
            assert_eq!(found, interface.class_bytes.len(), "only whole descriptors are kept");
            assert!(found <= CLASS_BYTES_MAX);
            assert!(configuration.interface(interface.number, interface.alternate).is_some());
        }
        let all = &data[..total.min(data.len())];
        assert_eq!(Configuration::parse(all), Ok(configuration));
    }
});

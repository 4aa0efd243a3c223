//! A record in its file.

use bincode::{Decode, Encode};
use noxs_control::encoding::{self, DecodeError};
use xen::units::{DomId, DomainHandle};

use super::{Record, StoredError};
use crate::clients::chaosd::protocol::MAX_PACKET;
use crate::config::DomainConfig;
use crate::config::EncodedConfig;

/// Version of the record's format; another one is reported, not guessed at.
pub(super) const VERSION: u8 = 3;

/// Longest record: no config is longer than what comes over the socket, in bytes.
const LIMIT: usize = 2 * MAX_PACKET;

#[derive(Encode, Decode)]
struct Stored {
    domid: u16,
    handle: [u8; 16],
    config: EncodedConfig,
    created_ms: u64,
    device_page_gfn: u64,
    answer_page_gfn: u64,
    sysctl_port: u32,
    requests: u32,
    paused: bool,
}

/// A record's bytes. `None` if it is longer than any can be.
pub(super) fn encode(record: &Record) -> Option<Vec<u8>> {
    let stored = Stored {
        domid: record.domid.0,
        handle: record.handle.0,
        config: EncodedConfig::from(&record.config),
        created_ms: record.created_ms,
        device_page_gfn: record.device_page_gfn,
        answer_page_gfn: record.answer_page_gfn,
        sysctl_port: record.sysctl_port,
        requests: record.requests,
        paused: record.paused,
    };
    encoding::encode::<LIMIT>(VERSION, &stored)
}

/// The record that bytes stand for. What it says of the guest has passed the same checks as a config
/// that comes over the socket.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    let stored: Stored = match encoding::decode::<_, LIMIT>(VERSION, bytes) {
        Err(DecodeError::Version { found, .. }) => return Err(StoredError::Version { found }),
        result => result.map_err(StoredError::Bytes)?,
    };
    Ok(Record {
        domid: DomId(stored.domid),
        handle: DomainHandle(stored.handle),
        config: DomainConfig::try_from(stored.config).map_err(StoredError::Config)?,
        created_ms: stored.created_ms,
        device_page_gfn: stored.device_page_gfn,
        answer_page_gfn: stored.answer_page_gfn,
        sysctl_port: stored.sysctl_port,
        requests: stored.requests,
        paused: stored.paused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let text = "name='web'\ntype='pvh'\nkernel='/k'\nramdisk='/r'\nmemory=4\nvcpus=2\n\
                    cmdline='a b'\non_crash='restart'\non_reboot='preserve'\n\
                    store='xenstore'\ndisk=['/a.img,raw,xvda,r']\n\
                    vif=['mac=00:16:3e:00:00:07,bridge=b,ip=10.0.0.2/24 10.0.0.1,mtu=900,rate=1MB/s']";
        let config = crate::config::parse_str("test", text, &[], true).unwrap().config;
        Record {
            device_page_gfn: 1025,
            answer_page_gfn: 1026,
            sysctl_port: 1,
            requests: 7,
            paused: true,
            ..Record::new(DomId(3), DomainHandle([1; 16]), config)
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(decode(&encode(&record()).unwrap()).unwrap(), record());
    }

    #[test]
    fn what_is_no_record_is_told_as_what_it_is() {
        let bytes = encode(&record()).unwrap();
        let cut = decode(&bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(StoredError::Bytes(_))), "{cut:?}");
        let other = decode(&[&[VERSION + 1], &bytes[1..]].concat());
        assert!(matches!(other, Err(StoredError::Version { found }) if found == VERSION + 1));
        let mut spoilt = record();
        spoilt.config.name = "../x".into();
        let spoilt = decode(&encode(&spoilt).unwrap());
        assert!(matches!(spoilt, Err(StoredError::Config(_))), "{spoilt:?}");
    }
}

use std::collections::BTreeSet;

use tradecore_domain::event::{Meta, OrderAccepted, OrderImage, RequestRejected};

use super::*;

const STREAM: Stream = Stream { environment: 3, core: 1 };

#[test]
fn a_domain_is_found_by_its_name_and_no_two_have_one() {
    let names: BTreeSet<&str> = Domain::ALL.iter().map(|domain| domain.name()).collect();
    assert_eq!(names.len(), Domain::ALL.len());
    for domain in Domain::ALL {
        assert_eq!(Domain::from_name(domain.name()), Some(*domain));
        assert_eq!(domain.eventstore_topic(), format!("eventstore.{}-events", domain.name()));
        assert_eq!(domain.transport_topic(), format!("transport.{}-events", domain.name()));
    }
    assert_eq!(Domain::from_name("orders"), None);
}

/// The values are those of `UtilsTest.testMurmur2` of Apache Kafka.
#[test]
fn keys_are_hashed_as_kafkas_own_clients_do() {
    let cases: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (text, wanted) in cases {
        assert_eq!(murmur2(text.as_bytes()).cast_signed(), wanted, "{text}");
    }
}

#[test]
fn a_partition_is_one_of_those_there_are_and_keys_spread_over_all() {
    let keys: Vec<String> = (1..=1200).map(|id| format!("virtual-1/order-{id}")).collect();
    for partitions in [1, 2, 3, 12, u32::MAX] {
        let mut counts = std::collections::BTreeMap::<u32, u32>::new();
        for key in &keys {
            let partition = partition(key.as_bytes(), partitions);
            assert!(partition < partitions, "{key}: {partition} of {partitions}");
            *counts.entry(partition).or_default() += 1;
        }
        if partitions <= 12 {
            assert_eq!(counts.len(), partitions as usize);
            let fair = 1200 / partitions;
            assert!(counts.values().all(|count| (fair / 2..=fair * 2).contains(count)), "{counts:?}");
        }
    }
    assert_eq!(partition(b"virtual-1/core", 0), 0, "none at all");
}

#[test]
fn a_key_is_the_order_or_else_the_session_that_spoke_of_it() {
    let meta = Meta { session_id: 7, account_id: 2, ..Meta::default() };
    let order = OrderImage { order_id: (1 << 44) + 1, session_id: 7, ..OrderImage::default() };
    let accepted = Event::from(OrderAccepted { meta, order, ..OrderAccepted::default() });
    assert_eq!(key(STREAM, &accepted), "virtual-1/order-17592186044417");
    let refused = |order_id| Event::from(RequestRejected { meta, order_id, ..RequestRejected::default() });
    assert_eq!(key(STREAM, &refused(5)), "virtual-1/order-5");
    assert_eq!(key(STREAM, &refused(0)), "virtual-1/session-7");
    let unknown = Stream { environment: 9, core: 65_535 };
    assert_eq!(key(unknown, &refused(5)), "9-65535/order-5");
}
